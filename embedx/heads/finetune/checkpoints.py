"""A training that can be killed at any time: its state as safetensors and JSON, swapped in whole."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from embedx.errors import CheckpointWarning, ModelFormatError, ParameterError

__all__ = ["Checkpoints"]

_FORMAT = 1
_STATE, _TENSORS = "state.json", "tensors.safetensors"


class Checkpoints:
    """The newest checkpoint of one training, in a folder.

    A checkpoint is written beside the one before and renamed when it is complete, so there is a whole
    one at any moment after the first.

    Parameters
    ----------
    folder : path-like or None
        None keeps none.
    identity : mapping
        What the training is: settings and data. A checkpoint of another training is refused.
    writes : bool
        False in all processes but the first.

    Examples
    --------
    >>> Checkpoints(None, {}).load() is None
    True
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, identity: Mapping[str, Any], *, writes: bool = True
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self.writes, self._warned = writes, False

    def require_folder(self) -> Checkpoints:
        """Make the folder, before anything is trained.

        Raises
        ------
        ParameterError
            It cannot be made.
        """
        try:
            if self.folder is not None and self.writes:
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"no folder for checkpoints can be made at {self.folder} ({error.strerror}): give another place"
            ) from error
        return self

    def save(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bool:
        """Write one checkpoint and remove those before it; say whether that could be done.

        Warns
        -----
        CheckpointWarning
            It could not, for lack of room, say. The one before stays; a training need not end for that.
        """
        if self.folder is None or not self.writes:
            return False
        from safetensors import SafetensorError

        draft = self.folder / ".draft"
        try:
            self._write(draft, state, tensors)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            self._warn(error)
            return False
        return True

    def _write(self, draft: Path, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file

        place = draft.with_name(f"step-{state['attempt']}-{state['step']:09d}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        record = {"format": _FORMAT, "identity": self.identity, "state": state}
        (draft / _STATE).write_text(json.dumps(record), encoding="utf-8")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, draft / _TENSORS)
        _flush(draft)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(draft, place)
        for older in self._found():
            if older != place:
                shutil.rmtree(older, ignore_errors=True)

    def _warn(self, error: Exception) -> None:
        """Say it once: the next checkpoint may find room again."""
        if self._warned:
            return
        self._warned = True
        kept = "the one before is kept" if self._found() else "there is none yet"
        why = getattr(error, "strerror", None) or error
        warnings.warn(
            f"no checkpoint could be written to {self.folder} ({why}): the training goes on, {kept}; make room there",
            CheckpointWarning,
            stacklevel=2,
        )

    def load(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Return the newest state and its tensors; None when there is none.

        Raises
        ------
        ParameterError
            It belongs to another training; the message says what differs.
        ModelFormatError
            It cannot be read.
        """
        found = self._found()
        if not found:
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            record = json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(found[-1] / _TENSORS)
            identity, state, known = record["identity"], record["state"], record["format"] == _FORMAT
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelFormatError(f"checkpoint {found[-1]} cannot be read ({error}): delete it") from error
        if not known:
            raise ModelFormatError(f"checkpoint {found[-1]} is of another format: delete it")
        self._require_same(identity)
        return state, tensors

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else lies in it."""
        if self.folder is None or not self.writes or not self.folder.is_dir():
            return
        for place in [*self._found(), self.folder / ".draft"]:
            shutil.rmtree(place, ignore_errors=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _found(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("step-*-*"))

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        names = sorted({*identity, *self.identity})
        other = [name for name in names if identity.get(name) != self.identity.get(name)]
        if other:
            pairs = ", ".join(
                f"{name} {identity.get(name)!r} there, {self.identity.get(name)!r} here" for name in other
            )
            raise ParameterError(
                f"the checkpoint in {self.folder} belongs to another training ({pairs}): give the same options and "
                "data to resume it, or leave --resume out to start anew"
            )


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
