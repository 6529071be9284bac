"""Datasets of Hugging Face's ``datasets``: which column holds audio, and its files before anything decodes them.

The library itself is not imported: whoever has such a dataset has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from embedx.errors import ManifestError, unknown_name
from embedx.manifest.paths import shorten
from embedx.manifest.table import Table

__all__ = ["audio_column", "cell_text", "is_dataset", "is_dataset_column", "table_of", "undecoded"]


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


def table_of(dataset: Any, column: str) -> Table:
    """Return a dataset as a table of texts, with the path of each clip in its column of audio.

    Raises
    ------
    ManifestError
        Audio lies inside of the dataset, in no file.
    """
    names = {name: getattr(feature, "int2str", None) for name, feature in dataset.features.items()}
    rows = []
    for number, row in enumerate(undecoded(dataset, column)):
        clip = row[column] or {}
        if not clip.get("path") or (clip.get("bytes") is not None and not os.path.isfile(clip["path"])):
            raise ManifestError(
                f"the dataset: the audio of row {number} lies in no file: give the dataset to Model.predict or to "
                "AudioEmbedder as it is, or say where its clips are to be kept, such as shard='clips.tar'"
            )
        cells = ((name, clip["path"] if name == column else row[name]) for name in names)
        rows.append([cell_text(value, names[name]) for name, value in cells])
    return Table("the dataset", tuple(names), rows, range(len(rows)))


def cell_text(value: Any, int2str: Any) -> str:
    """Return a cell as text: the name of a class label, nothing for what no cell holds."""
    if value is None or isinstance(value, Mapping | list | bytes) or value != value:
        return ""
    return str(int2str(value)) if int2str is not None and value >= 0 else str(value)


def undecoded(dataset: Any, column: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a dataset with ``{"bytes": ..., "path": ...}`` in its columns of audio."""
    assert column in dataset.features
    for name, feature in tuple(dataset.features.items()):
        if type(feature).__name__ == "Audio":
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    yield from dataset
