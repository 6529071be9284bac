"""Several labels a clip: a set of classes as one text, and the tables that hold such sets."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from embedx.errors import ManifestError, ParameterError, unknown_name
from embedx.manifest.paths import shorten
from embedx.manifest.table import Table

__all__ = [
    "DEFAULT_SEPARATOR",
    "as_set",
    "choose_separator",
    "describe_sets",
    "join_classes",
    "read_class_columns",
    "require_separator",
    "split_classes",
    "with_usual_label",
]

DEFAULT_SEPARATOR = "|"
_LONGEST_SEPARATOR = 8
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_USUAL = ("labels", "tags", "classes")


def require_separator(separator: object) -> str:
    """Refuse what cannot stand between the classes of a clip.

    Raises
    ------
    ParameterError
        It is no text of one to eight signs, or one of them is a letter, a digit or blank.
    """
    good = isinstance(separator, str) and 0 < len(separator) <= _LONGEST_SEPARATOR and separator.isprintable()
    if not good or any(sign.isalnum() or sign.isspace() for sign in str(separator)):
        raise ParameterError(
            f"label_separator={separator!r:.40}: it stands between the classes of a clip, so give one to "
            f"{_LONGEST_SEPARATOR} signs that are no letters, digits or blanks, such as '|' or ';'"
        )
    return str(separator)


def choose_separator(
    label_separator: str | None, label_columns: object = None, multi_label: bool = False
) -> str | None:
    """Return what stands between the classes of a clip, None where a clip has one label.

    Any of the three asks for several labels a clip.

    Examples
    --------
    >>> choose_separator(None), choose_separator(None, multi_label=True), choose_separator(";")
    (None, '|', ';')
    """
    if label_separator is not None:
        return require_separator(label_separator)
    return DEFAULT_SEPARATOR if multi_label or label_columns else None


def split_classes(text: str, separator: str) -> tuple[str, ...]:
    """Return the classes that a label names, sorted, each once; none for the separator alone.

    Examples
    --------
    >>> split_classes("rain | dog|rain", "|"), split_classes("|", "|")
    (('dog', 'rain'), ())
    """
    return tuple(sorted({name.strip() for name in text.split(separator)} - {""}))


def join_classes(classes: Iterable[str], separator: str) -> str:
    """Return a set of classes as the one text that stands for it: sorted; the separator alone for the empty set.

    Examples
    --------
    >>> join_classes(["rain", "dog"], "|"), join_classes([], "|")
    ('dog|rain', '|')
    """
    return separator.join(sorted(set(classes))) or separator


def as_set(text: str | None, separator: str) -> str | None:
    """Return a label as `join_classes` writes it; None says still that nothing is known.

    Examples
    --------
    >>> as_set("rain|dog|", "|"), as_set(None, "|")
    ('dog|rain', None)
    """
    return None if text is None else join_classes(split_classes(text, separator), separator)


def with_usual_label(table: Table, wanted: Mapping[str, str | None]) -> dict[str, str | None]:
    """Let a column such as ``labels`` be the label where none is named and no ``label`` is there."""
    names = {name.strip().lower(): name for name in reversed(table.header)}
    found = next((names[name] for name in _USUAL if name in names), None)
    guessed = found if wanted.get("label") is None and "label" not in names else wanted.get("label")
    return {**wanted, "label": guessed}


def read_class_columns(
    table: Table, wanted: Mapping[str, str | None], columns: str | Sequence[str], separator: str
) -> tuple[Table, dict[str, str | None]]:
    """Make one label column of a table that has a 0/1 column for each class.

    Parameters
    ----------
    table : Table
        The table.
    wanted : mapping of str to str or None
        Column by role, as asked for.
    columns : str or sequence of str
        Names with commas, or a list of names; ``*`` and ``?`` stand for any signs.
    separator : str
        What stands between the classes.

    Returns
    -------
    Table, dict
        The table with one column in the place of these, and ``wanted`` with that column as the label. A row in which
        all of them are empty has no label; one of zeros has the empty set.

    Raises
    ------
    ManifestError
        No such column, a name that holds the separator, a cell that is neither 0 nor 1, or a label column as well.
    """
    if wanted.get("label"):
        raise ManifestError(f"{table.place}: --label-column and --label-columns both name the labels: name one of them")
    names = _chosen(table, columns)
    odd = next((name for name in names if separator in name or not name.strip()), None)
    if odd is not None:
        raise ManifestError(
            f"{table.place}: the class {odd!r} holds the separator {separator!r}: give another one with "
            "--label-separator"
        )
    positions = [table.header.index(name) for name in names]
    cells = [
        _joined(
            table.place, line, {name: row[at].strip() for name, at in zip(names, positions, strict=True)}, separator
        )
        for line, row in zip(table.lines, table.rows, strict=True)
    ]
    kept = [at for at in range(len(table.header)) if at not in positions]
    rest = Table(
        table.place, tuple(table.header[at] for at in kept), [[r[at] for at in kept] for r in table.rows], table.lines
    )
    title = shorten(",".join(names))
    return rest.with_column(title, cells), {**wanted, "label": title}


def _chosen(table: Table, columns: str | Sequence[str]) -> list[str]:
    """Return the columns that are named, in the order of the table."""
    asked = [name.strip() for name in (columns.split(",") if isinstance(columns, str) else columns) if name.strip()]
    found: set[str] = set()
    for name in asked:
        matched = {name} & set(table.header) or {one for one in table.header if fnmatch.fnmatchcase(one, name)}
        if not matched:
            raise ManifestError(f"{table.place}: {unknown_name('column', name, table.header)}")
        found |= matched
    if not found:
        raise ManifestError(f"{table.place}: --label-columns names no column: give one for each class")
    twice = next((name for name in sorted(found) if table.header.count(name) > 1), None)
    if twice is not None:
        raise ManifestError(f"{table.place} has several columns {twice!r}: rename one")
    return [name for name in table.header if name in found]


def _joined(place: str, line: int, cells: Mapping[str, str], separator: str) -> str:
    if not any(cells.values()):
        return ""
    for name, cell in cells.items():
        if cell.lower() not in (*_YES, *_NO):
            what = "is empty beside others that are not" if not cell else f"holds {shorten(cell)!r}"
            raise ManifestError(
                f"{place} row {line}, column {name!r}: it {what}. Write 1 where the class is heard, else 0"
            )
    return join_classes((name for name, cell in cells.items() if cell.lower() in _YES), separator)


def describe_sets(labels: Iterable[str | None]) -> str:
    """Say that labels look like sets of classes that are taken for single ones; empty when they do not.

    Examples
    --------
    >>> describe_sets(["dog", "rain", "dog|rain"])
    "1 label joins others by '|' ('dog|rain') and is learned as a class of its own: if a clip can have several labels, \
say so with --label-separator '|'"
    """
    known = {label for label in labels if label is not None}
    joined = sorted(label for label in known if DEFAULT_SEPARATOR in label and _is_join(label, known))
    if not joined:
        return ""
    many = f"{len(joined):,} labels join others" if len(joined) > 1 else "1 label joins others"
    verb = "are learned as classes of their own" if len(joined) > 1 else "is learned as a class of its own"
    return (
        f"{many} by '|' ({joined[0][:80]!r}) and {verb}: if a clip can have several labels, say so with "
        "--label-separator '|'"
    )


def _is_join(label: str, known: set[str]) -> bool:
    names = split_classes(label, DEFAULT_SEPARATOR)
    return label == DEFAULT_SEPARATOR or (len(names) > 1 and any(name in known for name in names))
