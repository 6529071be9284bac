"""What of a result is logged, and under which name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.tracking.trackers import Trackers

if TYPE_CHECKING:
    from embedx.comparison import Comparison
    from embedx.dataset import Dataset
    from embedx.model import Model
    from embedx.tuning import Tuned

__all__ = ["log_comparison", "log_data", "log_model", "log_tuning"]


_ENDS = ("low", "high")


def log_comparison(trackers: Trackers, comparison: Comparison, folder: Path | None = None) -> None:
    """Log a comparison: where it came from, every row's scores, and its files.

    Parameters
    ----------
    trackers : Trackers
        Of `open_trackers`.
    comparison : Comparison
        Its controls are rows like the heads: ``majority/accuracy`` is the baseline.
    folder : Path, optional
        Where its files lie.

    Examples
    --------
    >>> from embedx import compare
    >>> from embedx.testing import make_dataset
    >>> from embedx.tracking import open_trackers
    >>> comparison = compare(make_dataset(), ["logreg"], folds=3, auto=False, curves=False)
    >>> with open_trackers([], name="compare") as trackers:
    ...     log_comparison(trackers, comparison)
    """
    if trackers.is_empty:
        return
    facts = comparison.facts
    trackers.log_facts(
        {
            "headline": comparison.headline,
            "best": comparison.best.name,
            "data_sha256": facts.get("data_sha256"),
            **{
                f"recipe/{name}" if name else "recipe": fingerprint
                for name, fingerprint in facts.get("fingerprints", {}).items()
            },
            **{f"version/{name}": version for name, version in facts.get("versions", {}).items()},
        }
    )
    for row in comparison.rows:
        trackers.log_metrics({f"{row.name}/{name}": value for name, value in _numbers(row).items()})
    for test in comparison.tests:
        named = f"{test.a}/above {test.b}"
        trackers.log_metrics({named: test.difference, f"{named} p": test.p_holm})
    for path in sorted(folder.iterdir()) if folder is not None else ():
        if path.is_file():
            trackers.log_file(path)


def _numbers(row: Any) -> dict[str, float]:
    """Return the scores of a row, with the bounds of those that have an interval."""
    pairs = ((name, dict(zip(_ENDS, pair, strict=True))) for name, pair in row.intervals.items())
    bounds = {f"{name} {end}": value for name, ends in pairs for end, value in ends.items()}
    return {**row.scores, **bounds, "seconds": row.seconds}


def log_tuning(trackers: Trackers, tuned: Tuned) -> None:
    """Log a study: each trial as a step, with its value and its numeric parameters, and the best.

    Parameters
    ----------
    trackers : Trackers
        Of `open_trackers`.
    tuned : Tuned
        What `embedx.tune` returned.

    Examples
    --------
    >>> from embedx import tune
    >>> from embedx.testing import make_dataset
    >>> from embedx.tracking import open_trackers
    >>> tuned = tune(make_dataset(), "logreg", n_trials=2, n_folds=2)
    >>> with open_trackers([], name="tune") as trackers:
    ...     log_tuning(trackers, tuned)
    """
    best = {f"best {name}": value for name, value in tuned.params.items()}
    trackers.log_facts({"metric": tuned.metric, "trials": tuned.n_trials, "pruned": tuned.n_pruned, **best})
    for trial in tuned.history:
        parameters = {f"trial/{name}": value for name, value in trial["params"].items()}
        trackers.log_metrics({f"trial/{tuned.metric}": trial["value"], **parameters}, step=trial["number"])
    trackers.log_metrics({f"best {tuned.metric}": tuned.value, "seconds": tuned.seconds})


def log_data(trackers: Trackers, dataset: Dataset) -> None:
    """Log what is learned from: the fingerprints of its recipe and of clips and labels, and how much there is."""
    if trackers.is_empty:
        return
    from embedx.comparison.provenance import data_hash

    facts = {"data_sha256": data_hash(dataset), "recipe": dataset.recipe.fingerprint(), "clips": len(dataset)}
    trackers.log_facts({**facts, "encoder": dataset.recipe.encoder})


def log_model(trackers: Trackers, model: Model, folder: Path) -> None:
    """Log a trained model: epochs of a fine-tuning, scores on held-out clips beside the baseline's, card and record.

    Parameters
    ----------
    trackers : Trackers
        Of `open_trackers`.
    model : Model
        What was trained.
    folder : Path
        Where it was saved. Weights are not logged.
    """
    for number, epoch in enumerate(getattr(model.estimator, "history_", ())):
        trackers.log_metrics({f"epoch/{name}": value for name, value in epoch.items()}, step=number)
    for part in ("valid", "majority"):
        scores = model.scores.get(part, {})
        trackers.log_metrics({f"{part}/{name}": value for name, value in scores.items()})
    for name in ("README.md", "model.json"):
        if (folder / name).is_file():
            trackers.log_file(folder / name)
