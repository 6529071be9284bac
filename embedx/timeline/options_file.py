"""The file of chosen options: what ``embedx evaluate --choose`` writes and ``--timeline-options`` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embedx.errors import ParameterError
from embedx.files import replace_file
from embedx.timeline.segments import SegmentOptions

__all__ = ["OptionsFile"]

_FORMAT = "embedx.timeline-options"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsFile:
    """How a model reads recordings, and what that was chosen on.

    Parameters
    ----------
    options : SegmentOptions
        How probabilities become segments.
    window_seconds, hop_seconds : float
        Windows that they were chosen with.
    one_pass : bool
        As in `RecordingReader`.
    trained_on : str
        What the model learned from: the hash in its record.
    chosen_on : tuple of str
        sha256 of the recordings that the options were chosen on, in hex.
    facts : mapping
        By what they were chosen, and what that was worth.

    Examples
    --------
    >>> import tempfile
    >>> made = OptionsFile(options=SegmentOptions(high=0.7), window_seconds=1.0, hop_seconds=0.25)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made.save(f"{folder}/options.json")
    ...     OptionsFile.read(f"{folder}/options.json") == made
    True
    """

    options: SegmentOptions
    window_seconds: float
    hop_seconds: float
    one_pass: bool = False
    trained_on: str = ""
    chosen_on: Sequence[str] = ()
    facts: Mapping[str, Any] | None = None

    def save(self, place: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        ParameterError
            It cannot be written.
        """
        record = {"format": _FORMAT, "version": 1, **asdict(self)}
        try:
            with replace_file(place) as file:
                file.write(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise ParameterError(f"{os.fspath(place)} cannot be written: {error.strerror}") from error

    @classmethod
    def read(cls, place: str | os.PathLike[str]) -> OptionsFile:
        """Read what `save` wrote.

        Raises
        ------
        ParameterError
            It cannot be read, is no such file, or holds an option that is none.
        """
        name = os.fspath(place)
        try:
            with open(place, encoding="utf-8") as file:
                record = json.load(file)
        except OSError as error:
            raise ParameterError(f"{name} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ParameterError(f"{name} is no JSON: give what embedx evaluate --choose wrote") from error
        if not isinstance(record, dict) or record.pop("format", None) != _FORMAT or record.pop("version", None) != 1:
            raise ParameterError(f"{name} holds no options of time lines: give what embedx evaluate --choose wrote")
        try:
            options = record.pop("options")
            options["leave_out"] = tuple(options["leave_out"])
            return cls(options=SegmentOptions(**options), **{**record, "chosen_on": tuple(record["chosen_on"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ParameterError(f"{name} holds an option that is none ({error}): choose them again") from error
