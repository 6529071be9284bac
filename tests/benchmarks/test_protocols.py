"""MAEB's protocol is mteb's to 1e-6; HEAR's and ARCH's follow their sources on cases that can be worked out."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import mteb_fixture, protocols

FROZEN = json.loads((Path(__file__).parent / "mteb.json").read_text(encoding="utf-8"))
CASES = FROZEN["cases"]


def ours(case, arrays):
    if case["cross_validation"]:
        return protocols.maeb_cross_validation(arrays["x"], arrays["y"], **case["settings"])
    parts = (arrays[name] for name in ("train_x", "train_y", "test_x", "test_y"))
    return protocols.maeb(*parts, **case["settings"])


def assert_agree(outcome, scores):
    assert len(outcome.runs) == len(scores["scores_per_experiment"])
    for run, theirs in zip(outcome.runs, scores["scores_per_experiment"], strict=True):
        assert run == pytest.approx({name: theirs[name] for name in run}, abs=1e-6)
    assert outcome.mean() == pytest.approx(scores["accuracy"], abs=1e-6)


def name_of(case):
    return "folds" if case["cross_validation"] else f"{case['settings']['samples_per_label']} a class"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_maeb_agrees_with_what_mteb_said(case):
    assert mteb_fixture.arrays_sha256() == FROZEN["arrays_sha256"], "another array: freeze mteb's scores again"
    assert_agree(ours(case, mteb_fixture.make_arrays()), case["scores"])


@pytest.mark.skipif(importlib.util.find_spec("mteb") is None, reason="mteb is not installed: only its frozen scores")
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_maeb_agrees_with_mteb_itself(case):
    arrays = mteb_fixture.make_arrays()
    theirs = mteb_fixture.evaluate_with_mteb(arrays, cross_validation=case["cross_validation"], **case["settings"])
    assert_agree(ours(case, arrays), theirs)


def test_maeb_draws_differ_though_their_seed_does_not():
    arrays = mteb_fixture.make_arrays()
    runs = ours(CASES[0], arrays).runs
    assert len({run["accuracy"] for run in runs}) > 1


def make_folds(n_folds=4, per_fold=24, n_classes=3, spread=2.0):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(n_classes), n_folds * per_fold // n_classes)
    x = np.eye(n_classes, 12)[y] * 20 + rng.normal(scale=spread, size=(len(y), 12))
    return x.astype(np.float32), y, np.repeat(np.arange(n_folds), per_fold).astype(str)


@pytest.mark.parametrize("protocol", ["arch", "hear"])
def test_separable_classes_are_found_and_labels_by_chance_are_not(protocol, monkeypatch):
    monkeypatch.setitem(protocols.HEAR_FASTER, "max_epochs", [60])
    x, y, folds = make_folds(per_fold=240 if protocol == "arch" else 24)  # ARCH's rate is small: 0.02 in all
    settings = {"n_epochs": 60} if protocol == "arch" else {"grid": "faster", "grid_points": 4}
    found = getattr(protocols, protocol)(x, y, folds, **settings)
    assert len(found.runs) == 4
    assert found.mean() > 0.9
    shuffled = np.random.default_rng(1).permutation(y)
    assert getattr(protocols, protocol)(x, shuffled, folds, **settings).mean() < 0.6


def test_hear_tests_fold_i_and_validates_on_the_next(monkeypatch):
    seen = []

    def fit(x, y, parts, split, point):
        seen.append((split, point["lr"]))
        return (0.5 if point["lr"] == 1e-3 else 0.1), np.zeros(int((parts == split[0]).sum()), int)

    monkeypatch.setattr(protocols, "_hear_fit", fit)
    x, y, folds = make_folds()
    outcome = protocols.hear(x, y, folds)
    assert [split for split, _ in seen[:8]] == [("0", "1")] * 8  # the grid, on the first split alone
    assert [split for split, _ in seen[8:]] == [("1", "2"), ("2", "3"), ("3", "0")]
    assert {lr for _, lr in seen[8:]} == {1e-3}
    assert outcome.settings["chosen"]["lr"] == 1e-3


def test_hear_needs_three_folds():
    x, y, folds = make_folds(n_folds=2)
    with pytest.raises(ValueError, match="at least three folds"):
        protocols.hear(x, y, folds)


def test_arch_never_learns_from_the_tested_fold():
    x, y, folds = make_folds(spread=1.0)
    y = np.where(folds == "0", (y + 1) % 3, y)  # fold 0 contradicts all others
    runs = protocols.arch(x, y, folds, n_epochs=40).runs
    assert runs[0]["accuracy"] < 0.1
