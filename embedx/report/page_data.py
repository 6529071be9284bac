"""What the page draws, as plain values: every number it shows, none that it does not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison import Comparison, Row
from embedx.dataset import Dataset
from embedx.evaluation.labels import Suspect
from embedx.report.clip_predictions import Said, choose_clips, mean_proba, most_wrong, said_of, suspicious
from embedx.report.encoder_costs import chart_of, describe_head, header_of_costs, shown_cost, store_costs
from embedx.report.players import by_want, make_players
from embedx.report.projection import project
from embedx.report.tables import describe_embedding

__all__ = ["build_payload"]

MOST_CLASSES = 60
"""Beyond it a confusion matrix cannot be read: the pairs that are confused most are shown instead."""
N_PAIRS = 40
MOST_ITEMS = 200
_EPOCH = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")


def build_payload(
    comparison: Comparison,
    dataset: Dataset | None,
    *,
    findings: Sequence[Mapping[str, Any]] = (),
    page_folder: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Gather what the page draws.

    Parameters
    ----------
    comparison : Comparison
        What is reported.
    dataset : Dataset or None
        The compared clips for map and players, in any order; without it there are neither.
    findings : sequence of mapping
        ``title``, ``level``, ``text`` and ``items`` of `embedx.inspection.Finding`.
    page_folder : path-like or None
        Where the page will lie.
    """
    code = {name: i for i, name in enumerate(comparison.classes)}
    truth = np.array([code[str(source.label)] for source in comparison.sources])
    said = {row.name: said_of(mean_proba(comparison.proba[row.name])) for row in comparison.rows}
    suspects = suspicious(comparison, truth)
    wrong = {name: most_wrong(one, truth) for name, one in said.items()}
    wanted = by_want([one.index for one in suspects] + wrong[comparison.best.name], 0)
    wanted = by_want([*wanted, *(i for clips in wrong.values() for i in clips)], 0)
    shown = choose_clips(truth, wanted)
    place = {int(clip): i for i, clip in enumerate(shown)}
    aligned = None if dataset is None else _aligned(dataset, comparison, shown)
    players = _players(aligned, comparison, [place[i] for i in wanted if i in place], page_folder)
    return {
        "title": comparison.headline + " · embedx",
        "best": comparison.best.name,
        "headline": comparison.headline,
        "subline": _subline(comparison),
        "guess": _guess(comparison),
        "control": _control(comparison),
        "folds_text": _folds_text(comparison),
        "n_groups": None if comparison.groups is None else len(set(comparison.groups)),
        "table_hint": _table_hint(comparison),
        "verdict": list(comparison.verdict),
        "notes": list(comparison.notes),
        "classes": list(comparison.classes),
        "rows": [_row(row) for row in comparison.rows],
        "tests": [_test({**asdict(test), "is_real": test.is_real}) for test in comparison.tests],
        "group_scores": comparison.group_scores,
        "curves": comparison.curves,
        "encoders": _encoders(comparison),
        "n_clips": len(truth),
        "clips": _clips(comparison, aligned, truth, shown, players),
        "predictions": {name: _prediction(one, shown) for name, one in said.items()},
        "map": [] if aligned is None or len(aligned) < 3 else _map(aligned),
        "mislabelled": [_suspect(one, place) for one in suspects if one.index in place],
        "mislabelled_hint": "Heads that never learned from these clips agree on another class. Listen, and correct "
        "the CSV where they are right.",
        "findings": [_finding(one) for one in findings],
        "facts": _facts(comparison),
    }


def _encoders(comparison: Comparison) -> dict[str, Any]:
    """Return the lines of the encoders, and accuracy against what may be known of their size and their time."""
    costs = store_costs(comparison)
    if not costs:
        return {}
    return {
        "head": describe_head(comparison),
        "table": [header_of_costs(), *map(shown_cost, costs)],
        "parameters": chart_of(costs, "parameters"),
        "seconds": chart_of(costs, "seconds_per_hour"),
    }


