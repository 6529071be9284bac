"""The table in plain words: which heads beat guessing, which differences are real, what collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedx.comparison.result import Row, Test

__all__ = ["write_verdict"]


def write_verdict(*, rows: Sequence[Row], tests: Sequence[Test], **_: Any) -> tuple[str, ...]:
    """Return a handful of sentences for people; nothing in them is not in the table or the tests."""
    sentences = [_beats_guessing(rows, tests), _beats_logmel(rows, tests), _among_heads(rows, tests)]
    sentences += [
        f"{row.title} collapsed: almost every prediction is {row.collapsed!r}."
        for row in rows
        if row.collapsed is not None and row.kind != "baseline"
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _titles(rows: Sequence[Row]) -> Mapping[str, str]:
    return {row.name: row.title for row in rows}


def _beats_guessing(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    title = _titles(rows)
    family = [test for test in tests if test.family == "baseline"]
    real = sorted((test for test in family if test.is_real), key=lambda test: -test.difference)
    guess = rows[0].scores["accuracy"]
    if not real:
        return f"No head is better than guessing the most frequent class ({guess:.1%}) by more than chance."
    listed = ", ".join(f"{title[test.a]} (+{100 * test.difference:.1f} points)" for test in real)
    others = [title[test.a] for test in family if not test.is_real]
    tail = f" Not better by more than chance: {', '.join(others)}." if others else ""
    return f"Better than guessing the most frequent class ({guess:.1%}): {listed}.{tail}"


def _beats_logmel(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    title = _titles(rows)
    family = [test for test in tests if test.family == "control"]
    if not family:
        return ""
    better = [test for test in family if test.is_real and test.difference > 0]
    if not better:
        return "No head on embeddings is better than log-mel statistics by more than chance."
    listed = ", ".join(f"{title[test.a]} (+{100 * test.difference:.1f})" for test in better)
    return f"Better than log-mel statistics, so the encoder earns its keep: {listed}."


def _among_heads(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    title = _titles(rows)
    family = [test for test in tests if test.family == "heads"]
    if not family:
        return ""
    real = [test for test in family if test.is_real]
    if not real:
        return "Between the heads no difference is more than chance."
    listed = "; ".join(
        f"{title[test.a if test.difference > 0 else test.b]} over {title[test.b if test.difference > 0 else test.a]} "
        f"by {100 * abs(test.difference):.1f} points"
        for test in real
    )
    rest = "" if len(real) == len(family) else " The other differences are within chance."
    return f"Real differences between heads: {listed}.{rest}"
