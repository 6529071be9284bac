"""What makes a store survive a kill: whole files through temp, fsync, rename and directory fsync.

``emb.h5.parts/`` beside ``emb.h5`` holds ``identity.json`` (which recipe), ``lock`` (who publishes) and
immutable parts whose names carry time, uuid, length and CRC. Every write goes through ``os``.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedx.errors import EmbedxWarning, StoreBusyError, StoreError, StoreFormatError
from embedx.recipe import Recipe

__all__ = ["PartsFolder", "disk_errors"]

_PART = re.compile(r"(\d{20})-[0-9a-f]{32}-(\d+)-([0-9a-f]{8})\.h5")
_TEMP = ".tmp-"
_MAX_IDENTITY_BYTES = 60_000


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one line that says how to go on."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}. What was reported as done is kept: "
            "mend the cause and run the same command again"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class PartsFolder:
    """The folder beside a store that holds what is committed and not yet published.

    Parameters
    ----------
    store : Path
        The published file.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.path = Path(f"{store}.parts")
        self.identity = self.path / "identity.json"

    # -- identity ----------------------------------------------------------------------------------

    def recipe(self) -> Recipe | None:
        """Return the recipe that the folder was made for, or None."""
        try:
            with open(self.identity, "rb") as file:
                text = file.read(_MAX_IDENTITY_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Recipe.from_json(json.dumps(json.loads(text)["recipe"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreFormatError(f"{self.identity} is damaged ({error}): move {self.path} away") from error

    def claim(self, recipe: Recipe, *, steal: bool = False) -> None:
        """Make the folder this recipe's, if it is nobody's (or, with ``steal``, whoever's)."""
        if self.recipe() is not None and not steal:
            return
        with self.locked(wait=True):
            if self.recipe() is None or steal:
                text = json.dumps(
                    {"schema": 1, "fingerprint": recipe.fingerprint(), "recipe": json.loads(recipe.to_json())}
                )
                self.write_file(self.identity, text.encode())

    # -- files -------------------------------------------------------------------------------------

    def write_file(self, place: Path, data: bytes) -> None:
        """Write a whole file so that it is either all there, for good, or not at all."""
        with self.temporary() as (handle, temp):
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            self.install(handle, temp, place)

    @contextmanager
    def temporary(self) -> Iterator[tuple[int, Path]]:
        """Give a new file in the folder, locked while this process lives, removed unless installed."""
        temp = self.path / f"{_TEMP}{uuid.uuid4().hex}"
        handle = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle, temp
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        finally:
            os.close(handle)

    def install(self, handle: int, temp: Path, place: Path) -> None:
        """Give a finished temporary file its name, for good."""
        os.fsync(handle)
        os.replace(temp, place)
        sync_folder(place.parent)

    def add(self, data: bytes, recipe: Recipe) -> None:
        """Add one part, also while another process publishes and removes the folder."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}-{len(data)}-{zlib.crc32(data):08x}.h5"
        for _ in range(100):
            self.claim(recipe)
            with suppress(FileNotFoundError):
                self.write_file(self.path / name, data)
                break
        else:
            raise StoreError(f"{self.path} keeps vanishing: does another program delete it?")
        self.claim(recipe)

    def parts(self) -> list[Path]:
        """Return the parts, oldest first."""
        try:
            return sorted(self.path / name for name in os.listdir(self.path) if _PART.fullmatch(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def set_aside(self, part: Path, why: str) -> None:
        """Take a part out of use, keeping it for whoever wants to look."""
        warnings.warn(
            f"{part} {why}: set aside as {part.name}.bad, its clips are computed again", EmbedxWarning, stacklevel=2
        )
        os.replace(part, f"{part}.bad")

    # -- one publisher -----------------------------------------------------------------------------

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Be the only one who publishes, creates or removes; the kernel frees the lock of a killed process.

        Raises
        ------
        StoreBusyError
            Another process holds it.
        """
        handle = self._acquire(wait)
        try:
            yield
        finally:
            os.close(handle)

    def _acquire(self, wait: bool) -> int:
        lock = self.path / "lock"
        while True:
            os.makedirs(self.path, exist_ok=True)
            try:
                handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.path.samestat(os.fstat(handle), os.stat(lock)):
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
                    return handle
            except BlockingIOError as error:
                holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
                os.close(handle)
                raise StoreBusyError(
                    f"{self.store} is being published by {holder}: try again when it is done"
                ) from error
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def remove_stale_temps(self) -> None:
        """Delete what killed processes left (the files of living ones are locked)."""
        for name in os.listdir(self.path):
            if name.startswith(_TEMP):
                with suppress(FileNotFoundError, BlockingIOError):
                    self._remove_stale(self.path / name)

    def _remove_stale(self, temp: Path) -> None:
        handle = os.open(temp, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(temp)
        finally:
            os.close(handle)

    def remove_if_empty(self, recipe: Recipe) -> None:
        """Remove the folder when nothing but its bookkeeping is left; the lock must be held."""
        if set(os.listdir(self.path)) - {"lock", "identity.json"}:
            return
        with suppress(FileNotFoundError):
            os.unlink(self.identity)
        with suppress(FileNotFoundError):
            os.unlink(self.path / "lock")
        try:
            os.rmdir(self.path)
        except OSError:  # a writer was faster: its next step makes the identity again
            return
        sync_folder(self.path.parent)


def part_problem(part: Path) -> str | None:
    """Say what is wrong with a part's length or CRC, reading all of it; None when nothing is."""
    match = _PART.fullmatch(part.name)
    assert match is not None
    crc = n_bytes = 0
    with open(part, "rb") as file:
        while piece := file.read(1 << 22):
            crc, n_bytes = zlib.crc32(piece, crc), n_bytes + len(piece)
    if n_bytes != int(match[2]):
        return f"holds {n_bytes} bytes, not {match[2]}"
    return None if crc == int(match[3], 16) else "does not match its CRC"


Writer = Callable[[int], None]