def _aligned(dataset: Dataset, comparison: Comparison, shown: NDArray[np.intp]) -> Dataset:
    place = {source.key: i for i, source in enumerate(dataset.sources)}
    return dataset.take([place[comparison.sources[i].key] for i in shown])


def _subline(comparison: Comparison) -> str:
    facts = comparison.facts
    encoders = ", ".join(dict.fromkeys(recipe["encoder"] for recipe in facts["recipes"].values()))
    minutes = facts["audio_seconds"] / 60
    return f"Embeddings of {encoders}, {minutes:.1f} minutes of audio, {facts['created'][:10]}"


def _guess(comparison: Comparison) -> float:
    test = next((test for test in comparison.tests if test.family == "baseline"), None)
    if test is None:
        return comparison.rows[0].scores["accuracy"]
    return comparison[test.a].scores["accuracy"] - test.difference


def _control(comparison: Comparison) -> dict[str, Any] | None:
    """Return how the best row stands against log-mel statistics, None when it is a control itself."""
    control = next((row for row in comparison.rows if row.kind == "control"), None)
    test = None if control is None else comparison.test(comparison.best.name, control.name)
    if control is None or test is None:
        return None
    return {"accuracy": control.scores["accuracy"], "difference": test.difference, "real": test.is_real}


def _folds_text(comparison: Comparison) -> str:
    folds = comparison.rows[0].folds
    repeats = 1 + max(fold.repeat for fold in folds)
    per = len(folds) // repeats
    text = f"{per} folds" if per > 1 else f"one held-out part ({folds[0].n_test} clips)"
    return f"{text}, {repeats} times" if repeats > 1 else text


def _table_hint(comparison: Comparison) -> str:
    what = "clips" if comparison.groups is None else "whole groups"
    intervals = (
        f"Shaded: 95% intervals from resampling {what}, conditional on the fitted folds."
        if any(row.intervals for row in comparison.rows)
        else "Too few groups for intervals: the small dots are the folds."
    )
    grouped = "" if comparison.groups is None else " A group is never learned from and tested on, unless noted."
    apart = "" if not comparison.facts["embedding_seconds"] else f" {describe_embedding(comparison.facts)}"
    return f"All heads see the same {_folds_text(comparison)}.{grouped} {intervals} Dashed: guessing.{apart}"


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "kind": row.kind,
        "scores": {name: round(value, 5) for name, value in row.scores.items()},
        "intervals": {name: list(bounds) for name, bounds in row.intervals.items()},
        "recall": row.recall,
        "precision": _precision(row),
        "confusion": row.confusion if len(row.confusion) <= MOST_CLASSES else None,
        "confused": _confused(row.confusion) if len(row.confusion) > MOST_CLASSES else [],
        "reliability": row.reliability,
        "collapsed": row.collapsed,
        "seconds": row.seconds,
        "seconds_fit": sum(fold.seconds_fit for fold in row.folds),
        "seconds_predict": sum(fold.seconds_predict for fold in row.folds),
        "peak_bytes": row.peak_bytes,
        "folds": [
            {
                "fold": fold.fold,
                "n_test": fold.n_test,
                "accuracy": fold.scores["accuracy"],
                "history": list(fold.history),
                "epochs": [{name: epoch.get(name) for name in _EPOCH} for epoch in fold.epochs],
                "chosen": {str(key): _short(value) for key, value in fold.chosen.items()},
            }
            for fold in row.folds
        ],
    }


def _precision(row: Row) -> dict[str, float | None]:
    """Return by class how often a head is right that names it; None where it never does."""
    counts = np.array(row.confusion, dtype=np.float64)
    named = counts.sum(0)
    return {
        name: None if not total else float(right / total)
        for name, right, total in zip(row.recall, counts.diagonal(), named, strict=True)
    }


