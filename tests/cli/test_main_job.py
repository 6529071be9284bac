"""The main job, end to end on real audio: quickstart, and the commands one after the other."""

import csv
import json

import h5py
import numpy as np
import pytest

from embedx import Model, load_embeddings


@pytest.fixture(scope="module")
def quickstart(run_embedx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    done = run_embedx("quickstart", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "embedx-quickstart", done.stdout


def test_quickstart_prints_the_table_with_both_controls(quickstart):
    shown = quickstart[1]
    for row in ("majority", "log-mel", "logistic regression", "LightGBM", "MLP"):
        assert row.lower() in shown.lower()
    assert "embedx extract RECORDINGS" in shown


def test_quickstart_beats_guessing(quickstart):
    record = json.loads((quickstart[0] / "results" / "comparison.json").read_text())
    assert record["schema_version"] == 1
    rows = {row["head"]: row["scores"]["accuracy"] for row in record["rows"]}
    assert set(rows) >= {"majority", "logmel", "logreg", "lgbm", "mlp"}
    assert rows["majority"] < 0.35
    assert min(rows["logmel"], rows["logreg"], rows["lgbm"], rows["mlp"]) > 0.6


def test_quickstart_leaves_a_store_that_plain_h5py_reads(quickstart):
    with h5py.File(quickstart[0] / "embeddings.h5") as file:
        recipe = json.loads(file.attrs["embedx_recipe"])
        assert file["embeddings"].shape == (152, len(recipe["layers"]), 192)
        assert np.isfinite(file["embeddings"][:]).all()
        assert recipe["encoder"] == "tiny"


def test_quickstart_leaves_a_model_that_predicts(quickstart):
    dataset = load_embeddings(quickstart[0] / "embeddings.h5")
    model = Model.load(quickstart[0] / "model")
    labels = model.predict_dataset(dataset)
    assert np.mean(labels == dataset.y) > 0.5


def test_quickstart_twice_embeds_nothing_the_second_time(quickstart, run_embedx):
    done = run_embedx("quickstart", cwd=quickstart[0].parent)
    assert done.returncode == 0, done.stderr
    assert "152 were there already" in done.stdout


def test_the_commands_in_a_row(tone_folder, tmp_path, run_embedx):
    store, model = tmp_path / "emb.h5", tmp_path / "model"
    first = run_embedx("extract", tone_folder, "-o", store, "--encoder", "tiny")
    assert first.returncode == 0, first.stderr
    told = run_embedx("info", store)
    assert told.returncode == 0
    assert "24" in told.stdout
    compared = run_embedx("compare", store, "--heads", "logreg,lgbm", "--folds", "4", "-o", tmp_path / "results")
    assert compared.returncode == 0, compared.stderr
    assert "majority" in compared.stdout.lower()
    assert (tmp_path / "results" / "comparison.json").exists()
    fitted = run_embedx("fit", store, "--head", "lgbm", "-o", model)
    assert fitted.returncode == 0, fitted.stderr
    clips = sorted((tone_folder / "low").glob("*.wav"))
    predicted = run_embedx("predict", model, *clips, "--csv", tmp_path / "out.csv")
    assert predicted.returncode == 0, predicted.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert sum(row["label"] == "low" for row in rows) >= 7
    assert run_embedx("info", model).returncode == 0


def test_the_protocol_of_the_report_is_one_flag_each(tone_folder, tmp_path, run_embedx):
    store = tmp_path / "emb.h5"
    assert run_embedx("extract", tone_folder, "-o", store, "--encoder", "tiny").returncode == 0
    options = ("--per-class", "6", "--seed", "0", "--valid-fraction", "0.34")
    compared = run_embedx("compare", store, "--heads", "logreg", *options, "-o", tmp_path / "results")
    assert compared.returncode == 0, compared.stderr
    fitted = run_embedx("fit", store, "--head", "logreg", *options, "-o", tmp_path / "model")
    assert fitted.returncode == 0, fitted.stderr
    too_many = run_embedx("fit", store, "--head", "logreg", "--per-class", "109", "-o", tmp_path / "other")
    assert too_many.returncode == 2
    assert "has 8 clips, 109 were asked for" in too_many.stderr
