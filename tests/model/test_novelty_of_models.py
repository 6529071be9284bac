"""A model says that a clip is unlike all that it learned from, also after it was saved, and where it cannot."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.naive_bayes import GaussianNB

from embedx import testing
from embedx.cli import main
from embedx.errors import EmbedxWarning, ModelFormatError, ParameterError
from embedx.heads.catalog import make_head
from embedx.heads.novelty import MOST_QUANTILES
from embedx.model import Model, describe, fit_model
from embedx.model.novelty_fitting import MOST_CLIPS, fit_novelty

FORMATS = Path(__file__).parents[1] / "formats"


def moved(dataset, by):
    return replace(dataset, X=(np.asarray(dataset.X, np.float32) + by).astype(np.float16))


HEADS = [("logreg", {}), ("logreg", {"layer": 1}), ("logreg", {"layer": "all"}), ("mlp", {"layer": "learned"})]


@pytest.mark.parametrize(("head", "params"), [*HEADS, ("lgbm", {}), ("knn", {}), ("majority", {}), ("logmel", {})])
def test_it_is_kept_with_the_model(make_dataset, tmp_path, head, params):
    dataset = make_dataset(n=120)
    model = fit_model(dataset, head, params=params)
    found = Model.load(model.save(tmp_path / "m")).predictions(dataset, unknown_at=0.1)
    expected = model.predictions(dataset, unknown_at=0.1)
    np.testing.assert_array_equal(found.novelty, expected.novelty)
    np.testing.assert_array_equal(found.known, found.novelty <= model.novelty.limit(0.1))
    assert found.novelty.shape == (120,)
    assert found.known.mean() > 0.8
    far = replace(moved(dataset, 30), control=dataset.control + 30)
    assert not model.predictions(far).known.any()


def test_labels_and_probabilities_do_not_depend_on_the_rate(make_dataset):
    dataset = make_dataset(n=120)
    model = fit_model(dataset, "logreg", calibrate="temperature")
    few, many = (model.predictions(dataset, unknown_at=rate) for rate in (0.01, 0.5))
    np.testing.assert_array_equal(few.proba, many.proba)
    assert few.labels.tolist() == many.labels.tolist()
    assert few.known.sum() > many.known.sum()
    with pytest.raises(ParameterError, match="unknown_at=0"):
        model.predictions(dataset, unknown_at=0)


def test_classes_left_out_are_judged_in_turns(make_dataset):
    apart, alike = (fit_model(make_dataset(n=150, gap=gap), "logreg", params={"layer": 1}) for gap in (6.0, 0.0))
    assert apart.scores["novelty"]["auroc"] > 0.95 > 0.65 > alike.scores["novelty"]["auroc"]
    assert apart.scores["novelty"]["told"] > alike.scores["novelty"]["told"]
    assert apart.scores["novelty"]["n_clips"] == 150


def test_a_classifier_of_ones_own_has_it_too(make_dataset, tmp_path):
    model = fit_model(make_dataset(), GaussianNB())
    assert Model.load(model.save(tmp_path / "m"), trusted=["sklearn.naive_bayes.GaussianNB"]).novelty is not None


@pytest.mark.parametrize("kind", ["one_group", "a_group_a_class", "not_finite"])
def test_where_no_clip_can_be_held_out_there_is_none(make_dataset, tmp_path, kind):
    dataset = make_dataset(n=12, groups=False)
    if kind == "not_finite":
        dataset = replace(dataset, control=np.full_like(dataset.control, np.nan))
    else:
        groups = ["one"] * 12 if kind == "one_group" else [source.label for source in dataset.sources]
        dataset = dataset.relabel([source.label for source in dataset.sources], groups=groups)
    model = fit_model(dataset, "logreg")
    found = model.predictions(dataset)
    assert model.novelty is None
    assert found.novelty is None
    assert found.known is None
    assert "novelty: none" in "\n".join(describe(model.save(tmp_path / "m")))


def test_few_clips_hold_only_large_rates(make_dataset):
    model = fit_model(make_dataset(n=6, groups=False), "logreg")
    with pytest.warns(EmbedxWarning, match="unknown_at=0.05 cannot be held with 6"):
        asked = model.predictions(make_dataset(n=6), unknown_at=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.predictions(make_dataset(n=6)).known, asked.known)


def test_older_models_load_and_say_that_they_have_none():
    model = Model.load(FORMATS / "model-1.0")
    assert model.novelty is None
    assert describe(FORMATS / "model-1.0")[-2].startswith("novelty: none")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mean", lambda values: values[:-1]),
        ("whitening", lambda values: values * np.nan),
        ("centres", lambda values: values[:, :3]),
        ("quantiles", lambda values: values[::-1]),
        ("quantiles", lambda values: values[:0]),
        ("mean", None),
    ],
)
def test_damaged_arrays_are_refused(make_dataset, tmp_path, name, change):
    place = fit_model(make_dataset(), "logreg").save(tmp_path / "m")
    arrays = load_file(place / "arrays.safetensors")
    whole = arrays.pop(f"novelty.{name}")
    if change is not None:
        arrays[f"novelty.{name}"] = np.ascontiguousarray(change(whole))
    save_file(arrays, place / "arrays.safetensors")
    with pytest.raises(ModelFormatError, match="novelty"):
        Model.load(place)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, a store of clips that it knows and a store of clips that it does not."""
    folder = tmp_path_factory.mktemp("novelty")
    dataset = testing.make_dataset(n=120)
    fit_model(dataset, "logreg").save(folder / "model")
    testing.make_store(folder / "near.h5", dataset)
    testing.make_store(folder / "far.h5", replace(moved(dataset, 30), control=dataset.control + 30))
    return folder


