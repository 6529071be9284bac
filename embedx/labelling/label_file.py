"""The CSV that labels go to: written whole after every answer, read as any other list of clips."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from embedx.dataset import Dataset
from embedx.errors import ParameterError
from embedx.file_locks import lock_file
from embedx.files import replace_file, require_replaceable, special_kind
from embedx.manifest import Source, read_manifest
from embedx.manifest.source import ClipKey, short_number

__all__ = ["LabelFile"]

_COLUMNS = ("path", "start", "stop", "label", "group", "split")


class LabelFile:
    """Labels of a store's clips in a CSV, which one process at a time may write.

    Columns are path, start, stop and label, and group and split where the clips have them. Paths are relative to the
    CSV's folder where the audio lies below it, else absolute.

    Parameters
    ----------
    path : path-like
        The CSV; a file of another kind is refused.
    dataset : Dataset
        The clips; its root is where they lie.

    Raises
    ------
    ParameterError
        It cannot be written, has other columns, or another process writes it.
    ManifestError
        It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], dataset: Dataset) -> None:
        self.path, self._dataset = Path(os.path.abspath(path)), dataset
        named = {name for name in ("group", "split") if any(getattr(source, name) for source in dataset.sources)}
        self._columns = [name for name in _COLUMNS if name in named or name not in ("group", "split")]
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")
        kind = special_kind(self.path)
        if kind is not None:
            raise ParameterError(f"-o {path} cannot be written: it is {kind}, and labels are kept in a file")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            require_replaceable(self.path, b"path,start,stop,label")
        except OSError as error:
            raise ParameterError(f"-o {path} cannot be written: {error.strerror}") from error
        self._lock = self._locked()
        try:
            self._others: tuple[Source, ...] = ()
            self._known: dict[int, Source] = {}
            self.labels = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LabelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes write it."""
        with suppress(OSError):
            self._lock_path.unlink()
        os.close(self._lock)

    def write(self, labels: Mapping[int, str]) -> None:
        """Replace the file by the labels of rows of the dataset, in their order; its other rows are kept.

        Raises
        ------
        OSError
            It cannot be written; what was there is kept.
        """
        without = (self._located(i, None) for i in self._known if i not in labels)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=self._columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for source in (*self._others, *(self._located(i, labels[i]) for i in labels), *without):
            writer.writerow(self._cells(source))
        with replace_file(self.path, newline="") as file:
            file.write(text.getvalue())

    def _cells(self, source: Source) -> dict[str, str]:
        stop = "" if source.stop_seconds is None else short_number(source.stop_seconds)
        start = short_number(source.start_seconds) if source.start_seconds or stop else ""
        facts = {name: getattr(source, name) or "" for name in ("label", "group", "split")}
        return {"path": self._shown(source.uri), "start": start, "stop": stop, **facts}

    def _located(self, row: int, label: str | None) -> Source:
        """Return a clip with its whole path, and what the file knew of it that the dataset does not."""
        source = self._dataset.sources[row]
        known = self._known.get(row, source)
        group, split = source.group or known.group, source.split or known.split
        place = os.path.normpath(os.path.join(self._dataset.root, source.uri))
        return replace(source, uri=place, label=label, group=group, split=split)

    def _shown(self, place: str) -> str:
        folder = os.path.join(self.path.parent, "")
        return place.removeprefix(folder)

    def _locked(self) -> int:
        """Hold a file beside it, which says by a lock that its writer lives."""
        while True:
            try:
                handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise ParameterError(f"-o {self.path} cannot be written: {error.strerror}") from error
            try:
                is_mine = lock_file(handle, wait=False)
            except OSError:  # a file system without locks
                return handle
            if is_mine and self._is_still(handle):
                return handle
            os.close(handle)  # another's, or of a writer that ended and removed it
            if not is_mine:
                raise ParameterError(
                    f"-o {self.path}: another embedx label writes it: use its page (in as many tabs as you like), or "
                    "stop it"
                )

    def _is_still(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._lock_path))
        except FileNotFoundError:
            return False

    def _read(self) -> dict[int, str]:
        """Return the labels of the file by rows, in its order, and keep what it says of other clips."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return {}
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
            is_empty = not file.read(1)
        unknown = [name for name in header if name not in _COLUMNS]
        if unknown:
            raise ParameterError(
                f"-o {self.path} has the column {unknown[0]!r}, which would be lost: give another name, and read this "
                "one with --labels"
            )
        self._columns = [name for name in _COLUMNS if name in {*header, *self._columns}]
        if is_empty:
            return {}
        manifest = read_manifest(self.path, must_exist=False)
        listed = [replace(source, uri=os.path.normpath(manifest.path_of(source))) for source in manifest]
        rows = rows_of(self._dataset)
        self._others = tuple(source for source in listed if source.key not in rows)
        self._known = {rows[source.key]: source for source in listed if source.key in rows}
        return {row: source.label for row, source in self._known.items() if source.label is not None}


def rows_of(dataset: Dataset) -> dict[ClipKey, int]:
    """Return the row of each clip by its key, with its whole path."""
    places = (replace(s, uri=os.path.normpath(os.path.join(dataset.root, s.uri))).key for s in dataset.sources)
    return {key: row for row, key in enumerate(places)}
