"""What a task is: clips, labels, folds or groups, licence, published numbers, and what an encoder has heard of it.

A task is a TOML file in ``tasks``; the fields are those of `Task`. Nothing about a task stands in code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import embedx
from embedx.manifest import Manifest, Source, read_manifest

__all__ = ["FOLDER", "PROTOCOLS", "NotRun", "Task", "heard_mask", "read_task", "read_tasks"]

FOLDER = Path(__file__).parent / "tasks"
ASSETS = Path(embedx.__file__).parent / "assets"
PROTOCOLS = ("ours", "hear", "arch", "maeb")


class NotRun(Exception):
    """Something that a measurement needs is not on this machine; the message is what the table shows."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task, as its file declares it.

    Parameters
    ----------
    name, title : str
        File name without ending, and what tables print.
    folder : str
        Below the data folder; below the package's own assets when ``bundled``.
    csv : str, optional
        List of the clips, below ``folder``; ``columns`` names its columns where they are not guessed, ``prefix``
        is the folder of the clips where the list does not say it.
    files, pattern : str, optional
        Instead of a list: a glob below ``folder``, and a regular expression over the path with groups ``label``,
        ``group`` and ``split``. Files that do not match belong to no task.
    lists : mapping of str to str
        Files that name the clips of a part (``valid``, ``test``); all others are ``train``.
    folds : int or ``"split"``
        How our protocol cuts the clips.
    window_seconds : float
        Longest clip that is embedded in one piece, in seconds.
    licence, reference, get : str
        Of the data, and where it comes from.
    protocols : mapping
        ``hear`` and ``arch``: the column of folds (``arch`` also ``"random"``); ``maeb``: ``cross_validation`` or
        ``test`` (``"split"``, or a regular expression of the paths in the test part), and its settings.
    heard : sequence of mapping
        ``encoder``, ``what`` (in words) and ``where`` (field of the clips to values; all must hold).
    published : sequence of mapping
        ``who``, ``protocol``, ``accuracy`` in percent, ``spread`` and ``source``.
    """

    name: str
    title: str
    folder: str
    folds: int | str
    licence: str
    reference: str
    get: str
    bundled: bool = False
    csv: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    files: str = ""
    pattern: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)
    window_seconds: float = 10.0
    protocols: Mapping[str, Any] = field(default_factory=dict)
    heard: Sequence[Mapping[str, Any]] = ()
    published: Sequence[Mapping[str, Any]] = ()

    def read(self, data: Path | None) -> Manifest:
        """Return the task's clips.

        Raises
        ------
        NotRun
            The data is not there.
        """
        if data is None and not self.bundled:
            raise NotRun("no data folder given (--data)")
        root = (ASSETS if self.bundled or data is None else data) / self.folder
        if not root.is_dir():
            raise NotRun(f"no folder {self.folder} in the data folder")
        return self._read_csv(root) if self.csv else self._read_files(root)

    def _read_csv(self, root: Path) -> Manifest:
        place = root / self.csv
        if not place.is_file():
            raise NotRun(f"no {self.csv} in the folder {self.folder}")
        columns = {f"{name}_column": value for name, value in self.columns.items()}
        manifest = read_manifest(place, must_exist=not self.prefix, **columns)
        if not self.prefix:
            return manifest
        names = [Path(manifest.path_of(source)).name for source in manifest]
        moved = tuple(replace(s, uri=f"{self.prefix}/{name}") for s, name in zip(manifest, names, strict=True))
        missing = next((source.uri for source in moved if not (root / source.uri).is_file()), None)
        if missing is not None:
            raise NotRun(f"{missing} is not there")
        return Manifest(moved, root)

    def _read_files(self, root: Path) -> Manifest:
        parts = {line: name for name, text in self.lists.items() for line in _lines(root / text)}
        sources = []
        for path in sorted(root.glob(self.files)):
            uri = path.relative_to(root).as_posix()
            found = re.search(self.pattern, uri)
            if found is None:
                continue
            known = found.groupdict()
            split = parts.get(uri, "train") if parts else known.get("split")
            sources.append(Source(uri, label=known["label"], group=known.get("group"), split=split))
        if not sources:
            raise NotRun(f"no file {self.files} in the folder {self.folder}")
        return Manifest(tuple(sources), root)

    def published_for(self, protocol: str, who: str = "facebook/wav2vec2-base") -> str:
        """Return the published number to put beside ours, ``"-"`` when there is none."""
        for row in self.published:
            if row["protocol"] == protocol and row["who"] == who:
                return f"{row['accuracy']:g}" + (f" (sd {row['spread']:g})" if "spread" in row else "")
        return "-"

    def heard_by(self, encoder: str) -> str:
        """Return in words what an encoder has heard of the task; ``"unknown"`` for encoders from elsewhere."""
        if encoder.endswith("random"):
            return "nothing"
        for row in self.heard:
            if row["encoder"] == encoder:
                return str(row["what"])
        return "nothing" if encoder == "tiny" else "unknown"


def heard_mask(task: Task, encoder: str, sources: Sequence[Source]) -> NDArray[np.bool_]:
    """Return which clips (n,) an encoder has heard, without their labels, before it met the task."""
    rules = [row["where"] for row in task.heard if row["encoder"] == encoder]
    return np.array(
        [any(all(getattr(s, name) in values for name, values in rule.items()) for rule in rules) for s in sources],
        dtype=bool,
    )


def read_task(path: Path) -> Task:
    """Read one task file, refusing fields that are none and protocols that nobody has."""
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {one.name for one in fields(Task)}
    if unknown := sorted(set(record) - known):
        raise ValueError(f"{path.name}: unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if foreign := sorted(set(record.get("protocols", ())) - set(PROTOCOLS)):
        raise ValueError(f"{path.name}: unknown protocol {foreign[0]!r}; known: {', '.join(PROTOCOLS)}")
    task = Task(**record)
    if task.name != path.stem:
        raise ValueError(f"{path.name}: the task is named {task.name!r}, not as its file")
    if bool(task.csv) == bool(task.files):
        raise ValueError(f"{path.name}: give either csv or files (with pattern)")
    return task


def read_tasks(folder: Path = FOLDER) -> dict[str, Task]:
    """Read all task files of a folder, those that this repository's results are of first."""
    first = ("sample", "esc10", "fsdd")
    names = sorted(folder.glob("*.toml"), key=lambda p: ((*first, p.stem).index(p.stem), p.stem))
    return {path.stem: read_task(path) for path in names}


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise NotRun(f"no {path.name} in the folder {path.parent.name}")
    return path.read_text(encoding="utf-8").split()
