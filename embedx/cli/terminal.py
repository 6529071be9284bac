"""The one door to the terminal: what others wrote in names and labels is shown, never obeyed."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from embedx.errors import Interrupted

__all__ = ["count", "interrupted_means", "printable", "show"]


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape what a terminal would obey, hide or turn around.

    Control characters (escape sequences, line breaks, tabs, C1), marks that turn the direction of writing, other
    invisible characters and lone surrogates are written as JSON writes them, so a line of JSON stays the same JSON.

    Parameters
    ----------
    text : str
        What is to be shown.
    keep : str
        Characters that stay as they are.

    Examples
    --------
    >>> print(printable("dog \x1b[31m\n\u202e"))
    dog \u001b[31m\n\u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


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
    if stream is None:  # a process without that stream
        return
    line = printable(" ".join(map(str, words)), keep="\t")
    stream.write(_encodable(line, getattr(stream, "encoding", None) or "utf-8") + "\n")
    if flush:
        stream.flush()


def _encodable(line: str, encoding: str) -> str:
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else _escape(c) for c in line)
    return line


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Say how many there are of something.

    Parameters
    ----------
    n : int
        How many.
    noun : str
        One of them.
    plural : str, optional
        Several of them, where an s does not do.

    Examples
    --------
    >>> count(1, "clip"), count(1200, "clip"), count(2, "class", "classes")
    ('1 clip', '1,200 clips', '2 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


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
