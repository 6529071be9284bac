"""embedx fit, tune, predict and export on real clips: what they print, write and return."""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from embedx.errors import (
    EmbedxError,
    EmbedxWarning,
    ManifestError,
    ModelFormatError,
    ParameterError,
    RecipeMismatchError,
)
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


def test_a_group_in_the_test_part_and_in_what_is_learned_from_is_said(say, clips, tmp_path):
    lines = (clips / "clips.csv").read_text().splitlines()
    grouped = [f"{line},{'group' if i == 0 else f'speaker{i % 3}'}" for i, line in enumerate(lines)]
    (tmp_path / "clips.csv").write_text("\n".join(grouped) + "\n")
    words = [clips / "emb.h5", "--labels", tmp_path / "clips.csv", "--split-column", "part", "--head", "logreg"]
    with pytest.warns(EmbedxWarning, match="3 groups are both learned from and tested on"):
        say("fit", *words, "--valid-fraction", "0.3", "-o", tmp_path / "model")


@pytest.fixture(scope="module")
def model(clips):
    from embedx.dataset import load_embeddings
    from embedx.model import fit_model

    return fit_model(load_embeddings(clips / "emb.h5"), "logreg").save(clips / "model")


def test_fit_says_that_it_learns_from_all_folds(say, clips, tmp_path):
    text = (clips / "clips.csv").read_text()
    (tmp_path / "folds.csv").write_text(text.replace(",train", ",1").replace(",valid", ",2").replace(",test", ",3"))
    options = ("--labels", tmp_path / "folds.csv", "--split-column", "part")
    code, out = say("fit", clips / "emb.h5", "--head", "logreg", "-o", tmp_path / "m", *options)
    assert code == 0
    assert "all clips are learned from: '1', '2', '3'" in out


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
        (("--trials", "2", "--study", "nowhere/s.db"), "cannot be opened"),
    ],
)
def test_bad_options_of_fit_are_one_line(say, clips, tmp_path, words, message):
    with pytest.raises(EmbedxError, match=message) as caught:
        say("fit", clips / "emb.h5", "-o", tmp_path / "m", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("command", ["fit", "tune"])
@pytest.mark.parametrize(
    ("option", "value"),
    [("--valid-fraction", "1.5"), ("--valid-fraction", "nan"), ("--trials", "0"), ("--seed", "-1"), ("--seed", "2e3")]
    + [
        ("--seed", "4294967296"),
        ("--per-class", "0"),
        ("--per-class", "x"),
        ("--jobs", "-2"),
        ("--timeout-seconds", "nan"),
    ],
)
def test_numbers_that_are_none_are_one_line(capsys, clips, tmp_path, command, option, value):
    from embedx.cli import main

    words = [command, clips / "emb.h5", *(("-o", tmp_path / "m") if command == "fit" else ()), option, value]
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert option in line
    assert value in line
    assert "is needed" in line


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("C=1e999", "too large"),
        ("random_state=3", "give --seed"),
        ("n_layers=3", "not for you"),
        ("C=NaN", "must be a float"),
    ],
)
def test_parameters_that_are_none(say, clips, tmp_path, pair, message):
    with pytest.raises(ParameterError, match=message):
        say("fit", clips / "emb.h5", "-o", tmp_path / "m", "--param", pair)


def test_fit_refuses_a_place_before_it_learns(say, clips, tmp_path, monkeypatch):
    say("fit", clips / "emb.h5", "--head", "knn", "-o", tmp_path / "m")
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    monkeypatch.setattr("embedx.model.fitting.fit_head", None)
    with pytest.raises(ModelFormatError, match=r"knn, 3 classes: high, low, middle; saved .*--overwrite"):
        say("fit", clips / "emb.h5", "-o", tmp_path / "m")
    with pytest.raises(ModelFormatError, match="is not a folder"):
        say("fit", clips / "emb.h5", "-o", tmp_path / "song.wav", "--overwrite")
    with pytest.raises(ModelFormatError, match="holds files but no model"):
        say("fit", clips / "emb.h5", "-o", tmp_path, "--overwrite")
    monkeypatch.undo()
    assert say("fit", clips / "emb.h5", "-o", tmp_path / "m", "--overwrite")[0] == 0
    assert Model.load(tmp_path / "m").head == "logreg"


