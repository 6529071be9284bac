"""The one door to the terminal: what others wrote in names and labels is shown, never obeyed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from embedx.errors import Interrupted
from embedx.text import escape, printable

__all__ = [
    "Talk",
    "encodable",
    "interrupted_means",
    "log",
    "show",
    "show_lines",
    "talk",
    "talking",
]


@dataclass(slots=True)
class Talk:
    """How much a run says, and the open log file that has all of it."""

    quiet: bool = False
    verbose: bool = False
    log: int | None = None


talk = Talk()
"""Of this process."""


@contextmanager
def talking(*, quiet: bool, verbose: bool, log_file: str | None) -> Iterator[None]:
    """Say less or more within the block, and append every line with its time to a file.

    Raises
    ------
    OSError
        The log file cannot be opened. That it cannot be written later stops nothing.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    handle = None if log_file is None else os.open(log_file, flags, 0o666)
    talk.quiet, talk.verbose, talk.log = quiet, verbose, handle
    try:
        yield
    finally:
        talk.quiet, talk.verbose, talk.log = False, False, None
        if handle is not None:
            with suppress(OSError):
                os.close(handle)


def log(text: str) -> None:
    """Append a line, or several, to the log file if there is one."""
    if talk.log is None:
        return
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    lines = [f"{now} {printable(line, keep=chr(9))}" for line in text.split("\n") if line.strip()]
    with suppress(OSError):  # a full disk under the log is no reason to stop
        os.write(talk.log, "".join(f"{line}\n" for line in lines).encode())


def show(*words: object, file: TextIO | None = None, flush: bool = False) -> None:
    r"""Print one line, like ``print``, with everything in it made `printable` but tabs.

    A character that the stream's encoding does not have is escaped too.

    Parameters
    ----------
    *words
        Separated by spaces. A line break in one of them is escaped: one call is one line.
    file : text stream, optional
        Standard output by default.
    flush : bool
        Whether the line is to be seen at once.

    Raises
    ------
    OSError
        The stream is full, or its reader is gone.

    Examples
    --------
    >>> show("bad name:", "a\x1b[2J\n.wav")
    bad name: a\u001b[2J\n.wav
    """
    stream = sys.stdout if file is None else file
    log(" ".join(map(str, words)).replace("\n", "\\n"))
    if stream is None:  # a process without that stream
        return
    line = printable(" ".join(map(str, words)), keep="\t")
    stream.write(encodable(line, getattr(stream, "encoding", None) or "utf-8") + "\n")
    if flush:
        stream.flush()


def show_lines(text: str) -> None:
    """Print a text of several lines, each as `show` does; names in it have had their own line breaks escaped."""
    for line in text.split("\n"):
        show(line)


def encodable(line: str, encoding: str) -> str:
    """Return a text as it is, with only those characters escaped that an encoding does not have."""
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else escape(c) for c in line)
    return line


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


@contextmanager
def interrupted_means(what_is_kept: str) -> Iterator[None]:
    """Let Ctrl-C within the block, or the function that this decorates, say what is kept.

    Parameters
    ----------
    what_is_kept : str
        Shown after "interrupted".
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(what_is_kept) from error