def _confused(confusion: list[list[float]]) -> list[list[float]]:
    """Return (true class, predicted class, clips) of the pairs that are confused most."""
    counts = np.array(confusion)
    np.fill_diagonal(counts, 0)
    most = np.argsort(-counts, axis=None, kind="stable")[:N_PAIRS]
    pairs = zip(*np.unravel_index(most, counts.shape), strict=True)
    return [[int(i), int(j), float(counts[i, j])] for i, j in pairs if counts[i, j] > 0]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _test(test: Mapping[str, Any]) -> dict[str, Any]:
    return {**test, "interval": None if test["interval"] is None else list(test["interval"])}


def _players(
    dataset: Dataset | None,
    comparison: Comparison,
    wanted: Sequence[int],
    page_folder: str | os.PathLike[str] | None,
) -> Mapping[int, Any]:
    """Return a player a clip of the page, those worth hearing first."""
    if dataset is None:
        return {}
    order = by_want(wanted, len(dataset))
    sources = {i: dataset.sources[i] for i in order}
    seconds = {i: float(dataset.seconds[i]) for i in order}
    return make_players(sources, seconds, recipe=dataset.recipe, root=dataset.root, page_folder=page_folder)


def _clips(
    comparison: Comparison,
    dataset: Dataset | None,
    truth: NDArray[np.intp],
    shown: NDArray[np.intp],
    players: Mapping[int, Any],
) -> list[dict[str, Any]]:
    clips = []
    for at, i in enumerate(shown):
        clip = {
            "id": comparison.sources[i].id,
            "label": int(truth[i]),
            "group": None if comparison.groups is None else comparison.groups[i],
            "fold": str(comparison.fold_of[0, i]),
            "seconds": 0.0 if dataset is None else round(float(dataset.seconds[at]), 2),
        }
        player = players.get(at)
        if player is not None:
            clip |= {"audio": player.audio, "href": player.href, "why": player.why}
        clips.append(clip)
    return clips


def _prediction(said: Said, shown: NDArray[np.intp]) -> dict[str, Any]:
    return {"predicted": said[0][shown].tolist(), "confidence": np.round(said[1][shown], 4).tolist()}


def _finding(one: Mapping[str, Any]) -> dict[str, Any]:
    items = list(one["items"])
    left_out = len(items) - MOST_ITEMS
    more = [f"and {left_out:,} more: embedx inspect -o names all of them"] if left_out > 0 else []
    return {**one, "items": [*items[:MOST_ITEMS], *more]}


def _map(dataset: Dataset) -> list[dict[str, Any]]:
    maps = project(dataset)
    return [{"name": name, "xy": np.round(xy.astype(np.float64), 3).tolist()} for name, xy in maps.items()]


def _suspect(one: Suspect, place: Mapping[int, int]) -> dict[str, Any]:
    return {"clip": place[one.index], "as": one.suggested, "p": round(one.p_suggested, 4), "own": round(one.p_own, 4)}


def _facts(comparison: Comparison) -> list[list[str]]:
    facts = comparison.facts
    rows = [
        ["clips", f"{facts['n_clips']} ({', '.join(f'{k}: {v}' for k, v in facts['class_counts'].items())})"],
        ["audio", f"{facts['audio_seconds']:.0f} s"],
        ["folds", _folds_text(comparison)],
        ["embedding", describe_embedding(facts)],
        ["data sha256", facts["data_sha256"]],
    ]
    for store, recipe in facts["recipes"].items():
        text = ", ".join(f"{key} {value}" for key, value in recipe.items())
        rows.append([f"recipe {store}".strip(), text])
    rows.append(["settings", ", ".join(f"{key} {value}" for key, value in facts["settings"].items())])
    rows.append(["versions", ", ".join(f"{key} {value}" for key, value in facts["versions"].items())])
    rows.append(["machine", ", ".join(f"{key} {value}" for key, value in facts["machine"].items())])
    return [*rows, ["created", facts["created"]]]
