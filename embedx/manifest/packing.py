"""A dataset that is streamed, or holds its audio in memory, is written once into a tar archive, clip by clip."""

from __future__ import annotations

import io
import json
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedx.errors import ManifestError
from embedx.files import replace_file
from embedx.manifest.audio_datasets import cell_text, undecoded
from embedx.manifest.file_types import is_audio_name

__all__ = ["pack_dataset"]

_DIGITS = 7
_ENDINGS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}


def pack_dataset(dataset: Any, column: str, path: str | os.PathLike[str]) -> None:
    """Write the clips of a dataset into an archive, each with its other columns as JSON beside it.

    Parameters
    ----------
    dataset : datasets.Dataset or IterableDataset
        Read once from its beginning, a row at a time.
    column : str
        The one with audio.
    path : path-like
        The archive; there once all is written.

    Raises
    ------
    ManifestError
        A row without audio, or an archive that cannot be written.
    """
    if not os.fspath(path).lower().endswith(".tar"):
        raise ManifestError(f"shard is {os.fspath(path)!r}: give the path of an archive, such as clips.tar")
    names = {name: getattr(feature, "int2str", None) for name, feature in dataset.features.items() if name != column}
    try:
        with replace_file(path, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            for number, row in enumerate(undecoded(dataset, column)):
                facts = {name: cell_text(row[name], int2str) for name, int2str in names.items()}
                for name, content in _members(number, row[column] or {}, facts):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    except OSError as error:
        raise ManifestError(f"{os.fspath(path)} cannot be written: {error.strerror or error}") from error


def _members(number: int, clip: Mapping[str, Any], facts: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    place, content = clip.get("path"), clip.get("bytes")
    if content is None and place and os.path.isfile(place):
        content = Path(place).read_bytes()
    if content is None:
        raise ManifestError(f"the dataset: row {number} has no audio: leave it out with dataset.filter")
    stem, ending = os.path.splitext(posixpath.basename(str(place or "")))
    if not is_audio_name(f"x{ending}"):
        ending = next((one for first, one in _ENDINGS.items() if content.startswith(first)), ".wav")
    key = "-".join(filter(None, (f"{number:0{_DIGITS}}", stem.replace(".", "_"))))
    yield key + ending, content
    yield f"{key}.json", json.dumps(dict(facts)).encode()
