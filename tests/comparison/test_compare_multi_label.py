"""Heads for several labels a clip: scikit-learn's scores, honest folds and thresholds, no false praise."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from embedx import compare
from embedx.cli import main
from embedx.comparison import MultiLabelComparison
from embedx.errors import DatasetError, ParameterError
from embedx.report.results import save_results
from embedx.testing import make_dataset, make_store

DATA = make_dataset(n=120, multi_label=True)
PLAIN = {"folds": 3, "auto": False, "curves": False}


@pytest.fixture(scope="module")
def comparison():
    return compare(DATA, ["logreg", "lgbm"], **PLAIN)


def without_signal(seed, n=60):
    return make_dataset(n=n, multi_label=True, gap=0.0, seed=seed)


def test_the_controls_are_always_there_and_the_table_is_about_macro_f1(comparison):
    assert isinstance(comparison, MultiLabelComparison)
    assert [row.name for row in comparison.rows] == ["prevalence", "logmel", "logreg", "lgbm"]
    assert comparison.best.name in ("logreg", "lgbm")
    assert comparison.headline.lower().startswith(comparison.best.title.lower())
    assert "Better than guessing? Yes" in comparison.verdict[0]
    assert comparison.test("logreg", "prevalence").is_real
    assert not comparison.test("logmel", "prevalence").is_real


def test_scores_are_those_of_scikit_learn(comparison):
    Y = DATA.Y
    for row in comparison.rows:
        proba, given = comparison.proba[row.name][0].astype(float), comparison.given[row.name][0]
        assert row.scores["macro_f1"] == pytest.approx(f1_score(Y, given, average="macro"))
        assert row.scores["micro_f1"] == pytest.approx(f1_score(Y, given, average="micro"))
        precision = average_precision_score(Y, proba, average="macro")
        assert row.scores["mean_average_precision"] == pytest.approx(precision, abs=1e-6)
        assert row.scores["roc_auc"] == pytest.approx(roc_auc_score(Y, proba, average="macro"), abs=1e-6)
        for bounds, name in ((row.intervals[name], name) for name in row.scores):
            assert bounds[0] <= row.scores[name] <= bounds[1]


def test_groups_stay_whole_and_thresholds_come_from_the_training_part(comparison):
    folds = comparison.fold_of[0]
    for group in set(comparison.groups):
        assert len(set(folds[np.array(comparison.groups) == group])) == 1
    for fold in comparison["logreg"].folds:
        test = np.flatnonzero(folds == fold.fold)
        thresholds = np.array([fold.chosen["thresholds"][name] for name in comparison.classes])
        given = comparison.proba["logreg"][0, test] >= thresholds
        assert (given == comparison.given["logreg"][0, test]).mean() > 0.99  # float32 may fall on the other side


def test_labels_of_the_test_part_change_nothing_that_is_given():
    once = compare(DATA, ["logreg"], valid_fraction=0.3, auto=False, curves=False)
    tested = np.flatnonzero(once.fold_of[0] != "")
    split = ["test" if i in set(tested.tolist()) else "train" for i in range(len(DATA))]
    sources = [replace(source, split=part) for source, part in zip(DATA.sources, split, strict=True)]
    turned = [replace(s, label="class 0|class 1") if s.split == "test" else s for s in sources]
    found = [compare(DATA.with_sources(some), ["logreg"], **{**PLAIN, "folds": "split"}) for some in (sources, turned)]
    assert np.array_equal(found[0].given["logreg"], found[1].given["logreg"])


def test_repeats_are_averaged_and_processes_change_nothing():
    again = {**PLAIN, "repeats": 2}
    found = [compare(DATA, ["logreg"], **again, n_jobs=n) for n in (1, 2)]
    assert found[0].proba["logreg"].shape == (2, 120, 3)
    assert found[0]["logreg"].scores == found[1]["logreg"].scores


def test_a_class_of_one_group_is_judged_where_it_can_be_and_said():
    labels = [
        "class 0|rare" if source.group == "g1" and i % 2 else source.label for i, source in enumerate(DATA.sources)
    ]
    one_group = DATA.with_sources([replace(s, label=label) for s, label in zip(DATA.sources, labels, strict=True)])
    found = compare(one_group, ["logreg"], **PLAIN)
    assert any("learns no clip of a class ('rare' in fold" in note for note in found.notes)
    assert any("tests no clip of a class" in note for note in found.notes)
    assert "every clip of 'rare' is of one group ('g1')" in " ".join(found.verdict)
    assert found.class_scores["logreg"]["rare"]["f1"] == 0.0


def test_few_groups_have_no_intervals_and_no_verdict():
    found = compare(make_dataset(n=24, multi_label=True), ["logreg"], **PLAIN)
    assert not found["logreg"].intervals
    assert "Cannot be told from 4 groups" in found.headline


def test_the_same_clips_with_one_label_are_compared_as_ever():
    single = make_dataset(n=60)
    assert "accuracy" in compare(single, ["logreg"], **PLAIN)["logreg"].scores
    assert "macro_f1" in compare(single.multi_label(), ["logreg"], **PLAIN)["logreg"].scores


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"heads": ["knn"]}, ParameterError, "head 'knn' learns one label a clip"),
        ({"heads": ["logreg", "finetune"]}, ParameterError, "head 'finetune' learns one label a clip"),
        ({"n_trials": 2}, ParameterError, "tuning takes one label a clip"),
        ({"folds": 200}, DatasetError, "20 groups cannot make 200 folds"),
        ({"folds": "split"}, DatasetError, "not every clip has a value there"),
        ({"folds": 3, "repeats": 0}, ParameterError, "repeats=0"),
    ],
)
def test_what_is_not_done_is_one_clear_line(options, error, message):
    with pytest.raises(error, match=message) as caught:
        compare(DATA, **{"heads": ["logreg"], **PLAIN, **options})
    assert "\n" not in str(caught.value)


def test_fits_that_were_kept_are_not_those_of_single_labels(tmp_path):
    single = replace(DATA, label_separator=None)
    one = compare(single, ["logreg"], **PLAIN, keep=tmp_path)
    several = compare(DATA, ["logreg"], **PLAIN, keep=tmp_path)
    assert len(one.classes) > len(several.classes) == 3
    again = compare(DATA, ["logreg"], **PLAIN, keep=tmp_path)
    assert again["logreg"].scores == several["logreg"].scores


def test_random_labels_are_not_called_better_than_chance():
    found = [compare(without_signal(seed), ["logreg"], **PLAIN) for seed in range(3)]
    assert sum(test.is_real for one in found for test in one.tests if test.family == "baseline") == 0


def test_random_labels_are_called_better_as_rarely_as_promised():
    found = [compare(without_signal(seed, 90), ["logreg", "lgbm"], **PLAIN) for seed in range(60)]
    false = sum(any(t.is_real for t in one.tests if t.family == "baseline") for one in found)
    assert false / len(found) <= 0.1  # 5 % are promised; 60 draws of it are at most 6 in 97 of 100 cases


def test_the_files_are_those_of_the_other_comparisons(comparison, tmp_path):
    names = save_results(comparison, tmp_path)
    assert names == ("comparison.json", "comparison.md", "comparison.csv", "predictions.csv", "report.html")
    save_results(comparison, tmp_path)  # over its own
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert (record["label_separator"], record["best"]) == ("|", comparison.best.name)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert float(rows[2]["macro_f1"]) == comparison["logreg"].scores["macro_f1"]
    predictions = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(predictions) == 4 * len(DATA)
    assert {row["label"] for row in predictions} == {source.label for source in DATA.sources}


def test_the_page_is_self_contained_and_shows_names_as_they_are(tmp_path):
    named = [source.label.replace("class 0", "<script>x") for source in DATA.sources]
    odd = DATA.relabel(named, groups=[source.group for source in DATA.sources])
    save_results(compare(odd, ["logreg"], **PLAIN), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;x" in page
    assert "default-src 'none'" in page
    assert "http:" not in page.replace("http://www.w3.org", "")


def test_the_command_reads_sets_from_a_store_and_from_a_table(tmp_path, capsys):
    store = make_store(tmp_path / "emb.h5", DATA)
    words = ["compare", str(store), "--heads", "logreg", "--folds", "3"]
    assert main([*words, "--label-separator", "|", "-o", str(tmp_path / "a")]) == 0
    lines = ["path,class 0,class 1,class 2,group"]
    lines += [
        f"{s.uri},{','.join(map(str, row))},{s.group}" for s, row in zip(DATA.sources, DATA.Y.astype(int), strict=True)
    ]
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    table = ["--labels", str(tmp_path / "clips.csv"), "--label-columns", "class *"]
    out = capsys.readouterr().out
    assert "macro F1" in out
    assert "Classes, with logistic regression" in out
    moved = make_store(tmp_path / "here.h5", replace(DATA, root=str(tmp_path)))
    assert main(["compare", str(moved), *words[2:], *table, "-o", str(tmp_path / "b")]) == 0
    scores = [json.loads((tmp_path / name / "comparison.json").read_text())["rows"][2]["scores"] for name in "ab"]
    assert scores[0] == scores[1]
    assert main([*words, "--label-columns", "class *", "-o", str(tmp_path / "c")]) == 2
    assert "say which CSV has one for each class with --labels" in capsys.readouterr().err
