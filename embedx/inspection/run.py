"""All checks of a data set, one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from embedx.checks import require_seed
from embedx.dataset import Dataset
from embedx.errors import DatasetError
from embedx.inspection.copies import find_copies, find_near_copies
from embedx.inspection.finding import Finding
from embedx.inspection.learned import find_confounds, find_wrong_labels
from embedx.inspection.recordings import describe_balance, find_bad_recordings, find_outliers
from embedx.text import count

__all__ = ["Finding", "Inspection", "inspect_data"]

SCHEMA_VERSION = 1


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
    dataset: Dataset, *, audio: bool = True, seed: int = 0, progress: Callable[..., None] | None = None
) -> Inspection:
    """Find out what is wrong with the data before any model is blamed.

    Parameters
    ----------
    dataset : Dataset
        Labels are optional: without them only copies, outliers and recordings are looked at.
    audio : bool
        Whether to listen to the files, for silence and clipping.
    seed : int
        Seed of folds and heads.
    progress : callable, optional
        Called as ``progress(done, total)`` while files are heard.

    Returns
    -------
    Inspection

    Raises
    ------
    DatasetError
        The data set is empty.
    """
    seed = require_seed(seed)
    if not len(dataset):
        raise DatasetError("there is no clip to inspect")
    findings = [find_copies(dataset), find_near_copies(dataset)]
    labels = {source.label for source in dataset.sources if source.label is not None}
    labelled = dataset.labelled() if len(labels) > 1 else None
    findings.append(_no_classes(labels, len(dataset)) if labelled is None else find_wrong_labels(labelled, seed=seed))
    findings.append(find_outliers(dataset))
    if audio:
        findings.append(find_bad_recordings(dataset, progress=progress))
    if labelled is not None:
        findings += [describe_balance(labelled), find_confounds(labelled, seed=seed)]
    return Inspection(findings=tuple(findings), n_clips=len(dataset))


def _no_classes(labels: set[str], n_clips: int) -> Finding:
    if labels:
        text = f"Every label is {labels.pop()!r}: nothing can be learned, and nothing is looked at, with one class."
        return Finding(check="labels", title="Labels", level="note", text=text)
    text = (
        f"None of the {count(n_clips, 'clip')} has a label, so only the sound is looked at. Labels come from a folder "
        "with a subfolder for each class, or from a column of a CSV: --labels clips.csv --label-column NAME"
    )
    return Finding(check="labels", title="Labels", level="note", text=text)
