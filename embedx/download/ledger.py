"""What was fetched and what became of every row: an fsynced journal, and the tables derived from it."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ManifestError

__all__ = ["Ledger", "read_journal", "write_table"]

Entry = dict[str, Any]

SAMPLE_RATE = 16_000


class Ledger:
    """One folder of clips that survives being killed at any moment.

    ``audio/KEY.flac`` appears whole or not at all; a line of ``journal.jsonl`` is on disk before the
    next clip is settled; everything else is derived and can be made again.

    Parameters
    ----------
    folder : path-like
        Created when it is not there.

    Raises
    ------
    ManifestError
        Another process is writing there, or the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.audio.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / ".lock", "a+")  # noqa: SIM115 - held as long as the ledger
        except OSError as error:
            raise ManifestError(f"{folder} cannot be written: {error.strerror}. Give another --output") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ManifestError(f"{folder}: another embedx download is writing there; wait for it") from error
        self.entries = read_journal(self.journal)
        self._remove_leftovers()
        self._stream = self._open_journal()

    @property
    def audio(self) -> Path:
        """Where the clips lie."""
        return self.folder / "audio"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / "journal.jsonl"

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._lock.close()

    def is_done(self, key: str) -> bool:
        """Say whether a clip is there, with the bytes that the journal recorded."""
        entry = self.entries.get(key)
        if entry is None or entry["status"] != "ok":
            return False
        path = self.audio / f"{key}.flac"
        return path.is_file() and _sha256(path) == entry["sha256"]

    def keep(self, key: str, samples: NDArray[np.float32], entry: Mapping[str, Any]) -> Entry:
        """Make one clip durable: temporary file, fsync, rename, then its line in the journal.

        Parameters
        ----------
        key : str
            16 hexadecimal digits.
        samples : ndarray of shape (n_samples,), float32
            16 kHz mono.
        entry : mapping
            What is known of it.
        """
        path, temporary = self.audio / f"{key}.flac", self.audio / f".{key}.{os.getpid()}.tmp"
        _write_flac(temporary, samples)
        sha256 = _sha256(temporary)
        os.replace(temporary, path)
        _sync_folder(self.audio)
        return self.note({**entry, "key": key, "status": "ok", "sha256": sha256, "file": f"audio/{key}.flac"})

    def note(self, entry: Mapping[str, Any]) -> Entry:
        """Write one line of the journal and wait until it is on disk."""
        line = dict(entry)
        self._stream.write(json.dumps(line, ensure_ascii=True, sort_keys=True) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.entries[line["key"]] = line
        return line

    def _open_journal(self) -> io.TextIOWrapper:
        """Open for appending, behind a torn last line if there is one."""
        torn = self.journal.exists() and self.journal.read_bytes()[-1:] not in (b"", b"\n")
        stream = open(self.journal, "a", encoding="ascii")  # noqa: SIM115 - closed by __exit__
        if torn:
            stream.write("\n")
        return stream

    def _remove_leftovers(self) -> None:
        for path in self.audio.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def read_journal(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Return the last entry of every key; lines torn by a crash are ignored."""
    place = Path(path)
    if not place.exists():
        return {}
    entries: dict[str, Entry] = {}
    for line in place.read_bytes().splitlines():
        try:
            entry = json.loads(line)
            entries[entry["key"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV so that a reader sees the old one or the new one, never half."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def _write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    import soundfile

    with open(path, "wb") as stream:
        soundfile.write(stream, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        stream.flush()
        os.fsync(stream.fileno())


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
