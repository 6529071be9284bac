"""Recordings that hold little: silent, clipped or very short; and how classes and durations are balanced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedx.audio.loader import ClipRequest, clip_blocks
from embedx.containers.clip_files import is_clip
from embedx.dataset import Dataset
from embedx.errors import EmbedxError
from embedx.inspection.finding import Finding, Level
from embedx.text import count

__all__ = ["describe_balance", "find_bad_recordings", "find_outliers"]

SILENT_DBFS = -60.0
CLIPPED_SHARE = 0.001
SHORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Level:
    rms_dbfs: float
    clipped_share: float


def find_bad_recordings(dataset: Dataset, *, progress: Callable[..., None] | None = None) -> Finding:
    """Find clips below -60 dBFS, with 1 of 1,000 samples at full scale, or under half a second."""
    items, n_heard = [], 0
    for i, source in enumerate(dataset.sources):
        level = _level(dataset, i)
        n_heard += level is not None
        wrong = list(_faults(float(dataset.seconds[i]), level))
        if wrong:
            items.append(f"{source.id} [{source.label}]: {', '.join(wrong)}")
        if progress is not None:
            progress(i + 1, len(dataset))
    heard = "" if n_heard == len(dataset) else f" Only {n_heard} of {len(dataset)} audio files were found and heard."
    if not items and not n_heard:
        text = f"No audio file was found where it was: only lengths were looked at, none is under {SHORT_SECONDS} s."
        return Finding(check="audio", title="Recordings", level="note", text=text)
    if not items:
        text = f"No clip is silent, clipped or shorter than {SHORT_SECONDS} s.{heard}"
        return Finding(check="audio", title="Recordings", level="good" if not heard else "note", text=text)
    are = "is" if len(items) == 1 else "are"
    text = f"{count(len(items), 'clip')} {are} silent, clipped or very short.{heard}"
    only_clipped = all("clipped" in item.rpartition(": ")[2] for item in items)
    spoils: Level = "note" if only_clipped else "bad"
    return Finding(check="audio", title="Recordings", level=spoils, text=text, items=tuple(items))


def _level(dataset: Dataset, i: int) -> _Level | None:
    source = dataset.sources[i]
    path = Path(dataset.root) / source.uri
    if not is_clip(path):
        return None
    request = ClipRequest.from_recipe(
        str(path), dataset.recipe, start_seconds=source.start_seconds, stop_seconds=source.stop_seconds
    )
    n_samples, energy, n_clipped = 0, 0.0, 0
    try:
        for block in clip_blocks(request):
            n_samples += len(block)
            energy += float(np.sum(block.astype(np.float64) ** 2))
            n_clipped += int((np.abs(block) >= 0.999).sum())
    except EmbedxError:
        return None
    if not n_samples:
        return None
    rms = float(np.sqrt(energy / n_samples))
    return _Level(20 * float(np.log10(max(rms, 1e-10))), n_clipped / n_samples)


def _faults(seconds: float, level: _Level | None) -> Iterator[str]:
    if seconds < SHORT_SECONDS:
        yield f"short ({seconds:.2f} s)"
    if level is not None and level.rms_dbfs < SILENT_DBFS:
        yield f"silent ({max(level.rms_dbfs, -200):.0f} dBFS)"
    if level is not None and level.clipped_share >= CLIPPED_SHARE:
        yield f"clipped ({level.clipped_share:.1%} of its samples)"


def find_outliers(dataset: Dataset) -> Finding:
    """Find clips far from every other: distance to the fifth neighbour beyond 6 robust deviations, on a log scale."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    from embedx.inspection.duplicates import standard

    n = len(dataset)
    if n < 20:
        text = f"Not looked for among {n} clips (20 or more are needed)."
        return Finding(check="outliers", title="Outliers", level="note", text=text)
    values = standard(dataset.average_layers())
    reduced = PCA(min(50, n - 1, values.shape[1]), random_state=0).fit_transform(values)
    far = np.log(NearestNeighbors(n_neighbors=6).fit(reduced).kneighbors(reduced)[0][:, 5] + 1e-9)
    middle = np.median(far)
    deviation = 1.4826 * np.median(np.abs(far - middle)) + 1e-9
    odd = np.flatnonzero((far - middle) / deviation > 6)
    if not len(odd):
        return Finding(check="outliers", title="Outliers", level="good", text="No clip is far from all others.")
    order = odd[np.argsort(-far[odd], kind="stable")]
    items = tuple(f"{dataset.sources[i].id} [{dataset.sources[i].label}]" for i in order)
    sound = "sounds" if len(items) == 1 else "sound"
    text = f"{count(len(items), 'clip')} {sound} like no other clip: listen first."
    return Finding(check="outliers", title="Outliers", level="note", text=text, items=items)


def describe_balance(dataset: Dataset) -> Finding:
    """Say how many clips and seconds each class has."""
    labels = np.array([source.label or "" for source in dataset.sources])
    names, counts = np.unique(labels, return_counts=True)
    items, facts = [], {}
    for name, n in zip(names, counts, strict=True):
        own = dataset.seconds[labels == name]
        groups = {s.group for s in dataset.sources if (s.label or "") == name and s.group is not None}
        of = f" from {count(len(groups), 'group')}" if groups else ""
        items.append(f"{name or 'no label'}: {count(n, 'clip')}{of}, {own.sum():.0f} s (median {np.median(own):.1f} s)")
        facts[str(name)] = {"clips": int(n), "seconds": float(own.sum()), "groups": len(groups)}
    ratio = counts.max() / counts.min()
    level: Level = "good" if ratio <= 1.5 else "note"
    text = f"The largest class has {ratio:.1f} times the clips of the smallest."
    if ratio > 3:
        text += " Look at balanced accuracy rather than accuracy, or draw with --per-class."
    return Finding(
        check="balance", title="Balance", level=level, text=text, items=tuple(items), facts={"classes": facts}
    )
