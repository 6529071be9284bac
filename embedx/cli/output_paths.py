"""Outputs that cannot be written are refused before any computing, by every command in the same words; JSON."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedx.errors import ParameterError
from embedx.files import replace_file, require_replaceable, special_kind

__all__ = ["OUTPUTS", "require_log", "require_output", "require_outputs", "write_json"]

OUTPUTS = {
    "quickstart": ("output", "-o", "folder"),
    "download": ("output", "the output", "folder"),
    "extract": ("output", "-o", "store"),
    "inspect": ("output", "-o", "file"),
    "compare": ("output", "-o", "folder"),
    "tune": ("json", "--json", "file"),
    "fit": ("output", "-o", "folder"),
    "predict": ("csv", "--csv", "file"),
    "label": ("output", "-o", "file"),
    "search": ("csv", "--csv", "file"),
    "merge": ("output", "-o", "store"),
    "export": ("onnx", "--onnx", "file"),
    "doctor": ("json", "--json", "file"),
}
"""Where the commands write: the attribute of the arguments, its name for people, and what is made there."""

_MARKS = {
    "inspect": b'"findings"',
    "label": b"path,",
    "search": b"rank,similarity,path",
    "tune": b'{\n "head": ',
    "doctor": b'{\n "doctor": ',
}
"""By what an older result of a command is known: a file of another kind is never replaced."""

_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT")
"""How every line of a log begins."""

_ROOM = {"store": ".parts", "folder": ".checkpoints", "file": ""}
"""What is added to a name for what lies beside it."""


def require_outputs(command: str, args: argparse.Namespace) -> None:
    """Refuse what a command is told to write to, where nothing can be written.

    Raises
    ------
    ParameterError
        What, where and why: it cannot be made, or a file of another kind lies there.
    """
    attribute, option, kind = OUTPUTS.get(command, ("", "", ""))
    place = getattr(args, attribute, None)
    if place is not None and not getattr(args, "check", False) and not getattr(args, "dry_run", False):
        require_output(place, kind, option=option)
        if command in _MARKS and os.path.isfile(place):
            _require_own(place, _MARKS[command], option)


def write_json(place: str, record: Mapping[str, Any]) -> None:
    """Write what a command found as JSON, whole or not at all.

    Raises
    ------
    ParameterError
        It cannot be written.
    """
    try:
        with replace_file(place) as file:
            file.write(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ParameterError(f"{place} cannot be written: {error.strerror}") from error


def _require_own(place: str, mark: bytes, option: str) -> None:
    try:
        require_replaceable(place, mark)
    except OSError as error:
        raise ParameterError(f"{option} {place} cannot be written: {error.strerror}") from error


def require_output(place: str | os.PathLike[str], kind: str, *, option: str) -> None:
    """Refuse a place where a file, a store or a folder cannot be written; nothing is created.

    A file may also be standard output or the pipe of a shell (``/dev/stdout``, ``>(gzip)``).

    Parameters
    ----------
    place : path-like
        Where it shall go. Folders that are missing above it are made later.
    kind : {"file", "store", "folder"}
        What shall be there.
    option : str
        What named the place.

    Raises
    ------
    ParameterError
        What, where and why.
    """
    text = os.fspath(place)
    if not text or "\0" in text:
        raise ParameterError(f"{option} is empty or has a NUL character in it: name a {_word(kind)}")
    why = _why_not(Path(text), kind)
    if why:
        raise ParameterError(f"{option} {text} cannot be written: {why}. Give another {_word(kind)}")


def require_log(place: str) -> None:
    """Refuse a log file that cannot be written, or one that is no log: a list of clips or a store would be spoilt.

    Raises
    ------
    ParameterError
        What, where and why.
    """
    require_output(place, "file", option="--log-file")
    if not os.path.isfile(place):
        return
    with open(place, "rb") as file:
        head = file.read(11)
    if head and not _STAMP.fullmatch(head):
        raise ParameterError(
            f"--log-file {place} is a file of another kind, and lines would be added to it: give another name"
        )


def _word(kind: str) -> str:
    return "folder" if kind == "folder" else "file"


def _why_not(place: Path, kind: str) -> str | None:
    if max(len(os.fsencode(name)) for name in (*place.parts, f"{place.name}{_ROOM[kind]}")) > 255:
        return "a name of it is too long"
    try:
        mode = os.stat(place).st_mode
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return error.strerror
        return _why_not_made(Path(os.path.realpath(place)).parent)
    return _why_not_replaced(place, mode, kind)


def _why_not_made(folder: Path) -> str | None:
    """Say why nothing can be made in a folder, which may be missing itself."""
    above = folder
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        return f"{above} is a file, not a folder"
    return None if os.access(above, os.W_OK | os.X_OK) else f"no permission to write in {above}"


def _why_not_replaced(place: Path, mode: int, kind: str) -> str | None:
    if kind == "folder":
        if not stat.S_ISDIR(mode):
            return "it is a file, not a folder"
        return None if os.access(place, os.W_OK | os.X_OK) else "no permission to write in it"
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if stat.S_ISREG(mode):
        return _why_not_made(Path(os.path.realpath(place)).parent)
    is_shells = str(place).startswith(("/dev/", "/proc/self/")) and not stat.S_ISBLK(mode)
    return None if kind == "file" and is_shells else f"it is {special_kind(place)}, not a file"
