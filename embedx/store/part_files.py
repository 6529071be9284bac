"""What makes a store survive a kill: whole files through temp, fsync, rename and directory fsync.

``emb.h5.parts/`` beside ``emb.h5`` holds ``identity.json`` (which recipe), ``lock`` (who publishes) and
immutable parts whose names carry time, uuid, length and CRC.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedx.errors import EmbedxWarning, StoreBusyError, StoreError, StoreFormatError
from embedx.file_locks import lock_file
from embedx.files import BINARY, special_kind, sync_folder, write_at
from embedx.recipe import Recipe

__all__ = ["PartsFolder", "disk_errors", "part_problem"]

_PART = re.compile(r"\d{20}-[0-9a-f]{32}-(\d+)-([0-9a-f]{8})\.h5")
_TEMP = ".tmp-"
_MAX_IDENTITY_BYTES = 60_000


@contextmanager
def disk_errors(store: Path) -> Iterator[None]:
    """Turn an error of the operating system into one line that says how to go on."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{store} cannot be written: {error.strerror or error}. Everything up to the last commit, seconds ago, "
            "is kept: remove the cause and run the same command again"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, for good."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        sync_folder(folder.parent)


def write_all(handle: int, data: bytes | memoryview, at: int = 0) -> None:
    """Write all of ``data`` at an offset, however little the system takes at once."""
    view = memoryview(data)
    while len(view):
        n = write_at(handle, view, at)
        view, at = view[n:], at + n


def part_problem(part: Path) -> str | None:
    """Say what is wrong with a part's length or CRC, reading all of it; None when nothing is."""
    match = _PART.fullmatch(part.name)
    length, expected = (int(match[1]), int(match[2], 16)) if match else (-1, 0)
    crc = n_bytes = 0
    with open(part, "rb") as file:
        while piece := file.read(1 << 22):
            crc, n_bytes = zlib.crc32(piece, crc), n_bytes + len(piece)
    if n_bytes != length:
        return f"holds {n_bytes} bytes instead of {length}"
    return None if crc == expected else "does not match its CRC"


