"""JSON files of a checkpoint's folder, whose fields are checked as they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedx.errors import EncoderError

__all__ = ["Record", "read_record", "refuse_pointer"]

_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Record:
    """A JSON object.

    Parameters
    ----------
    values : mapping
        Its fields.
    path : Path
        The file, for messages.
    name : str
        What the user called the encoder, for messages.
    """

    values: Mapping[str, Any]
    path: Path
    name: str

    def number(self, field: str, low: int, high: int, *, default: int | None = None) -> int:
        """Return a whole number.

        Raises
        ------
        EncoderError
            The field holds another thing, or lacks and has no default.
        """
        value = self.values.get(field, default)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(field, f"a whole number from {low} to {high}")
        return value

    def require(self, field: str, allowed: Mapping[str, Any] | tuple[Any, ...], *, default: Any = None) -> Any:
        """Return a value that is one of those allowed.

        Raises
        ------
        EncoderError
            It is none of them.
        """
        value = self.values.get(field, default)
        if type(value) not in {type(one) for one in allowed} or value not in allowed:
            raise self.wrong(field, " or ".join(map(repr, allowed)))
        return value

    def part(self, field: str) -> Record:
        """Return the object that a field holds; an empty one where it is absent."""
        value = self.values.get(field, {})
        if not isinstance(value, dict):
            raise self.wrong(field, "an object")
        return Record(value, self.path, self.name)

    def wrong(self, field: str, need: str) -> EncoderError:
        """Return the error that says what a field holds, and what is needed."""
        got = str(self.values.get(field))[:40]
        return EncoderError(f"encoder {self.name!r}: {self.path} says {field} is {got!r}: {need} is needed")


def read_record(path: Path, name: str) -> Record:
    """Read a file.

    Parameters
    ----------
    path : Path
        JSON.
    name : str
        What the user called the encoder, for messages.

    Raises
    ------
    EncoderError
        It cannot be read, or is no JSON object.
    """
    if path.is_file():
        refuse_pointer(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(
            f"encoder {name!r}: {path} cannot be read ({error}); a folder of a checkpoint holds "
            "config.json, processor_config.json or preprocessor_config.json, and model.safetensors"
        ) from error
    if not isinstance(record, dict):
        raise EncoderError(f"encoder {name!r}: {path} is no JSON object")
    return Record(record, path, name)


def refuse_pointer(path: Path) -> None:
    """Refuse what Git LFS leaves in the place of a file.

    Raises
    ------
    EncoderError
        It is a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise EncoderError(
                f"{path} is a Git LFS pointer, not the file: run `git lfs pull` in that folder, or download it again"
            )
