"""What any message needs: counted nouns, and names of others shown without obeying them."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable

__all__ = ["as_code", "as_html", "as_size", "count", "escape", "first_line", "printable"]


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


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text that says something, or the error's name.

    Examples
    --------
    >>> first_line(ValueError("\nAll 2 fits failed.\nBelow are details")), first_line(KeyError())
    ('All 2 fits failed.', 'KeyError')
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def describe_error(error: BaseException) -> str:
    """Return the name of an error and the first line of its text, if it has any.

    Examples
    --------
    >>> describe_error(ValueError("no number")), describe_error(KeyError())
    ('ValueError: no number', 'KeyError')
    """
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


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
    return "".join(c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else escape(c) for c in text)


def escape(character: str) -> str:
    """Write a character as JSON does."""
    return json.dumps(character)[1:-1]


def as_size(n_bytes: float) -> str:
    """Say how large something is.

    Examples
    --------
    >>> as_size(512), as_size(2_072_000_000)
    ('512 bytes', '2.072 GB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.4g} GB"


def as_code(text: str) -> str:
    r"""Return text as a code span of Markdown, in which nothing of it is obeyed: no HTML, link or mark-up.

    Examples
    --------
    >>> as_code("dog_bark"), as_code("a `b` <script>"), as_code("two\nlines")
    ('`dog_bark`', '``a `b` <script>``', '`two\\nlines`')
    """
    shown = printable(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    room = " " if not shown.strip() or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{room}{shown}{room}{fence}"


def as_html(caption: str, rows: Iterable[Iterable[object]], *, header: Iterable[str] = ()) -> str:
    """Return a table for a notebook, everything in it escaped.

    Examples
    --------
    >>> as_html("Recipe", [("encoder", "<tiny>")])
    '<table><caption>Recipe</caption><tr><td>encoder</td><td>&lt;tiny&gt;</td></tr></table>'
    """

    def row(cells: Iterable[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(printable(str(cell)))}</{tag}>' for cell in cells)}</tr>"

    names = [*header]
    lines = [row(names, "th")] * bool(names) + [row(cells, "td") for cells in rows]
    return f"<table><caption>{html.escape(printable(caption))}</caption>{''.join(lines)}</table>"
