"""The one reader of predefined splits: which clips are to learn from, to select on, to be tested on, or folds."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedx.errors import DatasetError, SkippedSourcesWarning

__all__ = ["Parts", "read_split"]

_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val"),
    "dev": ("dev", "devel", "development"),
    "test": ("test", "testing", "eval", "evaluation", "holdout", "heldout"),
}
_PART_OF = {name: part for part, names in _NAMES.items() for name in names}
_SHORT = {"tr": "train", "te": "test", "ts": "test", "tt": "test", "va": "valid", "cv": "valid", "dv": "dev"}
_SHORT |= {"t": "train", "e": "test", "v": "valid", "true": "train", "yes": "train", "false": "test", "no": "test"}
"""What may stand for parts, which is for the user to say: a split of these alone is not taken for folds."""
_NEGATIONS = frozenset({"non", "not", "without"})
_EMPTY = ("", "-", "nan", "none", "null", "<na>")
_CLOSE = 0.75


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parts:
    """Where a predefined split puts each clip, as ascending indices.

    Parameters
    ----------
    placed : ndarray of int
        Clips with a value.
    train, valid, test : ndarray of int
        The named parts; empty when the split is one of folds.
    folds : mapping of str to ndarray of int
        Clips of each fold, numbers in their order; empty when the split names parts.
    """

    placed: NDArray[np.intp]
    train: NDArray[np.intp]
    valid: NDArray[np.intp]
    test: NDArray[np.intp]
    folds: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)


def read_split(split: ArrayLike) -> Parts:
    """Read the values of a split column.

    Case, blanks and additions (``train-clean-100``) do not matter. ``dev`` and its like are validation beside a
    ``train`` part, and the training part without one (as in DCASE). When no value names a part, every value is a fold.
    Clips without a value are in no part; a warning counts them.

    Parameters
    ----------
    split : array-like of shape (n,)
        Value of each clip; None or an empty text for none.

    Raises
    ------
    DatasetError
        Values that name no part beside others that do, or that look like misspelt parts.

    Examples
    --------
    >>> parts = read_split(["train", "Test", "train", "dev"])
    >>> parts.train.tolist(), parts.valid.tolist(), parts.test.tolist()
    ([0, 2], [3], [1])
    >>> read_split([2, 10, 2]).folds
    {'2': array([0, 2]), '10': array([1])}
    """
    texts = np.array(["" if value is None else str(value).strip() for value in np.asarray(split, dtype=object)])
    texts[np.isin(np.char.lower(texts), _EMPTY)] = ""
    placed = np.flatnonzero(texts != "")
    _warn_of_empty(len(texts) - len(placed), len(texts))
    names = sorted(set(texts[placed].tolist()), key=_natural)
    meant = {name: _part(name) for name in names}
    _require_known(texts, meant)
    if not any(meant.values()):
        none = placed[:0]
        folds = {name: np.flatnonzero(texts == name) for name in names}
        return Parts(placed=placed, train=none, valid=none, test=none, folds=folds)
    if "train" not in meant.values():
        meant = {name: "train" if part == "dev" else part for name, part in meant.items()}
    found = {part: np.flatnonzero(np.isin(texts, [n for n in names if meant[n] == part])) for part in _NAMES}
    return Parts(
        placed=placed, train=found["train"], valid=np.union1d(found["valid"], found["dev"]), test=found["test"]
    )


def _part(name: str) -> str:
    """Return the part that a name means, empty when it means none, several, or all but one (``non-train``)."""
    words = re.findall(r"[a-z]+", name.lower().replace("held-out", "heldout").replace("hold-out", "holdout"))
    found = {_PART_OF[word] for word in words if word in _PART_OF}
    return found.pop() if len(found) == 1 and not _NEGATIONS.intersection(words) else ""


def _require_known(texts: NDArray[np.str_], meant: Mapping[str, str]) -> None:
    unknown = [name for name, part in meant.items() if not part]
    misspelt = [_nearest(name) for name in unknown]
    if len(unknown) == len(meant) and not (all(misspelt) and len(set(misspelt)) > 1):
        return
    if not unknown:
        return
    shown = ", ".join(f"{name!r} ({(texts == name).sum()} of {len(texts)} clips)" for name in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    known = "; ".join(", ".join(names) for names in _NAMES.values())
    raise DatasetError(
        f"the split has values that name no part: {shown}{more}. Known parts are {known}; or every value is a fold. "
        "Correct the column, or name another one with --split-column"
    )


def _nearest(name: str) -> str:
    """Return the part that a name looks like a slip of or short for, empty when it looks like none."""
    if name.lower() in _SHORT:
        return _SHORT[name.lower()]
    stems = [stem for stem in ("train", "valid", "test", "eval") if name.lower().startswith(stem)]
    near = stems or difflib.get_close_matches(name.lower(), _PART_OF, n=1, cutoff=_CLOSE)
    return _PART_OF[near[0]] if near else ""


def _warn_of_empty(n_empty: int, n: int) -> None:
    if 0 < n_empty < n:
        warnings.warn(
            f"{n_empty} of {n} clips have no value in the split: they are in no part and are left out",
            SkippedSourcesWarning,
            stacklevel=3,
        )


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)
