"""The table in plain words: which heads beat guessing, which differences are real, what collapsed, what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedx.comparison.result import Row, Test

__all__ = ["describe_baseline", "write_verdict"]


def write_verdict(
    *, rows: Sequence[Row], tests: Sequence[Test], curves: Mapping[str, Any], facts: Mapping[str, Any], **_: Any
) -> tuple[str, ...]:
    """Return a handful of sentences for people; nothing in them is not in the table, tests or curves.

    Parameters
    ----------
    rows, tests, curves, facts
        As in `embedx.comparison.Comparison`.
    """
    titles = {row.name: row.title for row in rows}
    sentences = [_beats_guessing(rows, tests, titles), _beats_logmel(tests, titles), _among_heads(tests, titles)]
    sentences += [_collapsed(row) for row in rows if row.collapsed is not None and row.kind != "baseline"]
    sentences += [_price_of_picking(rows), _tuning(rows, tests), _finetuning(rows, tests)]
    sentences += [*_more_data(curves), *_layers(curves), _between_stores(rows, tests, facts)]
    return tuple(sentence for sentence in sentences if sentence)


def describe_baseline(rows: Sequence[Row], tests: Sequence[Test]) -> tuple[str, ...]:
    """Say that heads are tested against more than the baseline row scores, when that is so."""
    test = next((test for test in tests if test.family == "baseline"), None)
    if test is None:
        return ()
    guess, shown = _guess(rows, test), rows[0].scores["accuracy"]
    if guess - shown < 1e-9:
        return ()
    return (
        f"the majority row scores {shown:.1%}, less than the most frequent class ({guess:.1%}), because what is "
        f"frequent in a training part is rarer in its test part; heads are tested against {guess:.1%}",
    )


def _guess(rows: Sequence[Row], test: Test) -> float:
    return next(row.scores["accuracy"] for row in rows if row.name == test.a) - test.difference


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _beats_guessing(rows: Sequence[Row], tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "baseline"]
    guess = _guess(rows, family[0])
    real = sorted((test for test in family if test.is_real), key=lambda test: -test.difference)
    if not real:
        return f"Nothing is better than guessing the most frequent class ({guess:.1%}) by more than chance."
    listed = ", ".join(f"{titles[test.a]} ({_points(test.difference)})" for test in real)
    others = [titles[test.a] for test in family if not test.is_real]
    tail = f" Not better by more than chance: {', '.join(others)}." if others else ""
    return f"Better than guessing the most frequent class ({guess:.1%}): {listed}.{tail}"


def _beats_logmel(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "control"]
    if not family:
        return ""
    better = [test for test in family if test.is_real and test.difference > 0]
    worse = [test for test in family if test.is_real and test.difference < 0]
    said = []
    if better:
        listed = ", ".join(f"{titles[test.a]} ({_points(test.difference)})" for test in better)
        said.append(f"Better than log-mel statistics, so the encoder earns its keep: {listed}.")
    if worse:
        listed = ", ".join(f"{titles[test.a]} ({_points(test.difference)})" for test in worse)
        said.append(f"Worse than log-mel statistics: {listed}.")
    return " ".join(said) or "No head on embeddings differs from log-mel statistics by more than chance."


def _among_heads(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "heads"]
    real = [test for test in family if test.is_real]
    if not real:
        return "Between the heads no difference is more than chance." if family else ""
    listed = []
    for test in sorted(real, key=lambda test: -abs(test.difference)):
        winner, loser = (test.a, test.b) if test.difference > 0 else (test.b, test.a)
        listed.append(f"{titles[winner]} over {titles[loser]} by {100 * abs(test.difference):.1f} points")
    rest = "" if len(real) == len(family) else " The other differences are within chance."
    return f"Real differences between heads: {'; '.join(listed)}.{rest}"


def _collapsed(row: Row) -> str:
    return f"{row.title} collapsed: almost every prediction is {row.collapsed!r}, its accuracy says nothing."


def _price_of_picking(rows: Sequence[Row]) -> str:
    heads = [row for row in rows if row.kind in ("head", "tuned")]
    autos = [row for row in rows if row.kind == "auto"]
    if len(autos) != 1 or len(heads) < 2:
        return ""
    best = max(heads, key=lambda row: row.scores["accuracy"])
    auto = autos[0].scores["accuracy"]
    return (
        f"Picking the best row after the fact gives {best.scores['accuracy']:.1%} ({best.title}); "
        f"head and layer chosen inside the training parts (auto) gave {auto:.1%}: expect the latter."
    )


def _tuning(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    said = []
    for row in (row for row in rows if row.kind == "tuned"):
        default = row.name.removesuffix(" tuned")
        test = next((test for test in tests if (test.a, test.b) == (default, row.name)), None)
        if test is not None:
            words = "a real difference" if test.is_real else "within chance"
            said.append(f"{row.title} {_points(-test.difference)} over its defaults ({words})")
    return f"Other hyper-parameters? {'; '.join(said)}." if said else ""


def _finetuning(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    tuned = [row for row in rows if row.head.startswith("finetune")]
    frozen = [row for row in rows if row.kind in ("head", "tuned") and not row.head.startswith("finetune")]
    if not tuned or not frozen:
        return ""
    best = max(frozen, key=lambda row: row.scores["accuracy"])
    row = max(tuned, key=lambda row: row.scores["accuracy"])
    test = next((test for test in tests if {test.a, test.b} == {row.name, best.name}), None)
    gain = row.scores["accuracy"] - best.scores["accuracy"]
    real = test is not None and test.is_real
    paid = "it paid for its seconds" if real and gain > 0 else "it did not pay for its seconds"
    return (
        f"Fine-tuning took {row.seconds:.0f} s against {best.seconds:.1f} s of {best.title} and gave {_points(gain)} "
        f"({'real' if real else 'within chance'}): {paid}."
    )


def _more_data(curves: Mapping[str, Any]) -> list[str]:
    said = []
    for store, curve in curves.get("learning", {}).items():
        forecast = curve.get("forecast")
        if forecast is None:
            continue
        now, ahead = curve["points"][-1], forecast["accuracy"]
        bounds = forecast.get("interval")
        between = f" (95% interval {bounds[0]:.1%} to {bounds[1]:.1%})" if bounds else ""
        where = f" on {store}" if store else ""
        flat = ", so more clips of this kind promise no gain" if ahead <= now["accuracy"] else ""
        said.append(
            f"More data? {curves['title']}{where} has {now['accuracy']:.1%} from {now['n_train']:.0f} clips; if its "
            f"power law holds, twice as many would give {ahead:.1%}{between}{flat}."
        )
    return said


def _layers(curves: Mapping[str, Any]) -> list[str]:
    said = []
    for store, points in curves.get("layers", {}).items():
        single = [point for point in points if point["layer"] != "mean"]
        best = max(single, key=lambda point: point["accuracy"])
        mean = next(point for point in points if point["layer"] == "mean")
        where = f" of {store}" if store else ""
        said.append(
            f"Another layer? With {curves['title']}, layer {best['layer']}{where} is best with {best['accuracy']:.1%} "
            f"(last {single[-1]['accuracy']:.1%}, mean of all {mean['accuracy']:.1%}); picked by looking, so a little "
            "too good."
        )
    return said


def _between_stores(rows: Sequence[Row], tests: Sequence[Test], facts: Mapping[str, Any]) -> str:
    stores = list(facts["recipes"])
    if len(stores) < 2:
        return ""
    real = []
    for test in tests:
        a, b = (next(row for row in rows if row.name == name) for name in (test.a, test.b))
        if test.family == "heads" and test.is_real and (a.head, a.kind) == (b.head, b.kind) and a.store != b.store:
            winner, loser = (a, b) if test.difference > 0 else (b, a)
            real.append(f"{winner.store} over {loser.store} by {100 * abs(test.difference):.1f} points ({a.head})")
    if not real:
        return f"A bigger encoder? Between {', '.join(stores)} no head differs by more than chance."
    return f"A bigger encoder? {'; '.join(real)}."
