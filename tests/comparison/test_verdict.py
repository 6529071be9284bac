"""The verdict reads the table as it is, whatever came out."""

from dataclasses import replace

import pytest

from embedx.comparison.result import Row, Test
from embedx.comparison.verdict import write_headline, write_verdict
from embedx.text import printable

TEST = {"b": "majority", "family": "baseline", "interval": None, "p_value": 0.001, "p_holm": 0.001, "method": "a test"}
FACTS = {"recipes": {"": {}}, "embedding_seconds": {"": 40.0}}


def row(name, accuracy, *, kind="head", collapsed=None):
    scores = {"accuracy": accuracy, "log_loss": 1 - accuracy}
    empty = {"intervals": {}, "recall": {}, "confusion": [], "reliability": [], "folds": ()}
    return Row(name=name, title=name, kind=kind, head=name, store="", scores=scores, collapsed=collapsed, **empty)


ROWS = (row("majority", 0.25, kind="baseline"), row("logmel", 0.6, kind="control"), row("logreg", 0.7))


def pair(a, b, family, *, p=0.001):
    scores = {one.name: one.scores["accuracy"] for one in (*ROWS, row("finetune", 0.8), row("mlp", 0.72))}
    difference = scores[a] - (0.25 if family == "baseline" else scores[b])
    return Test(a=a, b=b, family=family, difference=difference, interval=None, p_value=p, p_holm=p, method="a test")


def told(rows, tests, start, facts=FACTS):
    return next(
        text for text in write_verdict(rows=rows, tests=tests, curves={}, facts=facts) if text.startswith(start)
    )


@pytest.mark.parametrize(
    ("p_values", "answer"),
    [
        ((0.001, 0.001), "Yes, over the most frequent class (25.0%): logreg (+45.0 points), logmel (+35.0 points)."),
        (
            (0.2, 0.001),
            "Yes, over the most frequent class (25.0%): logreg (+45.0 points). Not by more than chance: logmel.",
        ),
        ((0.2, 0.2), "No: nothing beats the most frequent class (25.0%) by more than chance."),
    ],
)
def test_better_than_guessing(p_values, answer):
    tests = [pair(a, "majority", "baseline", p=p) for a, p in zip(("logmel", "logreg"), p_values, strict=True)]
    assert told(ROWS, tests, "Better than guessing?") == f"Better than guessing? {answer}"


def test_better_than_log_mel():
    tests = [pair("logreg", "majority", "baseline"), pair("logreg", "logmel", "control")]
    assert "earns its keep with logreg (+10.0 points)" in told(
        ROWS, tests, "Better than log-mel statistics (60.0%)? Yes"
    )
    tests[1] = replace(tests[1], p_holm=0.3)
    assert "by more than chance" in told(ROWS, tests, "Better than log-mel statistics (60.0%)? Nothing")
    tests[1] = replace(tests[1], p_holm=0.01, difference=-0.1)
    assert "worse by more than chance: logreg" in told(ROWS, tests, "Better than log-mel statistics (60.0%)? No")


@pytest.mark.parametrize(("p", "answer"), [(0.001, "Yes: +10.0 points over logreg (a real"), (0.4, "No: +10.0 points")])
def test_fine_tuning_paid_only_when_the_difference_is_real(p, answer):
    rows = (*ROWS, row("finetune", 0.8))
    tests = [pair("logreg", "majority", "baseline"), pair("logreg", "finetune", "heads", p=p)]
    said = told(rows, tests, "Did fine-tuning pay?")
    assert said.startswith(f"Did fine-tuning pay? {answer}")
    assert said.endswith("for 0 s against 0.0 s and 40.0 s of embedding.")


def test_many_rows_are_told_in_one_line():
    rows = (*ROWS, *(row(f"h{i}", 0.71 + i / 100) for i in range(5)))
    gains = [Test(**{**TEST, "a": one.name, "difference": one.scores["accuracy"] - 0.25}) for one in rows[2:]]
    said = told(rows, [pair("logmel", "majority", "baseline", p=0.5), *gains], "Better than guessing?")
    assert "6 rows, h4 (+50.0 points) to logreg (+45.0 points). Not by more than chance: logmel." in said


