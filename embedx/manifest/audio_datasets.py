"""Datasets of Hugging Face's ``datasets``: which column holds audio, and its files before anything decodes them.

The library itself is not imported: whoever has such a dataset has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embedx.errors import ManifestError, unknown_name
from embedx.manifest.paths import shorten

__all__ = ["audio_column", "is_dataset", "is_dataset_column", "undecoded"]


def is_dataset(thing: object) -> bool:
    """Say whether something is a dataset, in memory or streamed."""
    return hasattr(thing, "features") and hasattr(thing, "cast_column")


def is_dataset_column(thing: object) -> bool:
    """Say whether something is one column of a dataset that has not been read yet."""
    return hasattr(thing, "column_name") and is_dataset(getattr(thing, "source", None))


def audio_column(dataset: Any, name: str | None = None) -> str:
    """Return the column of a dataset that holds audio.

    Parameters
    ----------
    dataset : datasets.Dataset or IterableDataset
        With features.
    name : str, optional
        Which one, where there are several.

    Raises
    ------
    ManifestError
        There is none, there are several, or the named one is not there.
    """
    if dataset.features is None:
        raise ManifestError("the dataset does not say what its columns hold: cast the one with audio to datasets.Audio")
    found = [column for column, feature in dataset.features.items() if type(feature).__name__ == "Audio"]
    if name is not None:
        if name not in found:
            raise ManifestError(f"the dataset: {unknown_name('column of audio', name, found)}")
        return name
    if len(found) != 1:
        what = f"several columns of audio ({', '.join(found)})" if found else "no column of audio"
        columns = shorten(", ".join(map(str, dataset.features)))
        raise ManifestError(f"the dataset has {what} (its columns: {columns}): give one, cast to datasets.Audio")
    return found[0]


def undecoded(dataset: Any, column: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a dataset with ``{"bytes": ..., "path": ...}`` in its column of audio."""
    feature = dataset.features[column]
    yield from dataset.cast_column(column, type(feature)(decode=False))
