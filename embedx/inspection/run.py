"""All checks of a data set, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from embedx.checks import require_seed
from embedx.dataset import Dataset
from embedx.errors import DatasetError, ParameterError, unknown_name
from embedx.inspection.duplicates import find_copies, find_near_copies
from embedx.inspection.finding import Finding
from embedx.inspection.model_based import find_confounds, find_wrong_labels
from embedx.inspection.recordings import describe_balance, find_bad_recordings, find_outliers
from embedx.text import count

__all__ = ["PARTS", "Finding", "Inspection", "inspect_data"]

SCHEMA_VERSION = 1

PARTS = ("copies", "near_copies", "labels", "outliers", "audio", "balance", "confounds")
"""The checks, in their order."""

_ON_LABELS = {"labels", "balance", "confounds"}
_IN_STEPS = {"near_copies", "labels", "audio"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is wrong with a data set, check by check.

    Parameters
    ----------
    findings : tuple of Finding
        One a check, in a fixed order.
    n_clips : int
        Clips that were looked at.
    """

    findings: tuple[Finding, ...]
    n_clips: int

    def __getitem__(self, check: str) -> Finding:
        """Return the finding of a check."""
        return next(finding for finding in self.findings if finding.check == check)

    @property
    def n_bad(self) -> int:
        """Number of checks that found something likely to spoil a comparison."""
        return sum(finding.level == "bad" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        findings = [{**asdict(finding), "items": list(finding.items)} for finding in self.findings]
        return {"schema_version": SCHEMA_VERSION, "n_clips": self.n_clips, "findings": findings}


def inspect_data(
    dataset: Dataset,
    *,
    audio: bool = True,
    only: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> Inspection:
    """Find out what is wrong with the data before any model is blamed.

    Parameters
    ----------
    dataset : Dataset
        Labels are optional: without them only copies, outliers and recordings are looked at.
    audio : bool
        Whether to listen to the files, for silence and clipping.
    only : sequence of str, optional
        The checks that are made, by the names in `PARTS`; by default all of them.
    seed : int
        Seed of folds and heads.
    progress : callable, optional
        Called as ``progress(done, total, part=...)``, of every check at its beginning and its end at least.

    Returns
    -------
    Inspection

    Raises
    ------
    DatasetError
        The data set is empty.
    ParameterError
        ``only`` names a check that there is none of, or none at all.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> inspection = inspect_data(make_dataset(), audio=False)
    >>> inspection["copies"].level
    'good'
    """
    seed = require_seed(seed)
    parts = _chosen(only, audio)
    if not len(dataset):
        raise DatasetError("there is no clip to inspect")
    several = dataset.label_separator is not None
    labels = set() if several else {source.label for source in dataset.sources if source.label is not None}
    on_labels = [part for part in parts if part in _ON_LABELS]
    labelled = dataset.labelled() if on_labels and len(labels) > 1 else None
    findings = []
    for part in parts:
        if part in on_labels and labelled is None:
            findings += [_no_classes(labels, len(dataset), several=several)] if part == on_labels[0] else []
            continue
        report = partial(_nobody if progress is None else progress, part=part)
        report(0, 1)
        findings.append(_look(part, labelled if labelled is not None and part in on_labels else dataset, seed, report))
        if part not in _IN_STEPS:
            report(1, 1)
    return Inspection(findings=tuple(findings), n_clips=len(dataset))


def _chosen(only: Sequence[str] | None, audio: bool) -> tuple[str, ...]:
    for part in only or ():
        if part not in PARTS:
            raise ParameterError(unknown_name("part of a look at the data", part, PARTS))
    chosen = tuple(part for part in PARTS if (only is None or part in only) and (audio or part != "audio"))
    if not chosen:
        raise ParameterError(f"no part of a look at the data is left: name some of {', '.join(PARTS)}")
    return chosen


def _look(part: str, dataset: Dataset, seed: int, report: Callable[..., None]) -> Finding:
    if part == "near_copies":
        return find_near_copies(dataset, progress=report)
    if part == "labels":
        return find_wrong_labels(dataset, seed=seed, progress=report)
    if part == "audio":
        return find_bad_recordings(dataset, progress=report)
    if part == "confounds":
        return find_confounds(dataset, seed=seed)
    looks = {"copies": find_copies, "outliers": find_outliers, "balance": describe_balance}
    return looks[part](dataset)


def _nobody(done: int, total: int, **facts: object) -> None:
    pass


def _no_classes(labels: set[str], n_clips: int, *, several: bool) -> Finding:
    if several:
        text = "A clip may have several labels here: only the sound is looked at, not whether they are right."
        return Finding(check="labels", title="Labels", level="note", text=text)
    if labels:
        text = f"Every label is {labels.pop()!r}: nothing can be learned, and nothing is looked at, with one class."
        return Finding(check="labels", title="Labels", level="note", text=text)
    text = (
        f"None of the {count(n_clips, 'clip')} has a label, so only the sound is looked at. Labels come from a folder "
        "with a subfolder for each class, or from a column of a CSV: --labels clips.csv --label-column NAME"
    )
    return Finding(check="labels", title="Labels", level="note", text=text)