def test_the_price_of_picking_names_the_same_best_row_as_the_page():
    rows = (*ROWS, row("mlp", 0.72), row("auto", 0.69, kind="auto"))
    tests = [pair("logreg", "majority", "baseline")]
    assert told(rows, tests, "What to expect?").startswith("What to expect? 69.0%, from head and layer chosen inside")
    assert "72.0% (mlp)" in told(rows, tests, "What to expect?")


def test_nothing_is_said_of_more_data_when_the_probe_collapsed():
    rows = (*ROWS[:2], row("logreg", 0.25, collapsed="a"))
    curves = {"head": "logreg", "title": "logreg", "layers": {}, "learning": {"": {"forecast": {"accuracy": 0.9}}}}
    found = write_verdict(rows=rows, tests=[pair("logreg", "majority", "baseline")], curves=curves, facts=FACTS)
    assert any("logreg collapsed" in text for text in found)
    assert not any(text.startswith("More data?") for text in found)


def test_labels_of_strangers_do_not_reach_the_terminal_as_commands():
    assert printable("\x1b[31mred\u202e 狗") == "\\u001b[31mred\\u202e 狗"


def test_what_too_few_groups_cannot_tell_is_not_called_a_no():
    few = {"n_units": 3, "n_needed": 6, "method": "paired permutation of groups"}
    tests = [replace(pair(a, "majority", "baseline", p=0.25), **few) for a in ("logmel", "logreg")]
    tests.append(replace(pair("logreg", "logmel", "control", p=1.0), **few))
    said = write_verdict(rows=ROWS, tests=tests, curves={}, facts=FACTS)
    assert said[0].startswith("Better than guessing? Cannot be told from 3 groups: 6 or more are needed.")
    assert said[1].startswith("Better than log-mel statistics (60.0%)? Cannot be told from 3 groups")
    assert write_headline(rows=ROWS, tests=tests, facts=FACTS).startswith("Cannot be told from 3 groups")


def test_the_headline_names_no_head_that_a_control_reaches():
    facts = {**FACTS, "class_counts": {"a": 9, "b": 9}}
    tests = [pair("logreg", "majority", "baseline"), pair("logreg", "logmel", "control")]
    assert write_headline(rows=ROWS, tests=tests, facts=facts) == "Logreg tells 2 classes apart with 70.0% accuracy"
    for control in (0.7, 0.9):
        rows = (ROWS[0], row("logmel", control, kind="control"), ROWS[2])
        said = write_headline(rows=rows, tests=tests, facts=facts)
        assert said == f"No head is better than log-mel statistics: {control:.1%} accuracy, logreg 70.0%"


def test_a_class_of_one_group_is_told_instead_of_a_verdict():
    facts = {**FACTS, "class_counts": {"en": 9, "es": 9}, "lone_classes": {"en": "anna", "es": "luis"}}
    tests = [pair("logreg", "majority", "baseline")]
    (said,) = write_verdict(rows=ROWS, tests=tests, curves={}, facts=facts)
    assert said.startswith("Cannot be judged: every clip of 'en' is of one group ('anna'), every clip of 'es'")
    assert write_headline(rows=ROWS, tests=tests, facts=facts).startswith("Cannot be judged: every clip of 'en'")


@pytest.mark.parametrize(
    ("other", "question"),
    [
        ({"encoder": "big", "pooling": "mean"}, "A bigger encoder? Between a, b"),
        ({"encoder": "tiny", "pooling": "mean+std"}, "Another pooling? Between a, b"),
        ({"encoder": "tiny", "pooling": "mean+std", "window": 5}, "Another recipe? Between a, b"),
    ],
)
def test_stores_are_compared_by_what_differs(other, question):
    facts = {**FACTS, "recipes": {"a": {"encoder": "tiny", "pooling": "mean"}, "b": other}}
    assert told(ROWS, [pair("logreg", "majority", "baseline")], question.split("?")[0], facts).startswith(question)


def test_copies_on_both_sides_are_the_first_thing_said():
    tests = [pair("logreg", "majority", "baseline"), pair("logreg", "logmel", "control")]
    facts = {**FACTS, "n_copied": 2, "class_counts": {"a": 3, "b": 3}}
    first, *_ = write_verdict(rows=ROWS, tests=tests, curves={}, facts=facts)
    assert first.startswith("A leak: 2 tested clips are copies of ones that are learned from")
    assert write_headline(rows=ROWS, tests=tests, facts=facts).endswith(
        "70.0% accuracy; too good: 2 of the tested clips can be learned from a copy"
    )
