"""A folder of time lines, one file a recording: what is in it, made how, so that a run goes on where one ended."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedx.containers.clip_files import stat_clip
from embedx.errors import ParameterError
from embedx.files import sync_folder
from embedx.manifest import Source
from embedx.timeline.segment_writers import file_ending, write_segments
from embedx.timeline.time_line import TimeLine

__all__ = ["LEDGER", "OutputFolder", "output_names"]

LEDGER = "embedx-timeline.jsonl"
"""The options of the folder, then a line for each recording that is done."""


def output_names(sources: Sequence[Source], format: str) -> dict[Source, str]:
    """Name a file for each recording: its own name, with its folder and its own ending where names would be the same.

    Parameters
    ----------
    sources : sequence of Source
        The recordings, or pieces of them.
    format : str
        See `FORMATS`.

    Examples
    --------
    >>> list(output_names([Source("a/x.wav"), Source("b/x.wav"), Source("y.wav", stop_seconds=5)], "csv").values())
    ['a_x.wav.csv', 'b_x.wav.csv', 'y_0-5.csv']
    """
    ending = file_ending(format)
    short = {source: Path(source.uri).stem + _piece(source) + ending for source in sources}
    counts = Counter(name.lower() for name in short.values())
    names: dict[Source, str] = {}
    taken = {name for name, n in counts.items() if n == 1}
    for source, name in short.items():
        if counts[name.lower()] > 1:
            stem = "_".join(Path(source.uri).parts).lstrip("/_") + _piece(source)
            tries = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
            name = next(f"{one}{ending}" for one in tries if f"{one}{ending}".lower() not in taken)
            taken.add(name.lower())
        names[source] = name
    return names


def _piece(source: Source) -> str:
    """Return what of the file a piece is, for its name."""
    return source.id.removeprefix(source.uri).replace("#", "_")


class OutputFolder:
    """Takes time lines, each file whole or not at all, and knows which recordings are done.

    Parameters
    ----------
    folder : path-like
        Made if it is missing.
    options : mapping
        All that changes what is written; as JSON. Another run's must be the same.

    Raises
    ------
    ParameterError
        The folder holds time lines that were made with other options, or its ledger is none.
    OSError
        It cannot be made or read.
    """

    def __init__(self, folder: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
        self.folder, self._options = Path(folder), json.loads(json.dumps(options))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._done: dict[str, dict[str, Any]] = {}
        self._is_new = True
        lines = self._lines()
        if lines:
            self._is_new = False
            self._require_same(lines[0])
            self._done = {line["file"]: line for line in lines[1:] if _is_entry(line)}

    def _lines(self) -> list[dict[str, Any]]:
        """Return the records of the ledger; the last one may have been cut off by a kill."""
        place = self.folder / LEDGER
        if not place.is_file():
            return []
        found = []
        for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
        return found

    def _require_same(self, first: Mapping[str, Any]) -> None:
        options = first.get("options")
        if first.get("format") != "embedx.timelines" or not isinstance(options, dict):
            raise ParameterError(f"{self.folder / LEDGER} is no list of time lines: give another folder")
        names = [*dict.fromkeys([*options, *self._options])]
        other = [name for name in names if options.get(name) != self._options.get(name)]
        if other:
            listed = "; ".join(
                f"{name}: there {options.get(name)!r}, asked {self._options.get(name)!r}" for name in other
            )
            raise ParameterError(
                f"{self.folder} holds time lines that were made otherwise ({listed}). Give another folder, or remove it"
            )

    def require_free(self, paths: Mapping[str, str | os.PathLike[str]]) -> None:
        """Refuse to replace files that are no time lines of this folder, or of other recordings.

        Parameters
        ----------
        paths : mapping of str to path-like
            Recordings, by the names of their files.

        Raises
        ------
        ParameterError
            The first of them.
        """
        for name, path in paths.items():
            entry = self._done.get(name)
            if entry is None and os.path.lexists(self.folder / name):
                raise ParameterError(
                    f"{self.folder / name} lies there already, is not known to be a time line, and is not replaced: "
                    "give another folder, or move it away"
                )
            if entry is not None and entry["recording"][0] != os.path.abspath(path):
                raise ParameterError(
                    f"{self.folder / name} is the time line of {entry['recording'][0]}: give another folder for "
                    f"{os.fspath(path)}"
                )

    def is_done(self, name: str, path: str | os.PathLike[str]) -> bool:
        """Say whether a recording has its file, and has not changed since."""
        entry = self._done.get(name)
        return entry is not None and (self.folder / name).is_file() and entry.get("recording") == _identity(path)

    def put(self, name: str, line: TimeLine, *, format: str, with_windows: bool = False) -> None:
        """Write the file of a recording, and then that it is done."""
        identity = _identity(line.path)
        write_segments(line, self.folder / name, format=format, with_windows=with_windows)
        records: list[dict[str, Any]] = [{"file": name, "recording": identity}]
        if self._is_new:
            records.insert(0, {"format": "embedx.timelines", "options": self._options})
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        with open(self.folder / LEDGER, "a", encoding="utf-8") as file:
            file.write(text if self._is_new else f"\n{text}")  # after whatever a kill may have left of a line
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)
        self._is_new = False
        self._done[name] = records[-1]


def _is_entry(line: Mapping[str, Any]) -> bool:
    recording = line.get("recording")
    return isinstance(line.get("file"), str) and isinstance(recording, list) and len(recording) == 3


def _identity(path: str | os.PathLike[str]) -> list[Any]:
    """Return what tells a recording from a later state of itself."""
    size, mtime_ns, _ = stat_clip(path)
    return [os.path.abspath(path), size, mtime_ns]