def test_an_unfinished_training_is_not_dropped_by_a_new_one(say, tone_folder, tmp_path):
    (tmp_path / "m.checkpoints" / "step-0-000000003").mkdir(parents=True)
    words = ("fit", tone_folder, "--head", "finetune", "--encoder", "tiny", "-o", tmp_path / "m")
    with pytest.raises(ParameterError, match=r"--resume goes on with it, --overwrite begins anew"):
        say(*words)
    assert (tmp_path / "m.checkpoints" / "step-0-000000003").is_dir()


@pytest.mark.parametrize(
    ("head", "checkpoint", "message"),
    [
        ("finetune", True, "embedx fit 'my clips' --head finetune -o {m} --overwrite --resume"),
        ("finetune", False, "no model was saved"),
        ("mlp", True, "no model was saved, and {m} is as it was"),
    ],
)
def test_ctrl_c_says_what_is_kept_and_the_command_that_goes_on(tmp_path, monkeypatch, head, checkpoint, message):
    from embedx.cli.finetune_options import telling_what_is_kept
    from embedx.errors import Interrupted

    place = tmp_path / "m"
    if checkpoint:
        (tmp_path / "m.checkpoints" / "step-0-000000003").mkdir(parents=True)
    words = ["embedx", "fit", "my clips", "--head", "finetune", "-o", str(place), "--overwrite"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(Interrupted) as caught, telling_what_is_kept(argparse.Namespace(head=head, output=str(place))):
        raise KeyboardInterrupt
    assert message.format(m=place) in str(caught.value)


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
    columns = ["path", "label", "probability", "p_high", "p_low", "p_middle", "error", "novelty", "known"]
    assert list(rows[0]) == columns
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


def test_predict_from_a_store_says_the_same_as_from_the_audio(say, model, clips, tone_folder):
    code, out = say("predict", model, clips / "emb.h5", "--proba")
    assert code == 0
    stored = {row["path"]: row for row in csv.DictReader(io.StringIO(out))}
    fresh = {row["path"]: row for row in csv.DictReader(io.StringIO(say("predict", model, tone_folder, "--proba")[1]))}
    assert stored.keys() == fresh.keys()
    assert all(stored[path]["label"] == fresh[path]["label"] for path in fresh)
    assert all(float(stored[path]["p_low"]) == pytest.approx(float(fresh[path]["p_low"]), abs=1e-3) for path in fresh)


def test_predict_from_a_store_of_another_recipe_is_refused_by_field(say, model, clips, tone_folder, tmp_path):
    from embedx.extract.job import extract_embeddings
    from embedx.manifest import read_manifest

    (tmp_path / "in").mkdir()
    shutil.copy(tone_folder / "low" / "0.wav", tmp_path / "in")
    (tmp_path / "in" / "broken.wav").write_text("no audio")
    extract_embeddings(read_manifest(tmp_path / "in"), tmp_path / "other.h5", encoder="tiny", pooling="mean+std")
    with pytest.raises(RecipeMismatchError, match=r"pooling: recorded 'mean', asked 'mean\+std'"):
        say("predict", model, tmp_path / "other.h5")
    with pytest.raises(ManifestError, match="one store alone"):
        say("predict", model, tmp_path / "other.h5", tone_folder / "low" / "0.wav")
    extract_embeddings(read_manifest(tmp_path / "in"), tmp_path / "same.h5", encoder="tiny")
    code, out = say("predict", model, tmp_path / "same.h5")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 3
    assert [(row["path"].split("/")[-1], bool(row["error"])) for row in rows] == [
        ("0.wav", False),
        ("broken.wav", True),
    ]


def test_predict_from_a_store_with_more_layers_than_the_model_has(say, clips, tmp_path):
    say("fit", clips / "emb.h5", "--layers", "0,2", "-o", tmp_path / "m")
    assert say("predict", tmp_path / "m", clips / "emb.h5")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_every_row_is_printed_whatever_the_stream_can_show(
    model, tone_folder, tmp_path, capsys, monkeypatch, encoding, options
):
    from embedx.cli import main

    names = ["a.wav", "z\u00fcrich.wav", "\u65e5\u672c.wav", "=1+1.wav"]
    for name in names:
        shutil.copy(tone_folder / "low" / "0.wav", tmp_path / name)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["predict", str(model), *(str(tmp_path / name) for name in names), *options]) == 0
    sys.stdout.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert len(lines) == len(names) + (not options)
    if options:
        assert [json.loads(line)["path"].split("/")[-1] for line in lines] == names
    assert "internal error" not in capsys.readouterr().err


