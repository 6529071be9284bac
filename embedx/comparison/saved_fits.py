"""Finished fits on disk: a comparison that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from embedx.comparison.fold_fitting import Candidate, FoldFit
from embedx.comparison.provenance import PACKAGES, data_hash
from embedx.dataset import Dataset
from embedx.evaluation.splits import Fold
from embedx.files import replace_file
from embedx.versions import installed_versions

__all__ = ["KeptFits", "list_fits"]

_FIT_NAME = re.compile(r"[0-9a-f]{32}\.npz")
_FACTS = ("seconds_fit", "seconds_predict", "peak_bytes", "chosen", "history", "epochs")


def list_fits(folder: Path) -> list[Path]:
    """Return the files of a folder that hold a finished fit."""
    return [path for path in folder.glob("*.npz") if _FIT_NAME.fullmatch(path.name)]


class KeptFits:
    """A folder of fits, one file each, named by everything that a fit follows from.

    Parameters
    ----------
    folder : path-like or None
        Made when the first fit is written; None keeps nothing.
    stores : mapping of str to Dataset
        What is compared.
    """

    def __init__(self, folder: str | PathLike[str] | None, stores: Mapping[str, Dataset]) -> None:
        self.folder = None if folder is None else Path(folder)
        self._versions = installed_versions(PACKAGES)
        self._data = {} if folder is None else {name: _identity(one) for name, one in stores.items()}

    def place(self, candidate: Candidate, fold: Fold, seed: int) -> Path | None:
        """Return the file of a fit; None where nothing is kept, or where the head cannot be told from another."""
        if self.folder is None:
            return None
        try:
            learn = joblib.hash(candidate.learn)
        except Exception:  # pickling a head of the user's may raise anything
            return None
        facts = [self._versions, self._data[candidate.store], str(candidate.name), learn, seed]
        cut = [hashlib.sha256(part.astype(np.int64).tobytes()).hexdigest() for part in (fold.train, fold.test)]
        return self.folder / (hashlib.sha256(json.dumps([*facts, *cut]).encode()).hexdigest()[:32] + ".npz")

    def read(self, place: Path | None) -> FoldFit | None:
        """Return a fit that was kept, None where there is none that can be read."""
        if place is None or not place.is_file():
            return None
        try:
            with np.load(place, allow_pickle=False) as found:
                facts = json.loads(str(found["facts"]))
                return FoldFit(proba=found["proba"], **{**facts, **{n: tuple(facts[n]) for n in ("history", "epochs")}})
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def write(self, place: Path | None, fit: FoldFit) -> None:
        """Keep a fit, if its facts are plain values and the disk has room: a comparison does not end for this."""
        if place is None:
            return
        try:
            facts = json.dumps({name: getattr(fit, name) for name in _FACTS}, default=_plain)
            os.makedirs(place.parent, exist_ok=True)
            with replace_file(place, "wb") as file:
                np.savez(file, proba=fit.proba, facts=np.array(facts))
        except (OSError, TypeError, ValueError):
            return


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def _identity(dataset: Dataset) -> list[str]:
    sets = [] if dataset.label_separator is None else [f"sets joined by {dataset.label_separator}"]
    return [data_hash(dataset), dataset.recipe.fingerprint(), str(dataset.X.dtype), dataset.root, *sets]
