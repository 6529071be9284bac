"""The comparison is honest: what is chosen never sees the test part, what is unsound is said."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from embedx.comparison import compare
from embedx.comparison.auto import learn_auto
from embedx.comparison.scoring import test_rows as rows_of
from embedx.errors import DatasetError, ParameterError, SkippedSourcesWarning
from embedx.report.tables import render_csv, render_json, render_markdown, render_predictions


@pytest.fixture(scope="module")
def found(make_dataset):
    return compare(make_dataset(), ["logreg", "knn"], seed=1)


def test_baseline_control_and_auto_are_always_rows(found):
    assert [row.name for row in found.rows] == ["majority", "logmel", "logreg", "knn", "auto"]
    assert found.best.kind == "head"
    assert found.rows[0].scores["accuracy"] < 0.4 < found["logreg"].scores["accuracy"]


def test_auto_chooses_the_layer_that_tells_the_class(found):
    assert {fold.chosen["layer"] for fold in found["auto"].folds} == {1}


def test_every_clip_is_judged_once_by_every_row_on_the_same_folds(found):
    for proba in found.proba.values():
        assert not np.isnan(proba).any()
        assert proba.sum(-1) == pytest.approx(np.ones((1, 96)), abs=1e-5)
    assert len({tuple(fold.n_test for fold in row.folds) for row in found.rows}) == 1
    lines = render_predictions(found).splitlines()
    assert len(lines) == 1 + 5 * 96
    assert re.match(r"c0/0000\.wav,c0,g\d+,majority,", lines[1])


def test_pooled_scores_are_those_of_the_clips(found):
    truth = np.array([source.label for source in found.sources])
    for row in found.rows:
        said = np.array(found.classes)[found.proba[row.name][0].argmax(1)]
        assert row.scores["accuracy"] == pytest.approx((said == truth).mean())
        assert np.array(row.confusion).sum() == pytest.approx(96)
        low, high = row.intervals["accuracy"]
        assert low <= row.scores["accuracy"] <= high


def test_the_same_seed_gives_the_same_numbers_whatever_the_processes(make_dataset, found, monkeypatch):
    monkeypatch.setattr("embedx.comparison.fit_schedule.START_SECONDS", 0)
    again = compare(make_dataset(), ["logreg", "knn"], seed=1, n_jobs=2)
    assert all(np.array_equal(found.proba[name], again.proba[name]) for name in found.proba)
    assert again.verdict == found.verdict


def test_the_cost_is_said_once_before_all_else(make_dataset):
    told, done = [], []
    compare(
        make_dataset(),
        ["logreg", "knn"],
        folds=3,
        n_jobs=2,
        on_cost=lambda cost: told.append((cost, len(done))),
        progress=lambda *counts, **_: done.append(counts),
    )
    [(cost, n_before)] = told
    assert n_before == 4  # each head once
    assert cost.n_fits == 5 * 3 + (3 + 4) * 3 - 4
    assert 1 <= cost.n_processes <= 2
    assert cost.seconds == pytest.approx(sum(cost.parts.values()))
    assert cost.parts["auto"] > cost.parts["tuned"] == 0 < cost.parts["curves"]
    assert done[-1] == (36, 36)


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers nothing and tells what it was fitted on through its probabilities."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = {row.tobytes() for row in np.asarray(X)}
        return self

    def predict_proba(self, X):
        known = np.array([row.tobytes() in self.seen_ for row in np.asarray(X)])
        proba = np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
        proba[known] = np.eye(len(self.classes_))[0]
        return proba

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


def test_no_head_is_fitted_on_what_it_is_judged_on(make_dataset):
    found = compare(make_dataset(n_layers=1), [Spy()], auto=False, curves=False)
    assert found.proba["Spy"].max() == pytest.approx(0.25)


def test_tuning_stays_inside_and_is_compared_with_the_default(make_dataset):
    found = compare(make_dataset(n=64), ["logreg"], folds=3, n_trials=3, auto=False, curves=False)
    assert [row.name for row in found.rows][2:] == ["logreg", "logreg tuned"]
    tuned = found["logreg tuned"]
    assert all(len(fold.history) == 3 and "C" in fold.chosen for fold in tuned.folds)
    assert all(list(fold.history) == sorted(fold.history, reverse=True) for fold in tuned.folds)
    assert any(sentence.startswith("Other hyper-parameters?") for sentence in found.verdict)
    assert found.test("logreg", "logreg tuned") is not None


def test_random_labels_give_the_verdict_that_nothing_is_better_than_guessing(make_dataset):
    found = compare(make_dataset(signal=0.0, n_groups=0), ["logreg"], seed=3, auto=False, curves=False)
    assert found.verdict[0].startswith("Better than guessing? No")
    assert not any(test.is_real for test in found.tests)


def test_heads_are_tested_against_the_most_frequent_class_not_against_an_unlucky_guess(found):
    test = found.test("logreg", "majority")
    assert found["logreg"].scores["accuracy"] - test.difference == pytest.approx(0.25)
    assert "one-sided" in test.method
    assert "conditional on the fitted folds" in test.method


def test_without_groups_one_repetition_is_mcnemar_and_several_are_permuted(make_dataset):
    dataset = make_dataset(n_groups=0, n=64)
    once = compare(dataset, ["logreg"], auto=False, curves=False)
    twice = compare(dataset, ["logreg"], repeats=2, auto=False, curves=False)
    assert once.tests[0].method.startswith("exact McNemar")
    assert twice.tests[0].method.startswith("paired permutation of clips")
    assert twice.proba["logreg"].shape[0] == 2
    mean = np.mean([fold.scores["accuracy"] for fold in twice["logreg"].folds])
    assert twice["logreg"].scores["accuracy"] == pytest.approx(mean, abs=0.02)


def test_few_groups_give_their_scores_and_no_interval(make_dataset):
    found = compare(make_dataset(n_groups=6), ["logreg"], folds=3, auto=False)
    assert all(row.intervals == {} for row in found.rows)
    assert all(test.interval is None for test in found.tests)
    assert set(found.group_scores["logreg"]) == {f"g{i}" for i in range(6)}
    assert any(note.startswith("6 groups: no intervals") for note in found.notes)
    assert "reason" in found.curves["learning"][""]


def test_three_groups_cannot_tell_and_say_what_would(make_dataset):
    found = compare(make_dataset(n_groups=3, signal=9.0), ["logreg"], folds=3, auto=False, curves=False)
    assert found["logreg"].scores["accuracy"] > 0.9
    test = found.test("logreg", "majority")
    assert (test.n_units, test.n_needed, test.can_be_told) == (3, 6, False)  # two rows: 2 / 2**6 < 5 %
    assert found.headline == "Cannot be told from 3 groups: 6 or more are needed"


def test_groups_and_clips_that_a_guess_has_right_already_cannot_tell(make_dataset):
    rare = np.array(["a"] * 30 + ["b"] * 2)
    test = _test_of_guess(rare, groups=None)
    assert (test.n_units, test.n_needed, test.can_be_told, test.p_holm) == (32, 80, False, 0.25)
    one_class_each = _test_of_guess(np.repeat(["a", "b"], 12), groups=np.repeat(np.arange(8), 3))
    assert (one_class_each.n_units, one_class_each.n_needed, one_class_each.can_be_told) == (8, 10, False)
    assert _test_of_guess(np.repeat(["a", "b"], 12), groups=np.repeat(np.arange(12), 2)).is_real


def _test_of_guess(labels, groups):
    """Test a head that is always right against guessing."""
    right = {"head": np.ones(len(labels)), "majority": (labels == "a").astype(float)}
    (test,) = rows_of([("baseline", "head", "majority")], right, groups, labels, once=True, seed=0)
    return test


def test_a_class_of_one_speaker_cannot_be_judged(make_dataset):
    dataset = make_dataset()
    voices = dataset.relabel(list(dataset.y), groups=[f"voice of {label}" for label in dataset.y])
    found = compare(voices, ["logreg"], folds=4, auto=False, curves=False)
    assert found.headline == "Cannot be judged: every clip of 'c0' is of one group ('voice of c0')"
    assert len(found.verdict) == 1
    assert len(found.notes) < 6
    with pytest.raises(DatasetError, match=r"4 groups cannot make 5 folds\. Cannot be judged: every clip of 'c0'"):
        compare(voices, ["logreg"])


def test_clips_without_a_part_are_left_out_and_unknown_parts_refused(make_dataset):
    dataset = make_dataset(split=lambda i: "train" if i % 3 else "test" if i % 2 else None)
    with pytest.warns(SkippedSourcesWarning, match="16 of 96 clips have no value in the split"):
        found = compare(dataset, ["logreg"], folds="split", auto=False, curves=False)
    assert len(found.sources) == 80
    typo = make_dataset(split=lambda i: "train" if i % 3 else "tset" if i % 2 else "test")
    with pytest.raises(DatasetError, match="'tset'"):
        compare(typo, ["logreg"], folds="split")


def test_segments_of_one_file_stay_together_everywhere(make_dataset):
    base = make_dataset(n_groups=0)
    sources = tuple(replace(s, uri=f"file{i // 4}.wav", start_seconds=i % 4.0) for i, s in enumerate(base.sources))
    cut = replace(base, sources=sources)
    seen = []

    class Watching(Spy):
        def fit(self, X, y, groups=None):
            seen.append(groups)
            return super().fit(X, y)

    found = compare(cut, [Watching()], folds=3, curves=False)
    assert len(set(found.groups)) == 24
    assert len(seen) >= 3 + 9  # folds, and the inner ones of auto
    assert all(len(set(groups)) < len(groups) for groups in seen)


def test_a_comparison_that_was_stopped_goes_on_with_its_fits(make_dataset, tmp_path):
    stopped = []

    def stop(done, total, **facts):
        stopped.append(done)
        if done == 7:
            raise KeyboardInterrupt

    dataset, options = make_dataset(), {"folds": 3, "auto": False, "seed": 1, "keep": tmp_path / "fits"}
    with pytest.raises(KeyboardInterrupt):
        compare(dataset, ["logreg", "knn"], progress=stop, **options)
    assert len(list((tmp_path / "fits").glob("*.npz"))) == 7
    went_on = []
    again = compare(dataset, ["logreg", "knn"], progress=lambda done, total, **_: went_on.append(done), **options)
    assert went_on[0] == 8
    fresh = compare(dataset, ["logreg", "knn"], **{**options, "keep": None})
    assert all(np.array_equal(again.proba[name], fresh.proba[name]) for name in fresh.proba)
    assert again.curves["learning"][""]["points"] == fresh.curves["learning"][""]["points"]
    other = []
    compare(dataset, ["knn"], progress=lambda done, total, **_: other.append(done), **{**options, "seed": 2})
    assert other[0] == 1  # another seed is another fit


def test_a_collapsed_head_is_named(make_dataset):
    class Stuck(Spy):
        def predict_proba(self, X):
            return np.tile(np.eye(len(self.classes_))[0] * 0.9 + 0.025, (len(X), 1))

    found = compare(make_dataset(n_layers=1), [Stuck()], auto=False, curves=False)
    assert found["Stuck"].collapsed == "c0"
    assert any("Stuck collapsed" in sentence for sentence in found.verdict)


def test_predefined_folds_are_used_and_leaks_are_said(make_dataset):
    found = compare(make_dataset(split=lambda i: str(i % 3)), ["logreg"], folds="split", auto=False, curves=False)
    assert [fold.fold for fold in found["logreg"].folds] == ["0", "1", "2"]
    assert any("both learned from and tested on" in note for note in found.notes)


def test_a_fold_that_learns_from_one_class_is_refused(make_dataset):
    dataset = make_dataset(n=24, k=2, split=lambda i: str(i % 2))
    with pytest.raises(DatasetError, match="fold 0 would learn from 12 clips of a single class"):
        compare(dataset, ["logreg"], folds="split")


def test_a_held_out_part_judges_only_its_clips(make_dataset):
    found = compare(make_dataset(), ["logreg"], valid_fraction=0.25, auto=False)
    tested = ~np.isnan(found.proba["logreg"][0, :, 0])
    assert 0.15 < tested.mean() < 0.4
    assert len(render_predictions(found).splitlines()) == 1 + 3 * tested.sum()


def test_the_curves_point_at_the_layer_and_at_more_data(found):
    layers = {point["layer"]: point["accuracy"] for point in found.curves["layers"][""]}
    assert max(layers, key=layers.get) == 1
    learning = found.curves["learning"][""]
    sizes = [point["n_train"] for point in learning["points"]]
    assert sizes == sorted(sizes)
    low, high = learning["forecast"]["interval"]
    assert 0 <= low <= learning["forecast"]["accuracy"] <= high <= 1


def test_two_stores_share_folds_and_are_tested_against_each_other(make_dataset):
    good, bad = make_dataset(seed=0), make_dataset(seed=0, signal=0.0)
    found = compare({"good": good, "bad": bad.take(np.arange(90)[::-1])}, ["logreg"], auto=False)
    assert [row.name for row in found.rows] == ["majority", "logmel", "good:logreg", "bad:logreg"]
    assert len(found.sources) == 90
    assert found.test("good:logreg", "bad:logreg").is_real
    assert any(sentence.startswith("A bigger encoder? good over bad") for sentence in found.verdict)
    assert set(found.curves["layers"]) == {"good", "bad"}


def test_stores_that_contradict_each_other_are_refused(make_dataset):
    one = make_dataset()
    other = one.with_sources([replace(s, label="c0") if i == 1 else s for i, s in enumerate(one.sources)])
    with pytest.raises(DatasetError, match="labelled or grouped differently in a and b"):
        compare({"a": one, "b": other}, ["logreg"])


@pytest.mark.parametrize(
    ("heads", "kwargs", "error", "word"),
    [
        (["logrge"], {}, ParameterError, "did you mean 'logreg'"),
        (["logreg", "logreg"], {}, ParameterError, "there twice"),
        (["logreg"], {"folds": 1}, ParameterError, "at least 2"),
        (["logreg"], {"folds": 50}, DatasetError, "cannot make 50 folds"),
        (["logreg"], {"folds": "split"}, DatasetError, "not every clip has a value"),
        (["logreg"], {"folds": "five"}, ParameterError, "a number of folds"),
        (["logreg"], {"repeats": 0}, ParameterError, "at least 1"),
        (["logreg"], {"valid_fraction": 2.0}, ParameterError, "between 0 and 1"),
    ],
)
def test_nonsense_is_one_line(make_dataset, heads, kwargs, error, word):
    with pytest.raises(error, match=word) as caught:
        compare(make_dataset(), heads, **kwargs)
    assert "\n" not in str(caught.value)


def test_costs_are_measured_for_every_fold(found):
    assert all(fold.seconds_fit > 0 and fold.seconds_predict > 0 for row in found.rows for fold in row.folds)
    assert found.facts["embedding_seconds"] is None


def test_only_controls_can_be_compared(make_dataset):
    found = compare(make_dataset(), [])
    assert [row.name for row in found.rows] == ["majority", "logmel"]
    assert found.best.name in ("majority", "logmel")


def test_your_own_estimator_is_a_head(make_dataset):
    found = compare(make_dataset(), [LogisticRegression(C=0.01)], auto=False)
    assert "LogisticRegression" in [row.name for row in found.rows]


def test_json_is_schema_versioned_finite_and_complete(found):
    plain = json.loads(render_json(found))
    assert plain["schema_version"] == 1
    assert {"data_sha256", "recipes", "versions", "settings"} <= set(plain["facts"])
    assert plain["facts"]["settings"]["seed"] == 1
    assert len(plain["rows"]) == 5
    assert plain["rows"][2]["intervals"]["accuracy"]


def test_tables_hold_every_row(found):
    text = render_markdown(found)
    assert text.count("\n| ") >= 6
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert len(render_csv(found).splitlines()) == 6


def test_hostile_titles_do_not_break_the_markdown_table(make_dataset):
    class Evil(Spy):
        pass

    Evil.__name__ = "a|b`<script>"
    found = compare(make_dataset(n_layers=1), [Evil()], auto=False, curves=False)
    line = next(line for line in render_markdown(found).splitlines() if "script" in line)
    assert "a\\|b\\`\\<script\\>" in line


class Hopeless(ClassifierMixin, BaseEstimator):
    """Says the first class of whatever it hears, and counts how often it learned."""

    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.eye(len(self.classes_))[np.zeros(len(X), dtype=int)]

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]


def test_auto_tries_a_hopeless_head_on_one_inner_fold_only(make_dataset):
    part = make_dataset()
    learned = learn_auto(part, 0, heads=["logreg", Hopeless()])
    assert Hopeless.fits == 1
    assert learned.chosen["head"] == "logreg"
    assert learned.chosen["inner_accuracy"] == learn_auto(part, 0, heads=["logreg"]).chosen["inner_accuracy"]
