"""What was fetched and what became of every row: an fsynced journal, and the tables derived from it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.flac import read_flac_comment, write_flac
from embedx.errors import ManifestError, StoreError
from embedx.file_locks import lock_file
from embedx.files import hash_file, replace_file, sync_folder

__all__ = ["Journal", "Ledger", "read_journal", "write_table"]

Entry = dict[str, Any]


class Journal:
    """An append-only file of JSON lines, each on disk before ``note`` returns.

    Parameters
    ----------
    path : Path
        Created when it is not there; a line torn by a crash is ignored and written past.
    """

    def __init__(self, path: Path) -> None:
        self.entries = read_journal(path)
        is_torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        self._stream = open(path, "a", encoding="ascii")  # noqa: SIM115 - closed by close()
        if is_torn:
            self._stream.write("\n")

    def note(self, entry: Mapping[str, Any]) -> Entry:
        """Write one line and wait until it is on disk."""
        line = dict(entry)
        self._stream.write(json.dumps(line, ensure_ascii=True, sort_keys=True) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.entries[line["key"]] = line
        return line

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Ledger:
    """One folder of clips that survives being killed at any moment.

    ``audio/KEY.flac`` appears whole or not at all; a line of ``journal.jsonl`` is on disk before the
    next clip is settled; everything else is derived and can be made again. A clip carries its own
    line as a FLAC comment, so one that was renamed but not yet journaled is taken up, not fetched again.

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
        self.audio = self.folder / "audio"
        try:
            self.audio.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / ".lock", "a+")  # noqa: SIM115 - held as long as the ledger
        except OSError as error:
            raise ManifestError(f"{folder} cannot be written: {error.strerror}. Give another folder") from error
        try:
            is_ours = lock_file(self._lock.fileno(), wait=False)
            why = "another embedx download is writing there; wait for it"
        except OSError as error:
            is_ours, why = False, f"files cannot be locked there ({error.strerror}): give a folder on a local disk"
        if not is_ours:
            self._lock.close()
            raise ManifestError(f"{folder}: {why}")
        self._journal = Journal(self.folder / "journal.jsonl")
        self._tidy()

    @property
    def entries(self) -> dict[str, Entry]:
        """The last line of every key."""
        return self._journal.entries

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        self._lock.close()

    def is_done(self, key: str) -> bool:
        """Say whether a clip is there, with the bytes that the journal recorded."""
        entry = self.entries.get(key)
        if entry is None or entry["status"] != "ok":
            return False
        path = self.audio / f"{key}.flac"
        return path.is_file() and hash_file(path).hex() == entry["sha256"]

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

        Raises
        ------
        StoreError
            The disk is full or cannot be written; everything settled before is kept.
        """
        path, temporary = self.audio / f"{key}.flac", self.audio / f".{key}.{os.getpid()}.tmp"
        known = {**entry, "key": key, "status": "ok", "file": f"audio/{key}.flac"}
        with self._writing():
            write_flac(temporary, samples, comment=json.dumps(known, ensure_ascii=True))
            sha256 = hash_file(temporary).hex()
            os.replace(temporary, path)
            sync_folder(self.audio)
        return self.note({**known, "sha256": sha256})

    def note(self, entry: Mapping[str, Any]) -> Entry:
        """Write one line of the journal and wait until it is on disk; may raise `StoreError`."""
        with self._writing():
            return self._journal.note(entry)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = getattr(error, "strerror", None) or str(error)
            text = f"{self.folder} cannot be written: {why}. What was fetched is kept: make room and run again"
            raise StoreError(text) from error

    def _tidy(self) -> None:
        """Remove what a killed run left half-written, take up what it left unrecorded."""
        for path in self.audio.glob(".*.tmp"):
            path.unlink(missing_ok=True)
        for path in sorted(self.audio.glob("*.flac")):
            if self.entries.get(path.stem, {}).get("status") != "ok" and (entry := _carried(path)):
                self.note({**entry, "sha256": hash_file(path).hex()})


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
    with replace_file(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _carried(path: Path) -> Entry | None:
    """Return the line that a clip carries; None when it is none of ours."""
    try:
        entry = json.loads(read_flac_comment(path) or "")
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.get("key") == path.stem else None