def rows_of(folder, *words):
    assert main(["predict", str(folder / "model"), *map(str, words)]) == 0


def test_the_command_adds_the_columns_after_all_others(saved, tmp_path):
    for store, share in (("near", (0.8, 1.0)), ("far", (0.0, 0.0))):
        rows_of(saved, saved / f"{store}.h5", "--csv", tmp_path / "rows.csv", "--unknown-at", "0.1")
        rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
        assert list(rows[0]) == ["path", "label", "probability", "error", "novelty", "known"]
        assert share[0] <= np.mean([row["known"] == "True" for row in rows]) <= share[1]


def test_off_leaves_them_out_and_nothing_else_changes(saved, tmp_path):
    rows_of(saved, saved / "near.h5", "--csv", tmp_path / "with.csv")
    rows_of(saved, saved / "near.h5", "--csv", tmp_path / "without.csv", "--unknown-at", "off")
    lines = (tmp_path / "with.csv").read_text().splitlines()
    assert (tmp_path / "without.csv").read_text().splitlines() == [line.rsplit(",", 2)[0] for line in lines]


def test_json_has_numbers_and_truth_values(saved, capsys):
    rows_of(saved, saved / "far.h5", "--json")
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["known"] is False
    assert row["novelty"] > 1


def test_a_model_without_it_refuses_the_option_and_has_no_columns(saved, tmp_path, capsys):
    model = Model.load(saved / "model")
    replace(model, novelty=None).save(tmp_path / "old")
    store = str(saved / "near.h5")
    assert main(["predict", str(tmp_path / "old"), store, "--unknown-at", "0.1"]) == 2
    assert "does not tell unknown sounds" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "old"), store]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "path,label,probability,error"


@pytest.mark.parametrize("rate", ["0", "1", "nan", "often"])
def test_what_is_no_rate_is_bad_usage(saved, capsys, rate):
    assert main(["predict", str(saved / "model"), str(saved / "near.h5"), "--unknown-at", rate]) == 2
    assert "--unknown-at" in capsys.readouterr().err


def test_a_clip_that_failed_has_neither(tmp_path, tone_folder):
    from embedx import extract_embeddings, load_embeddings, read_manifest

    extract_embeddings(read_manifest(tone_folder), tmp_path / "emb.h5", encoder="tiny")
    model = fit_model(load_embeddings(tmp_path / "emb.h5"), "logreg")
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    found = model.predictions([tone_folder / "high" / "0.wav", tmp_path / "bad.wav"])
    assert found.known.tolist() == [True, False]
    assert np.isnan(found.novelty).tolist() == [False, True]
    assert found.labels.tolist() == ["high", None]


def test_of_many_clips_some_are_drawn(make_dataset):
    dataset = make_dataset(n=MOST_CLIPS + 900, n_layers=1, dim=2)
    novelty, told = fit_novelty(dataset, make_head("logreg", n_layers=1), "embeddings", 0)
    assert 1_000 <= novelty.n_held_out == told["n_clips"] < MOST_CLIPS
    assert novelty.distances.whitening.shape == (130, 130)
    assert len(novelty.quantiles) == min(novelty.n_held_out, MOST_QUANTILES)
