"""What may be wrong with the groups, labels, parts and times of a dataset, as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from embedx.dataset.dataset import Dataset
from embedx.manifest import Source, describe_alike, describe_sets
from embedx.text import count

__all__ = ["describe_doubts", "describe_missing_groups", "describe_short_segments"]


def describe_doubts(dataset: Dataset) -> list[str]:
    """Say what may be wrong with groups, labels, parts and times as they are written, a sentence each."""
    told = [describe_missing_groups(dataset), _describe_files_of_several_groups(dataset)]
    labels = () if dataset.label_separator is not None else (source.label for source in dataset.sources)
    told += [describe_short_segments(dataset), describe_sets(labels)]
    return [*filter(None, told), *describe_alike(_named_apart(dataset))]


def _named_apart(dataset: Dataset) -> Iterable[Source]:
    """Return sources whose labels are single classes: of a clip of several, one for each."""
    if dataset.label_separator is None:
        return dataset.sources
    blank = (replace(source, label=None) for source in dataset.sources)
    return (*blank, *(Source("", label=name) for name in dataset.classes))


def _describe_files_of_several_groups(dataset: Dataset) -> str:
    """Say how many files are cut apart by the named groups of their segments; empty when none is."""
    named: dict[str, set[str]] = {}
    for source in dataset.sources:
        if source.group is not None:
            named.setdefault(source.uri, set()).add(source.group)
    several = {uri: groups for uri, groups in named.items() if len(groups) > 1}
    if not several:
        return ""
    first, groups = next(iter(several.items()))
    return (
        f"{count(len(several), 'file')} with clips of several groups (the first, {first}: "
        f"{', '.join(map(repr, sorted(groups)[:2]))}): one recording may be learned from and tested on. If the "
        "room or device could give the class away, name the recording in the group column"
    )


def describe_short_segments(dataset: Dataset) -> str:
    """Say how many segments end with their file, well before their own end; empty when none does."""
    recipe = dataset.recipe
    spans = np.array([(s.start_seconds, s.stop_seconds) for s in dataset.sources], dtype=np.float64)  # None is NaN
    wanted = np.fmin(spans[:, 1] - spans[:, 0], np.inf if recipe.max_seconds is None else recipe.max_seconds)
    lacking = np.where(np.isnan(spans[:, 1]) | (dataset.seconds <= 0), 0.0, wanted - dataset.seconds)
    short = lacking > np.maximum(max(0.5, recipe.min_tail_seconds), 0.1 * wanted)
    if recipe.offset != "start" or recipe.hop_seconds > recipe.window_seconds or not short.any():
        return ""
    first = int(np.flatnonzero(short)[0])
    return (
        f"{count(int(short.sum()), 'segment')} of {len(dataset):,} ended with the file, before the stop (the first, "
        f"{dataset.sources[first].id}, after {dataset.seconds[first]:.1f} of {wanted[first]:.1f} s): are the times in "
        "seconds of the file?"
    )


def describe_missing_groups(dataset: Dataset) -> str:
    """Say how many clips have no group although others have one; empty when there is nothing to say."""
    n = sum(source.group is None for source in dataset.sources)
    if not 0 < n < len(dataset):
        return ""
    return (
        f"{n} of {len(dataset)} clips have no group: only segments and copies of one file are kept together there. "
        "If a speaker or recording is behind them, name it in the group column"
    )
