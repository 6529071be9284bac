"""What is found, one line each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what is there.

    Parameters
    ----------
    section, name : str
        Where it belongs, and what was looked at.
    value : str
        What was found.
    level : {"ok", "note", "problem"}
        A problem keeps embedx from working; a note says what is not there and may be wanted.
    advice : str
        One line: what to do.
    """

    section: str
    name: str
    value: str
    level: str = "ok"
    advice: str = ""
