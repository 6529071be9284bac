"""One reader for every table of clips or links: text becomes a header, and rows that know their lines."""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedx.errors import ManifestError
from embedx.files import special_kind
from embedx.manifest.file_types import is_audio_name
from embedx.manifest.paths import shorten

__all__ = ["Table", "is_data", "parse_table", "read_table", "read_text"]

_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DELIMITERS = ",;\t"
_LONGEST_CELL = 10_000_000
_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Table:
    """A header and rows of as many cells.

    Parameters
    ----------
    place : str
        What holds it, for messages.
    header : tuple of str
        Names of the columns, as written.
    rows : sequence of sequence of str
        Cells as written.
    lines : sequence of int
        Line of the file on which each row begins (2 is the first below a header without line breaks).
    """

    place: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, name: str) -> Iterator[str]:
        """Yield the cells of a column, without space around them."""
        position = self.header.index(name)
        return (row[position].strip() for row in self.rows)

    def with_column(self, name: str, cells: Sequence[str]) -> Table:
        """Return the table with one more column."""
        rows = [[*row, cell] for row, cell in zip(self.rows, cells, strict=True)]
        return Table(self.place, (*self.header, name), rows, self.lines)


def read_table(location: str | os.PathLike[str], *, needs: str = "a path column") -> Table:
    """Read delimited text with a header: comma, semicolon or tab; UTF-8, or UTF-16 with its mark.

    Lines above the header that begin with ``#`` are comments; of several, the last may be the header itself, as in
    the lists of AudioSet. A first line ``sep=;`` is what Excel says of the delimiter.

    Parameters
    ----------
    location : path-like
        The file.
    needs : str
        What the header must have, for messages.

    Raises
    ------
    ManifestError
        Not readable, not text, no header, no rows, a row that is longer than the header, a quote that never ends.
    """
    place = Path(location)
    return parse_table(str(place), read_text(place, needs=needs), needs=needs)


def read_text(place: Path, *, needs: str = "a path column") -> str:
    """Return the text of a file.

    Raises
    ------
    ManifestError
        It is a named pipe, a socket or a device, cannot be read, or is not text.
    """
    kind = special_kind(place, but_streams=True)
    if kind is not None:
        raise ManifestError(f"{place} is {kind}, no file: give a folder of audio or a CSV with {needs}")
    try:
        with place.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if b"\0" in head and head[:2] not in _BOMS:
                raise ManifestError(f"{place} is not text (it has NUL bytes): save it as UTF-8 CSV")
            data = head + file.read()
        return data.decode(_BOMS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ManifestError(f"{place} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except OSError as error:
        raise ManifestError(f"{place} cannot be read: {error.strerror}. Give a CSV with {needs}") from error


def parse_table(place: str, text: str, *, needs: str = "a path column", quoting: int = csv.QUOTE_MINIMAL) -> Table:
    """Read a table from text; see `read_table`."""
    above, delimiter, is_comment = _above_header(text)
    lines = io.StringIO(text, newline="").readlines()[above:]
    if lines and lines[0].lstrip()[:1] in ("{", "["):
        raise ManifestError(f"{place} looks like JSON: save it as CSV, with a header that names {needs}")
    if is_comment:
        lines[0] = lines[0].lstrip().lstrip("#").lstrip()
    rows = list(_rows(place, lines, above, delimiter, quoting, skip_space=is_comment))
    if len(rows) < 2:
        what = "has a header but no rows" if rows else "is empty"
        raise ManifestError(f"{place} {what}: it needs a header with {needs} and one row a clip")
    header = tuple(rows[0][1])
    return Table(
        place, header, [_fitted(place, header, line, cells) for line, cells in rows[1:]], [n for n, _ in rows[1:]]
    )


def _above_header(text: str) -> tuple[int, str, bool]:
    """Return the lines above the header, the delimiter, and whether the header is written as a comment."""
    lines = io.StringIO(text[:100_000], newline="").readlines()
    at = 0
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith("#")):
        at += 1
    if at < len(lines) and lines[at].lower().startswith("sep=") and len(lines[at].strip()) <= 5:
        return at + 1, lines[at].rstrip("\r\n")[4:5] or ",", False
    first = lines[at] if at < len(lines) else ""
    delimiter = max(_DELIMITERS, key=first.count)
    width = first.count(delimiter)
    comment = lines[at - 1] if at and lines[at - 1].startswith("#") else ""
    if comment and 0 < comment.count(delimiter) <= width and is_data(first.split(delimiter)):
        return at - 1, delimiter, True
    return at, delimiter, False


def is_data(cells: Sequence[str]) -> bool:
    """Say whether a line holds what no header does: a number, or the name of a file."""
    plain = [cell.strip().strip('"') for cell in cells]
    return any(cell.replace(".", "", 1).isdigit() or is_audio_name(cell) or "/" in cell for cell in plain)


def _rows(
    place: str, lines: Sequence[str], above: int, delimiter: str, quoting: int, *, skip_space: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its cells; blank lines are none."""
    read = functools.partial(csv.reader, delimiter=delimiter, quoting=quoting, skipinitialspace=skip_space)  # type: ignore[arg-type]
    before = csv.field_size_limit(_LONGEST_CELL)
    begin = end = 0
    try:
        reader = read(lines)
        for cells in reader:
            begin, end = end, reader.line_num
            if cells:
                yield above + begin + 1, cells
        if quoting != csv.QUOTE_NONE:
            list(read(lines[begin:end], strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ManifestError(
                f"{place} row {above + begin + 1}: a quote begins that never ends: delete it, or write it twice"
            ) from error
        if "expected after" not in str(error):  # that is how strictness sees a quote within a cell
            raise ManifestError(f"{place} row {above + end + 1} cannot be read as CSV: {error}") from error
    finally:
        csv.field_size_limit(before)


def _fitted(place: str, header: Sequence[str], line: int, cells: list[str]) -> list[str]:
    """Return as many cells as the header has; a comma that is not quoted shifts what follows it."""
    surplus = [cell for cell in cells[len(header) :] if cell.strip()]
    if surplus:
        raise ManifestError(
            f"{place} row {line}: {shorten(surplus[0])!r} stands beyond the {len(header)} columns of the header. "
            'Write a cell that holds the delimiter in quotes ("a, b")'
        )
    return [*cells[: len(header)], *[""] * (len(header) - len(cells))]
