"""Where a model lies: what may be replaced there, a draft that takes its place in one step, readers that see one."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedx.errors import ModelFormatError
from embedx.file_locks import lock_file, open_folder
from embedx.files import replace_folder
from embedx.model.card_seal import CARD_NAME, is_own_card
from embedx.model.hub_models import HEAD_FILES, NETWORK_FILES
from embedx.model.model_json import JSON_NAME, check_record, read_record

__all__ = ["draft_for", "free_place", "read_whole", "require_place"]

_MOST_NAME_BYTES = 240
"""A file system takes 255; drafts and checkpoints have the folder's name in theirs."""

_MOST_READS = 100


def require_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where a model cannot be written, or where something would be lost.

    Parameters
    ----------
    folder : Path
        Where the model shall lie.
    overwrite : bool
        Whether it may replace another model; anything else is never replaced.

    Raises
    ------
    ModelFormatError
        It cannot be written; or a model lies there, or other files do.
    """
    try:
        _require_place(folder, overwrite)
    except OSError as error:
        raise ModelFormatError(f"{folder} cannot be written: {error.strerror or error}") from error


def _require_place(folder: Path, overwrite: bool) -> None:
    name = Path(os.path.abspath(folder)).name
    if len(os.fsencode(name)) > _MOST_NAME_BYTES:
        raise ModelFormatError(f"{name[:40]}... is too long for the name of a model: {_MOST_NAME_BYTES} bytes at most")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ModelFormatError(f"{folder} is not a folder: give the name of a new folder for the model")
    _require_writable(Path(os.path.abspath(folder)))
    if not folder.exists():
        return
    if os.path.ismount(folder):
        raise ModelFormatError(f"{folder} is where a disk is mounted, and cannot be replaced: give a folder below it")
    found = _listed(folder)
    if found and JSON_NAME not in found:
        raise ModelFormatError(f"{folder} holds files but no model: give a new folder, or empty this one")
    patterns = (*HEAD_FILES, ".DS_Store", *(NETWORK_FILES if "finetune.json" in found else ()))
    foreign = [name for name in found if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if foreign:
        raise ModelFormatError(
            f"{folder} holds {', '.join(foreign[:3])} beside its model, which would be lost: "
            "move it away, or give another folder"
        )
    if CARD_NAME in found and not is_own_card(folder / CARD_NAME):
        raise ModelFormatError(
            f"{folder / CARD_NAME} was changed since embedx wrote it, and would be lost: "
            "move it away, or give another folder"
        )
    if found and not overwrite:
        raise ModelFormatError(
            f"{folder} holds a model already ({_shown(folder)}): replace it with --overwrite "
            "(overwrite=True in Python), or give another folder"
        )


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder; one that another writer replaces meanwhile is looked at again."""
    for _ in range(_MOST_READS):
        place = folder.stat().st_ino
        found = sorted(path.name for path in folder.iterdir())
        if folder.stat().st_ino == place:
            break
    return found


def _require_writable(folder: Path) -> None:
    parent = folder.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise ModelFormatError(f"{folder} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ModelFormatError(f"{folder} cannot be written: no permission to write in {parent}")


def _shown(folder: Path) -> str:
    """Say which model lies in a folder."""
    saved = time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / JSON_NAME).stat().st_mtime))
    try:
        facts = check_record(read_record(folder))
    except (ModelFormatError, ValueError, TypeError, KeyError, AttributeError):
        return f"one that cannot be read, of {saved}"
    classes = facts["classes"]
    names = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
    return f"{facts['head']}, {len(classes)} classes: {names}; saved {saved}"


def free_place(folder: Path) -> Path:
    """Return a folder, or the first beside it (``model-2``) where no model lies: a training is not lost to another."""
    place, number = folder, 2
    while (place / JSON_NAME).exists():
        place, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return place


@contextmanager
def draft_for(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``folder`` when the block ends without an error.

    Readers find the old folder or the new one, at no moment none. What killed runs left behind is removed first.

    Raises
    ------
    OSError
        It cannot be made, or cannot take the place; ``folder`` is as it was.
    """
    folder = Path(os.path.abspath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    draft, lock = _locked_draft(folder)
    try:
        yield draft
        replace_folder(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked_draft(folder: Path) -> tuple[Path, int | None]:
    """Make a draft that says by a lock that its writer lives."""
    while True:
        draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        draft.mkdir()
        lock = open_folder(draft)
        if lock is None:
            return draft, None
        with suppress(OSError):  # a file system without locks
            lock_file(lock)
        if draft.is_dir():
            return draft, lock
        os.close(lock)  # another run took it for a stale one before it was locked


def _remove_stale(folder: Path) -> None:
    """Remove drafts whose writers were killed; put back a model that was between two renames."""
    shape = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}(\.old)?")
    for place in [path for path in folder.parent.iterdir() if shape.fullmatch(path.name) and path.is_dir()]:
        if place.suffix == ".old" and not folder.exists():
            os.rename(place, folder)
            continue
        with suppress(OSError):
            _remove_unlocked(place)


def _remove_unlocked(place: Path) -> None:
    handle = open_folder(place)
    if handle is None:  # nothing says whether its writer lives
        return
    try:
        if lock_file(handle, wait=False):
            shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(handle)


def read_whole(folder: Path, read: Callable[[], Any]) -> Any:
    """Return what ``read`` returns, called again when the folder was replaced meanwhile: never parts of two models.

    Raises
    ------
    ModelFormatError
        What ``read`` raised, or the folder is replaced again and again.
    """
    for _ in range(_MOST_READS):
        before = _identity(folder)
        try:
            found = read()
        except (ModelFormatError, OSError):
            if _identity(folder) == before:
                raise
            continue
        if _identity(folder) == before:
            return found
    raise ModelFormatError(f"{folder} is replaced faster than it can be read: wait until nothing is saved there")


def _identity(folder: Path) -> tuple[int, int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns
