"""The table of several labels a clip in plain words: what beats guessing and log-mel statistics, what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedx.comparison.multi_label_result import best_by_f1
from embedx.comparison.result import Row, Test
from embedx.evaluation.duplicate_leakage import describe_copies
from embedx.text import count

__all__ = ["write_set_headline", "write_set_verdict"]

_GUESS = "giving every class to every clip"


def write_set_headline(*, rows: tuple[Row, ...], tests: Sequence[Test], facts: Mapping[str, Any], **_: Any) -> str:
    """Return the verdict in one line; a head is named only where no control does as well."""
    best = best_by_f1(rows)
    control = next(row for row in rows if row.kind == "control")
    test = next((one for one in tests if one.family == "baseline" and one.a == best.name), None)
    if test is None or not test.is_real:
        return _cannot_tell(test) or "No head is better than guessing by more than chance"
    copied = facts.get("n_copied") or 0
    doubt = f"; too good: {copied:,} of the tested clips can be learned from a copy" if copied else ""
    n_classes = len(facts["class_counts"])
    if control.scores["macro_f1"] < best.scores["macro_f1"]:
        title = best.title[:1].upper() + best.title[1:]
        return (
            f"{title} finds {n_classes} classes, several a clip, with macro F1 {_percent(best)} (mAP "
            f"{100 * best.scores['mean_average_precision']:.1f} %){doubt}"
        )
    return (
        f"No head is better than log-mel statistics: macro F1 {_percent(control)}, {best.title} {_percent(best)}{doubt}"
    )


def write_set_verdict(
    *, rows: tuple[Row, ...], tests: Sequence[Test], facts: Mapping[str, Any], **_: Any
) -> tuple[str, ...]:
    """Return a handful of sentences for people, all about macro F1."""
    titles = {row.name: row.title for row in rows}
    copies = describe_copies(facts.get("n_copied") or 0)
    lone = facts.get("lone_classes") or {}
    told = [f"A leak: {copies}." if copies else "", _lone(lone)]
    told += [_beats_guessing(rows, tests, titles), _beats_logmel(rows, tests, titles), _among_heads(tests, titles)]
    return tuple(filter(None, told))


def _percent(row: Row) -> str:
    return f"{100 * row.scores['macro_f1']:.1f} %"


def _cannot_tell(test: Test | None) -> str:
    if test is None or test.is_real or test.can_be_told:
        return ""
    unit = "group" if "groups" in test.method else "clip"
    return f"Cannot be told from {count(test.n_units, unit)}: {test.n_needed} or more are needed"


def _lone(lone: Mapping[str, str]) -> str:
    if not lone:
        return ""
    name, group = next(iter(lone.items()))
    more = f" (and {count(len(lone) - 1, 'more class', 'more classes')})" if len(lone) > 1 else ""
    return (
        f"Not every class can be judged: every clip of {name!r} is of one group ({group!r}){more}. A head may know the "
        "group instead of the class: add clips of other groups."
    )


def _listed(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    return ", ".join(f"{titles[test.a]} ({100 * test.difference:+.1f} points)" for test in tests)


def _split(tests: Sequence[Test], family: str) -> tuple[list[Test], list[Test], str]:
    members = sorted((test for test in tests if test.family == family), key=lambda test: -test.difference)
    told = _cannot_tell(members[0]) if members and not any(test.is_real for test in members) else ""
    return [test for test in members if test.is_real], [test for test in members if not test.is_real], told


def _beats_guessing(rows: Sequence[Row], tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    real, others, told = _split(tests, "baseline")
    first = (real or others)[0]
    alone = next(row.scores["macro_f1"] for row in rows if row.name == first.a) - first.difference
    guess = f"{_GUESS} (macro F1 {100 * alone:.1f} %)"
    if not real:
        most = f" The most over {guess} is {_listed(others[:1], titles)}."
        return f"Better than guessing? {told + '.' if told else 'No: nothing beats it by more than chance.'}{most}"
    tail = f" Not by more than chance: {', '.join(titles[test.a] for test in others)}." if others else ""
    return f"Better than guessing? Yes, over {guess}: {_listed(real, titles)}.{tail}"


def _beats_logmel(rows: Sequence[Row], tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    real, others, told = _split(tests, "control")
    control = next(row for row in rows if row.kind == "control")
    question = f"Better than log-mel statistics (macro F1 {_percent(control)})?"
    if not real:
        why = told or "Nothing differs from them by more than chance"
        return f"{question} {why}; the most is {_listed(others[:1], titles)}."
    better, worse = [t for t in real if t.difference > 0], [t for t in real if t.difference < 0]
    said = [f"the encoder earns its keep with {_listed(better, titles)}"] if better else []
    said += [f"worse by more than chance: {_listed(worse, titles)}"] if worse else []
    rest = ". The others are within chance" if others else ""
    return f"{question} {'Yes' if better else 'No'}, {'; '.join(said)}{rest}."


def _among_heads(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    real, others, told = _split(tests, "heads")
    if not real and not others:
        return ""
    if not real:
        why = told or "Between the heads no difference is more than chance"
        return f"Which head? {why}: take the simplest."
    pairs = ((t.a, t.b, t.difference) if t.difference > 0 else (t.b, t.a, -t.difference) for t in real)
    listed = "; ".join(f"{titles[a]} over {titles[b]} by {100 * by:.1f} points" for a, b, by in pairs)
    rest = " The other differences are within chance." if others else ""
    return f"Which head? Real differences: {listed}.{rest}"
