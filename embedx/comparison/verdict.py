"""The table in plain words: which heads beat guessing, which differences are real, what collapsed, what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedx.comparison.result import Row, Test, best_row
from embedx.encoders.short_names import ADVICE
from embedx.evaluation.duplicate_leakage import describe_copies
from embedx.evaluation.splits import describe_lone_classes
from embedx.text import count

__all__ = ["describe_baseline", "write_headline", "write_verdict"]

SHOWN_PAIRS = 6
"""Differences between heads that are told one by one."""


def write_verdict(
    *, rows: Sequence[Row], tests: Sequence[Test], curves: Mapping[str, Any], facts: Mapping[str, Any], **_: Any
) -> tuple[str, ...]:
    """Return a handful of sentences for people; of what was compared they say only what the tables and tests hold.

    Parameters
    ----------
    rows, tests, curves, facts
        As in `embedx.comparison.Comparison`.
    """
    titles = {row.name: row.title for row in rows}
    lone, n_classes = _lone(facts)
    lone_text = describe_lone_classes(lone, n_classes)
    if lone_text and n_classes - len(lone) < 2:
        return (f"{lone_text}.",)
    copies = describe_copies(facts.get("n_copied") or 0)
    sentences = [f"A leak: {copies}." if copies else "", f"{lone_text}." if lone_text else ""]
    sentences += [f(rows, tests, titles) for f in (_beats_guessing, _beats_logmel)]
    sentences.append(_among_heads(tests, titles))
    sentences += [_collapsed(row) for row in rows if row.collapsed is not None and row.kind != "baseline"]
    sentences += [*_price_of_picking(rows), _tuning(rows, tests), _finetuning(rows, tests, facts)]
    if not any(row.collapsed for row in rows if row.head == curves.get("head")):
        sentences += [*_more_data(curves), *_layers(curves)]
    sentences.append(_between_stores(rows, tests, facts))
    return tuple(sentence for sentence in sentences if sentence)


def write_headline(*, rows: Sequence[Row], tests: Sequence[Test], facts: Mapping[str, Any], **_: Any) -> str:
    """Return the verdict in one line; a head is named only where no control does as well.

    Parameters
    ----------
    rows, tests, facts
        As in `embedx.comparison.Comparison`.
    """
    lone, n_classes = _lone(facts)
    if lone and n_classes - len(lone) < 2:
        name, group = next(iter(lone.items()))
        return f"Cannot be judged: every clip of {name!r} is of one group ({group!r})"
    best, control = best_row(rows), next((row for row in rows if row.kind == "control"), None)
    test = next((test for test in tests if test.family == "baseline" and test.a == best.name), None)
    if test is None or not test.is_real:
        told = _cannot_tell([test]) if test is not None else ""
        return told or "No head is better than guessing by more than chance"
    title = best.title[:1].upper() + best.title[1:]
    said = f"{title} tells {n_classes} classes apart with {best.scores['accuracy']:.1%} accuracy"
    copied = facts.get("n_copied") or 0
    doubt = f"; too good: {copied:,} of the tested clips can be learned from a copy" if copied else ""
    if control is None or control.scores["accuracy"] < best.scores["accuracy"]:
        said += doubt
        apart = count(len(lone), "class", "classes")
        return f"{said}; {apart} of a single group cannot be judged" if lone else said
    return (
        f"No head is better than log-mel statistics: {control.scores['accuracy']:.1%} accuracy, "
        f"{best.title} {best.scores['accuracy']:.1%}{doubt}"
    )


def _lone(facts: Mapping[str, Any]) -> tuple[Mapping[str, str], int]:
    return facts.get("lone_classes") or {}, len(facts.get("class_counts") or ())


def _cannot_tell(family: Sequence[Test]) -> str:
    """Say that no test of a family could come out, whatever the heads do, and how many groups that would need."""
    if not family or any(test.is_real or test.can_be_told for test in family):
        return ""
    test = min(family, key=lambda one: one.n_needed - one.n_units)
    unit = "group" if "groups" in test.method else "clip"
    return f"Cannot be told from {count(test.n_units, unit)}: {test.n_needed} or more are needed"


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


def _list(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    """Name a few rows one by one, and of many the first and the last."""
    if len(tests) > 3:
        return f"{len(tests)} rows, {_list(tests[:1], titles)} to {_list(tests[-1:], titles)}"
    return ", ".join(f"{titles[test.a]} ({_points(test.difference)})" for test in tests)


def _beats_guessing(rows: Sequence[Row], tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "baseline"]
    guess = f"the most frequent class ({_guess(rows, family[0]):.1%})"
    real = sorted((test for test in family if test.is_real), key=lambda test: -test.difference)
    others = [titles[test.a] for test in family if not test.is_real]
    if not real and (told := _cannot_tell(family)):
        most = max(family, key=lambda test: test.difference)
        return f"Better than guessing? {told}. The most over {guess} is {_list([most], titles)}."
    if not real:
        return f"Better than guessing? No: nothing beats {guess} by more than chance."
    if len(real) > 2 and not others:
        first, last = _list(real[:1], titles), _list(real[-1:], titles)
        return f"Better than guessing? Yes, every row beats {guess}, from {last} to {first}."
    tail = f" Not by more than chance: {', '.join(others)}." if others else ""
    return f"Better than guessing? Yes, over {guess}: {_list(real, titles)}.{tail}"


def _beats_logmel(rows: Sequence[Row], tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "control"]
    if not family:
        return ""
    alone = next(row.scores["accuracy"] for row in rows if row.name == family[0].b)
    better = sorted((test for test in family if test.is_real and test.difference > 0), key=lambda one: -one.difference)
    worse = sorted((test for test in family if test.is_real and test.difference < 0), key=lambda one: one.difference)
    if not better and not worse:
        best = max(family, key=lambda test: test.difference)
        if told := _cannot_tell(family):
            return f"Better than log-mel statistics ({alone:.1%})? {told}. The most is {_list([best], titles)}."
        return (
            f"Better than log-mel statistics ({alone:.1%})? Nothing differs from them by more than chance; the most is "
            f"{_list([best], titles)}."
        )
    said = [f"the encoder earns its keep with {_list(better, titles)}"] if better else []
    said += [f"worse by more than chance: {_list(worse, titles)}"] if worse else []
    rest = "" if len(better) + len(worse) == len(family) else ". The others are within chance"
    return f"Better than log-mel statistics ({alone:.1%})? {'Yes' if better else 'No'}, {'; '.join(said)}{rest}."


def _among_heads(tests: Sequence[Test], titles: Mapping[str, str]) -> str:
    family = [test for test in tests if test.family == "heads"]
    real = sorted((test for test in family if test.is_real), key=lambda test: -abs(test.difference))
    if not family:
        return ""
    if not real and (told := _cannot_tell(family)):
        return f"Which head? {told}: take the simplest."
    if not real:
        return "Which head? Between the heads no difference is more than chance: take the simplest."
    listed = []
    for test in real[:SHOWN_PAIRS]:
        winner, loser = (test.a, test.b) if test.difference > 0 else (test.b, test.a)
        listed.append(f"{titles[winner]} over {titles[loser]} by {100 * abs(test.difference):.1f} points")
    more = f"; and {len(real) - SHOWN_PAIRS} more" if len(real) > SHOWN_PAIRS else ""
    rest = "" if len(real) == len(family) else " The other differences are within chance."
    return f"Which head? Real differences: {'; '.join(listed)}{more}.{rest}"


def _collapsed(row: Row) -> str:
    return f"{row.title} collapsed: almost every prediction is {row.collapsed!r}, its accuracy says nothing."


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: (row.scores["accuracy"], -row.scores["log_loss"]))


def _price_of_picking(rows: Sequence[Row]) -> list[str]:
    said = []
    for auto in (row for row in rows if row.kind == "auto"):
        heads = [row for row in rows if row.kind in ("head", "tuned") and row.store == auto.store]
        if len(heads) > 1:
            best, on = _best(heads), f" on {auto.store}" if auto.store else ""
            said.append(
                f"What to expect{on}? {auto.scores['accuracy']:.1%}, from head and layer chosen inside the training "
                f"parts (auto); {best.scores['accuracy']:.1%} ({best.title}) is the best head, picked after the fact."
            )
    return said


def _tuning(rows: Sequence[Row], tests: Sequence[Test]) -> str:
    said = []
    for row in (row for row in rows if row.kind == "tuned"):
        default = row.name.removesuffix(" tuned")
        test = next((test for test in tests if (test.a, test.b) == (default, row.name)), None)
        if test is not None:
            words = _strength(test)
            said.append(f"{row.title} {_points(-test.difference)} over its defaults ({words})")
    return f"Other hyper-parameters? {'; '.join(said)}." if said else ""


def _finetuning(rows: Sequence[Row], tests: Sequence[Test], facts: Mapping[str, Any]) -> str:
    tuned = [row for row in rows if row.head.startswith("finetune")]
    frozen = [row for row in rows if row.kind in ("head", "tuned") and not row.head.startswith("finetune")]
    if not tuned or not frozen:
        return ""
    row, best = _best(tuned), _best(frozen)
    test = next((test for test in tests if {test.a, test.b} == {row.name, best.name}), None)
    gain = row.scores["accuracy"] - best.scores["accuracy"]
    real = test is not None and test.is_real
    embedding = (facts.get("embedding_seconds") or {}).get(best.store)
    apart = "" if embedding is None else f" and {embedding:.1f} s of embedding"
    answer = "Yes" if real and gain > 0 else "No" if test is None or test.can_be_told else "Cannot be told"
    return (
        f"Did fine-tuning pay? {answer}: {_points(gain)} over {best.title} "
        f"({'within chance' if test is None else _strength(test)}) "
        f"for {row.seconds:.0f} s against {best.seconds:.1f} s{apart}."
    )


def _strength(test: Test) -> str:
    return "a real difference" if test.is_real else "within chance" if test.can_be_told else "too few groups to tell"


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
            f"More data? With {curves['title']}{where}, {now['n_train']:.0f} clips give {now['accuracy']:.1%}; if its "
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
        told = f"layer {best['layer']}{where} has {best['accuracy']:.1%}, the last {single[-1]['accuracy']:.1%}"
        if best["accuracy"] <= mean["accuracy"]:
            tail = f"none beats the mean of all ({mean['accuracy']:.1%}): {told}"
        else:
            tail = f"{told}, the mean of all {mean['accuracy']:.1%}; picked by looking, so a little too good"
        said.append(f"Another layer? With {curves['title']}, {tail}.")
    return said


def _between_stores(rows: Sequence[Row], tests: Sequence[Test], facts: Mapping[str, Any]) -> str:
    stores = list(facts["recipes"])
    if len(stores) < 2:
        return (
            f"Another encoder? Not compared here; published scores say for {ADVICE} (embedx encoders)."
            if stores
            else ""
        )
    by_name = {row.name: row for row in rows}
    real = []
    for test in sorted(tests, key=lambda one: -abs(one.difference)):
        a, b = by_name[test.a], by_name[test.b]
        if test.family == "heads" and test.is_real and (a.head, a.kind) == (b.head, b.kind) and a.store != b.store:
            winner, loser = (a, b) if test.difference > 0 else (b, a)
            real.append(f"{winner.store} over {loser.store} by {100 * abs(test.difference):.1f} points ({a.head})")
    if len(real) > SHOWN_PAIRS:
        real = [*real[:SHOWN_PAIRS], f"and {len(real) - SHOWN_PAIRS} more"]
    question = _what_differs([facts["recipes"][name] for name in stores])
    if not real:
        return f"{question}? Between {', '.join(stores)} no head differs by more than chance."
    return f"{question}? {'; '.join(real)}."


def _what_differs(recipes: Sequence[Mapping[str, Any]]) -> str:
    """Return what is asked of several stores."""
    differ = {name for recipe in recipes for name in recipe if recipe[name] != recipes[0].get(name)}
    if not differ or differ & {"encoder", "revision", "weights_sha256"}:
        return "A bigger encoder"
    return "Another pooling" if differ == {"pooling"} else "Another recipe"