class PartsFolder:
    """The folder beside a store: what is committed and not yet published, who writes and who publishes.

    Every writer holds a shared lock on ``identity.json`` while it lives, the one publisher an exclusive
    one on ``lock``; the kernel frees the locks of a killed process. The folder is created, claimed by
    another recipe and removed only by who is alone.

    Parameters
    ----------
    store : Path
        The published file.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.path = Path(f"{store}.parts")
        self._require_files()
        self._identity, self._lock = self.path / "identity.json", self.path / "lock"
        self._membership: int | None = None

    def _require_files(self) -> None:
        """Refuse a folder with a pipe or a device in it, which came with somebody's archive and never answers."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path) as entries:
            for entry in entries:
                if not entry.is_file() and (kind := special_kind(entry.path)):
                    raise StoreFormatError(f"{entry.path} is {kind}, not a file: move {self.path} away")

    # -- writers -----------------------------------------------------------------------------------

    def recipe(self) -> Recipe | None:
        """Return the recipe that the folder was made for, or None."""
        try:
            with open(self._identity, "rb") as file:
                text = file.read(_MAX_IDENTITY_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Recipe.from_json(json.dumps(json.loads(text)["recipe"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreFormatError(f"{self._identity} is damaged ({error}): move {self.path} away") from error

    def join(self, recipe: Recipe) -> None:
        """Become a writer; makes the folder where it is missing.

        Raises
        ------
        RecipeMismatchError
            Others write or wrote rows of another recipe there.
        """
        self.tidy()
        while self._membership is None:
            try:
                handle = os.open(self._identity, os.O_RDONLY)
            except FileNotFoundError:
                self._claim(recipe)
                continue
            lock_file(handle, shared=True)
            if _is_still(handle, self._identity):
                self._membership = handle
            else:
                os.close(handle)
        recorded = self.recipe()
        if recorded is not None and recorded.diff(recipe):
            self.leave()
            advice = "Give another --output, or wait for the process that writes it"
            recorded.require_same(recipe, where=str(self.store), advice=advice)

    def _claim(self, recipe: Recipe) -> None:
        with self.locked(wait_seconds=60):
            if not self._identity.exists():
                record = {"schema": 1, "fingerprint": recipe.fingerprint(), "recipe": json.loads(recipe.to_json())}
                self.write_file(self._identity, json.dumps(record).encode())

    def leave(self) -> None:
        """Stop being a writer; the last one removes the folder if all is published."""
        if self._membership is not None:
            os.close(self._membership)
            self._membership = None
            with suppress(OSError):  # tidying up is no reason to fail
                self.tidy()

    def tidy(self) -> None:
        """Remove what killed writers left, and the folder when nothing is in it, unless others use it."""
        if self.path.is_dir():
            with suppress(StoreBusyError), self.locked(), self.alone():
                self.remove([name for name in os.listdir(self.path) if name.startswith(_TEMP)])
                if set(os.listdir(self.path)) <= {"lock", "identity.json"}:
                    self.remove(["identity.json", "lock"])
                    os.rmdir(self.path)
                    sync_folder(self.path.parent)

    def remove(self, names: Iterable[str | Path]) -> None:
        """Delete files of the folder, as far as they are there."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self.path / name)

    # -- locks -------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, *, wait_seconds: float = 1.0) -> Iterator[None]:
        """Be the only one who publishes or tidies up.

        Raises
        ------
        StoreBusyError
            Another process still does after ``wait_seconds``; names its pid and host.
        """
        give_up = time.monotonic() + wait_seconds
        while (handle := self._try_lock()) is None:
            if time.monotonic() >= give_up:
                raise StoreBusyError(f"{self.store} is being published by {self._holder()}: try again when it is done")
            time.sleep(0.02)
        try:
            yield
        finally:
            os.close(handle)

    def _try_lock(self) -> int | None:
        make_folder(self.path)
        handle: int | None
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            return None
        try:
            if lock_file(handle, wait=False) and _is_still(handle, self._lock):
                with suppress(OSError):  # only for the message of others; a full disk is no reason to stop
                    os.ftruncate(handle, 0)
                    write_at(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                kept, handle = handle, None
                return kept
        finally:
            if handle is not None:
                os.close(handle)
        return None

    def _holder(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            return self._lock.read_text()[:200] or "another process"
        return "another process"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be sure that nobody writes; the lock must be held, and this process must not be a writer.

        Raises
        ------
        StoreBusyError
            Another process writes.
        """
        try:
            handle = os.open(self._identity, os.O_RDONLY)
        except FileNotFoundError:
            handle = None
        try:
            if handle is not None and not lock_file(handle, wait=False):
                raise StoreBusyError(f"{self.store} is being written by another process: wait for it, or end it")
            yield
        finally:
            if handle is not None:
                os.close(handle)

    # -- files -------------------------------------------------------------------------------------

    def parts(self) -> list[Path]:
        """Return the parts, oldest first."""
        try:
            return sorted(self.path / name for name in os.listdir(self.path) if _PART.fullmatch(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def add(self, data: bytes) -> None:
        """Make one part durable."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}-{len(data)}-{zlib.crc32(data):08x}.h5"
        self.write_file(self.path / name, data)

    def set_aside(self, part: Path, why: str) -> None:
        """Take a part out of use, keeping it for whoever wants to look."""
        text = f"{part} {why}: it is set aside as {part.name}.bad, its clips are computed again"
        warnings.warn(text, EmbedxWarning, stacklevel=2)
        with suppress(FileNotFoundError):
            os.replace(part, f"{part}.bad")

    def write_file(self, place: Path, data: bytes) -> None:
        """Write a file so that it is all there, for good, or not at all."""
        with self.new_file(place) as handle:
            write_all(handle, data)

    @contextmanager
    def new_file(self, place: Path) -> Iterator[int]:
        """Give an empty file that takes its place, for good, when the block ends without an error."""
        temp = self.path / f"{_TEMP}{uuid.uuid4().hex}"
        handle = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        try:
            yield handle
            os.fsync(handle)
            os.replace(temp, place)
            sync_folder(place.parent)
        except BaseException:
            self.remove([temp])
            raise
        finally:
            os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