def test_predict_csv_never_replaces_another_kind_of_file(say, model, clips, tone_folder, tmp_path):
    wave = tone_folder / "low" / "0.wav"
    (tmp_path / "list.csv").write_text(f"path,label\n{wave},low\n")
    os.mkfifo(tmp_path / "pipe")
    for place in (wave, clips / "emb.h5", model, tmp_path / "list.csv", tmp_path / "pipe"):
        with pytest.raises(ParameterError, match="cannot be written"):
            say("predict", model, wave, "--csv", place)
    assert say("predict", model, wave, "--csv", tmp_path / "out.csv")[0] == 0
    assert say("predict", model, wave, "--csv", tmp_path / "out.csv", "--proba")[0] == 0


def test_predict_csv_on_a_full_disk_leaves_the_older_rows(say, model, tone_folder, tmp_path):
    say("predict", model, tone_folder, "--csv", tmp_path / "out.csv")
    before = (tmp_path / "out.csv").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(ParameterError, match=r"out\.csv cannot be written, and is as it was: File too large"):
            say("predict", model, tone_folder, "--csv", tmp_path / "out.csv", "--workers", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "out.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_ctrl_c_in_predict_keeps_the_rows_so_far(tmp_path):
    from embedx.cli.predict import _replaced
    from embedx.errors import Interrupted

    place = tmp_path / "out.csv"
    place.write_text("path,label,probability,error\nold.wav,a,1,\n")

    def interrupted():
        with _replaced(str(place)) as stream:
            stream.write("path,label,probability,error\nnew.wav,a,1,\n")
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"out\.csv\.partial"):
        interrupted()
    assert "old.wav" in place.read_text()
    assert "new.wav" in (tmp_path / "out.csv.partial").read_text()


def test_a_file_whose_windows_disagree_gets_a_hint(say, model, tone_folder, tmp_path, capsys):
    from embedx.testing import make_tone, write_wav

    halves = [make_tone(pitch, seconds=20, noise=0.05) for pitch in (200.0, 1_500.0)]
    write_wav(str(tmp_path / "long.wav"), np.concatenate(halves))
    module = importlib.import_module("embedx.cli.predict")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert module.run(parser.parse_args([str(model), str(tmp_path / "long.wav")])) == 0
    told = capsys.readouterr().err
    assert "4 windows: " in told
    assert "--timeline says what is heard when" in told
    assert "columns path, start and stop" in told


def test_light_commands_import_nothing_heavy(model, tone_folder):
    code = "import sys; from embedx.cli import main; main(sys.argv[1:]); print('MODULES', *sorted(sys.modules))"
    seen = {}
    for words in (("info", model), ("predict", model, tone_folder / "low" / "0.wav")):
        command = [sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seen[words[0]] = set(done.stdout.rpartition("MODULES ")[2].split())
    heavy = {"numpy", "sklearn", "torch", "scipy", "pandas", "h5py", "av", "transformers", "lightgbm", "optuna"}
    assert not seen["info"] & heavy
    judging = {"embedx.evaluation", "embedx.comparison", "embedx.tuning", "embedx.model.fitting"}
    assert not seen["predict"] & {"torch", "transformers", "torchaudio", "lightgbm", "optuna", "h5py", *judging}


def test_export_never_replaces_another_kind_of_file(say, model, tone_folder, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    shutil.copy(tone_folder / "low" / "0.wav", tmp_path / "a.wav")
    with pytest.raises(ModelFormatError, match="another kind"):
        say("export", model, "--onnx", tmp_path / "a.wav")
    for _ in range(2):
        assert say("export", model, "--onnx", tmp_path / "head.onnx")[0] == 0


def test_export(say, model, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    code, out = say("export", model, "--onnx", tmp_path / "head.onnx")
    assert code == 0
    assert "960 columns of embeddings -> 3 classes (largest difference" in out
