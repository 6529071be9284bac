"""Folders that are parts of a data set, not labels: train/dog, dog/train, fold1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embedx.errors import ManifestError
from embedx.manifest.paths import shorten

__all__ = ["Layout", "find_layout", "is_part"]

_PARTS = re.compile(
    r"train|training|test|testing|eval|evaluation|holdout|heldout|val|valid|validation|dev|devel|development|"
    r"(fold|split)\d+"
)
_LIKE_PARTS = re.compile(
    r"(.*[\s_.-])?(train|training|trainval|traindev|test|testing|eval|evaluation|val|valid|validation|dev)"
    r"([\s_.-].*|\d+)?",
    re.IGNORECASE,
)
_A_SET = re.compile(r"[\s_-]+(set|data|split)$", re.IGNORECASE)
_EITHER = (("in", "out"), ("indomain", "outofdomain"), ("seen", "unseen"), ("source", "target"))
"""Pairs that are parts of one data set and labels of another; with folders in them nobody can tell."""

_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder of a path is the label, and which the part; 0 is the first below the root, None says there is none.

    Examples
    --------
    >>> Layout(label=1, split=0).read("train/dog/a.wav"), Layout(label=1, split=0).read("train/a.wav")
    (('dog', 'train'), (None, 'train'))
    """

    label: int | None = 0
    split: int | None = None

    def read(self, name: str) -> tuple[str | None, str | None]:
        """Return the label and the part of a file."""
        folders = name.split("/")[:-1]
        return _at(folders, self.label), _at(folders, self.split)


def _at(folders: Sequence[str], depth: int | None) -> str | None:
    return folders[depth] if depth is not None and depth < len(folders) else None


def is_part(folder: str) -> bool:
    """Say whether a folder is named as parts of data sets are.

    Examples
    --------
    >>> is_part("Train"), is_part("fold_1"), is_part("test_set"), is_part("trains")
    (True, True, True, False)
    """
    return _PARTS.fullmatch(_plain(_A_SET.sub("", folder))) is not None


def _plain(folder: str) -> str:
    return re.sub(r"[\s_-]", "", folder).lower()


def is_like_part(folder: str) -> bool:
    """Say whether a folder is named nearly so: ``train-clean-100``, ``esc_train``, ``test1``."""
    return _LIKE_PARTS.fullmatch(folder) is not None


def find_layout(names: Sequence[str], where: str) -> Layout:
    """Find out whether folders are parts, labels, or parts of labels.

    Parameters
    ----------
    names : sequence of str
        Files relative to the root, with ``/``.
    where : str
        The root, for messages.

    Raises
    ------
    ManifestError
        Some of the folders look like parts, the others do not.

    Examples
    --------
    >>> find_layout(["train/dog/a.wav", "test/dog/b.wav"], "data")
    Layout(label=1, split=0)
    >>> find_layout(["dog/train/a.wav", "dog/test/b.wav"], "data")
    Layout(label=0, split=1)
    """
    folders = {tuple(name.split("/")[:-1]) for name in names}
    for depth in range(_DEEPEST):
        tops = {_at(one, depth) for one in folders}
        deeper = any(len(one) > depth + 1 for one in folders)
        if _are_parts(tops, deeper, where):
            return Layout(label=depth + 1, split=depth)
        if not _is_nested(folders, depth, tops):
            below = {_at(one, depth + 1) for one in folders if len(one) > depth}
            is_split = len(below) > 1 and all(name is not None and is_part(name) for name in below)
            return Layout(label=depth, split=depth + 1) if is_split else Layout()
    return Layout()


def _are_parts(tops: set[str | None], deeper: bool, where: str) -> bool:
    """Say whether the folders of one depth are parts; None stands for files that lie in none of them."""
    _refuse_either(tops, deeper, where)
    parts = sorted(name for name in tops if name is not None and is_part(name))
    if len(parts) < 2 and not (parts and deeper):
        return False
    others = sorted(name for name in tops if name is not None and not is_part(name))
    if len(parts) == 1 and (others or None in tops):
        return False  # one class may be called "train"
    if others or None in tops:
        odd = f"the folder {others[0]!r} does not" if others else "files lie beside them"
        named = shorten(", ".join(map(repr, parts)))
        raise ManifestError(
            f"{where}: the folders {named} look like parts of a data set, but {odd}: a folder is either a part or a "
            "label. Move it away, rename it, or give a CSV with the columns path, label and split"
        )
    return True


def _refuse_either(tops: set[str | None], deeper: bool, where: str) -> None:
    """Refuse ``seen/dog`` and ``unseen/dog``: two labels, or the clips to learn from and those to be tested on."""
    names = {_plain(name): name for name in tops if name is not None}
    pair = next((pair for pair in _EITHER if set(pair) == set(names)), None)
    if pair is not None and deeper and None not in tops:
        one, other = (names[name] for name in pair)
        raise ManifestError(
            f"{where}: the folders {one!r} and {other!r} may be parts of a data set or labels: name them train and "
            "test if they are parts; if they are labels, give a CSV with the columns path and label"
        )


def _is_nested(folders: set[tuple[str, ...]], depth: int, tops: set[str | None]) -> bool:
    """Say whether all files lie in one folder that has parts with labels in it, such as data/train/dog."""
    if len(tops) != 1 or None in tops:
        return False
    below = {_at(one, depth + 1) for one in folders}
    if len(below) == 1 and None not in below:
        return True
    return all(name is not None and is_part(name) for name in below) and any(len(one) > depth + 2 for one in folders)
