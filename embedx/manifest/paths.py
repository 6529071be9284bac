"""Names of files: as they are on disk, and as messages show them."""

from __future__ import annotations

import itertools
import os
import unicodedata
from pathlib import Path

__all__ = ["FileFinder", "is_text", "relative_uri", "shorten", "shorten_pair", "shorten_path"]

_WORTH_LEAVING_OUT = 20


def relative_uri(path: str, root: Path) -> str:
    """Return ``path`` relative to ``root`` where it lies below it, else absolute; always with ``/``."""
    base = str(root)
    absolute = os.path.normpath(os.path.join(base, path))
    if absolute == base:
        return "."
    prefix = os.path.join(base, "")
    return absolute.removeprefix(prefix).replace(os.sep, "/")  # a million times: no Path, no common path


class FileFinder:
    """Finds the file that a cell means, where its name is spelt in another way on disk.

    Parameters
    ----------
    root : Path
        Folder that relative paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, cell: str) -> str:
        """Return the path that a cell means.

        The file of exactly that name wins; then one whose name begins or ends with a space, one whose accents are
        composed in the other way (as macOS writes them), and one whose folders Windows wrote with ``\\``. A name
        that leads to no file is returned as it is.
        """
        path = cell.strip()
        plain = path.isascii() and len(path) == len(cell) and "\\" not in path
        if plain or not path or os.path.lexists(self.root / path):
            return path
        others = (cell, *((path.replace("\\", "/"),) if "\\" in path else ()))
        found = next((other for other in others if os.path.lexists(self.root / other)), None)
        return found or next(filter(None, map(self._recomposed, (path, *others[1:]))), path)

    def _recomposed(self, path: str) -> str | None:
        """Walk down the path by names that are equal once they are composed."""
        if path.isascii():
            return None
        place = os.sep if os.path.isabs(path) else ""
        for name in filter(None, path.split("/")):
            exact = os.path.join(place, name)
            if os.path.lexists(self.root / exact):
                place = exact
                continue
            found = self._names(place).get(unicodedata.normalize("NFC", name))
            if found is None:
                return None
            place = os.path.join(place, found)
        return place

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._folders:
            try:
                names = os.listdir(self.root / folder)
            except OSError:
                names = []
            self._folders[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._folders[folder]


def shorten(text: str, most: int = 200) -> str:
    """Cut a text that is too long for a message at its end."""
    return text if len(text) <= most else f"{text[:most]}..."


def shorten_path(path: str, most: int = 200) -> str:
    """Cut a path that is too long for a message at its beginning: its end tells it from others.

    Examples
    --------
    >>> shorten_path("/very/long/way/to/a.wav", most=10)
    '.../to/a.wav'
    """
    if len(path) <= most:
        return path
    _, slash, end = path[-most:].partition("/")
    return f".../{end}" if slash else shorten(path, most)


def shorten_pair(one: str, other: str) -> tuple[str, str]:
    """Leave the folders out that two long paths have in common, so that a message shows where they differ.

    Examples
    --------
    >>> shorten_pair("/data/bird songs of the north/2019/clips/a.wav", "/data/bird songs of the north/2020/clips/a.wav")
    ('.../2019/clips/a.wav', '.../2020/clips/a.wav')
    """
    n_same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    common = one[:n_same].rfind("/")
    return (one, other) if common < _WORTH_LEAVING_OUT else (f"...{one[common:]}", f"...{other[common:]}")


def is_text(name: str) -> bool:
    """Say whether a name of a file is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
