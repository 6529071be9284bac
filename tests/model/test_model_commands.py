"""embedx fit, tune, predict and export on real clips: what they print, write and return."""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import shutil
import sys

import pytest

from embedx.errors import EmbedxError, ManifestError, ModelFormatError, ParameterError
from embedx.model import Model


@pytest.fixture
def say(capsys):
    def run(command, *words):
        module = importlib.import_module(f"embedx.cli.{command}")
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        code = module.run(parser.parse_args([str(word) for word in words]))
        return code, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def clips(tone_folder, tmp_path_factory):
    """A store of 24 clips, and a CSV that names train, valid and test parts."""
    from embedx.extract.job import extract_embeddings
    from embedx.manifest import read_manifest

    folder = tmp_path_factory.mktemp("clips")
    manifest = read_manifest(tone_folder)
    extract_embeddings(manifest, folder / "emb.h5", encoder="tiny")
    lines = ["path,label,part"]
    for i, source in enumerate(manifest):
        lines.append(f"{manifest.path_of(source)},{source.label},{['train', 'train', 'valid', 'test'][i % 4]}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(clips):
    from embedx.dataset import load_embeddings
    from embedx.model import fit_model

    return fit_model(load_embeddings(clips / "emb.h5"), "logreg").save(clips / "model")


def test_fit_on_a_fixed_split_reports_valid_beside_the_majority(say, clips, tmp_path):
    options = ("--labels", clips / "clips.csv", "--split-column", "part")
    code, out = say("fit", clips / "emb.h5", "--head", "logreg", "-o", tmp_path / "m", *options)
    assert code == 0
    assert "6 test clips are left alone" in out
    assert "majority baseline" in out
    assert "on 12 clips, 3 classes" in out
    scores = Model.load(tmp_path / "m").scores
    assert scores["valid"]["accuracy"] > scores["majority"]["accuracy"]
    assert scores["valid"]["n_clips"] == 6


def test_fit_tuned_and_calibrated(say, clips, tmp_path):
    words = (
        "--trials",
        3,
        "--study",
        tmp_path / "study.db",
        "--calibrate",
        "--valid-fraction",
        0.25,
        "--layers",
        "0,2",
    )
    code, out = say("fit", clips / "emb.h5", "--head", "knn", "-o", tmp_path / "m", *words)
    assert code == 0
    assert "tuned knn: 3 trials" in out
    assert "calibrated (temperature" in out
    assert Model.load(tmp_path / "m").recipe.layers == (0, 2)
    assert (tmp_path / "study.db").exists()


def test_parameters_by_name(say, clips, tmp_path):
    words = ("--param", "C=0.5", "--param", "layer=1", "--param", "class_weight=balanced")
    say("fit", clips / "emb.h5", "-o", tmp_path / "m", *words)
    assert Model.load(tmp_path / "m").parameters == {"C": 0.5, "layer": 1, "class_weight": "balanced"}
    with pytest.raises(ParameterError, match="NAME=VALUE"):
        say("fit", clips / "emb.h5", "-o", tmp_path / "m", "--param", "C")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--head", "lgmb"), "did you mean 'lgbm'"),
        (("--layers", "first"), "--layers 'first'"),
        (("--split-column", "part"), "--labels clips.csv"),
        (("--param", "depth=3"), "parameter of head 'logreg' 'depth'"),
        (("--valid-fraction", "1.5"), "1.5"),
        (("--trials", "0"), "n_trials is 0"),
        (("--trials", "2", "--study", "nowhere/s.db"), "cannot be opened"),
    ],
)
def test_bad_options_of_fit_are_one_line(say, clips, tmp_path, words, message):
    with pytest.raises(EmbedxError, match=message) as caught:
        say("fit", clips / "emb.h5", "-o", tmp_path / "m", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_tune_prints_the_best_and_writes_every_trial(say, clips, tmp_path):
    code, out = say("tune", clips / "emb.h5", "--trials", 4, "--json", tmp_path / "best.json")
    assert code == 0
    assert "trial    0" in out
    record = json.loads((tmp_path / "best.json").read_text())
    assert len(record["trials"]) == 4
    assert record["value"] == min(t["value"] for t in record["trials"] if t["value"] is not None)


def test_predict_writes_a_row_a_clip_and_says_why_one_failed(say, model, tone_folder, tmp_path):
    shutil.copytree(tone_folder / "low", tmp_path / "new")
    (tmp_path / "new" / "broken.wav").write_text("no audio")
    code, out = say("predict", model, tmp_path / "new", "--csv", tmp_path / "out.csv", "--proba")
    assert (code, out) == (3, "")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert list(rows[0]) == ["path", "label", "probability", "p_high", "p_low", "p_middle", "error"]
    (failed,) = [row for row in rows if row["error"]]
    assert failed["path"] == str(tmp_path / "new" / "broken.wav")
    assert (failed["label"], failed["p_low"]) == ("", "")
    assert sum(row["label"] == "low" for row in rows) >= 7


def test_predict_reads_paths_from_standard_input(say, model, tone_folder, monkeypatch):
    paths = [str(tone_folder / "high" / "0.wav"), str(tone_folder / "nowhere.wav")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(paths) + "\n\n"))
    code, out = say("predict", model, "-", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 3
    assert rows[0]["error"] is None
    assert rows[1]["error"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    with pytest.raises(ManifestError, match="holds no path"):
        say("predict", model, "-")


def test_predict_a_csv_of_segments_without_looking_at_its_labels(say, model, tone_folder, tmp_path):
    name = tone_folder / "high" / "0.wav"
    (tmp_path / "clips.csv").write_text(f"path,label,start,stop\n{name},,0,0.3\n{name},low,0.3,0.5\n")
    code, out = say("predict", model, tmp_path / "clips.csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [(float(row["start"]), float(row["stop"])) for row in rows] == [(0.0, 0.3), (0.3, 0.5)]


def test_predict_what_is_not_there(say, model, tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.wav does not exist"):
        say("predict", model, tmp_path / "nowhere.wav")
    with pytest.raises(ModelFormatError, match=r"has no model\.json"):
        say("predict", tmp_path, tmp_path / "nowhere.wav")
    with pytest.raises(ParameterError, match="cannot be written"):
        say("predict", model, tmp_path, "--csv", tmp_path / "no" / "out.csv")


def test_export(say, model, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    code, out = say("export", model, "--onnx", tmp_path / "head.onnx")
    assert code == 0
    assert "960 columns of embeddings -> 3 classes (largest difference" in out
