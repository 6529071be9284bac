"""A comparison as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from embedx.comparison import Comparison, Row
from embedx.evaluation.metrics import METRICS
from embedx.report.encoder_costs import describe_head, header_of_costs, shown_cost, store_costs
from embedx.text import printable

__all__ = [
    "as_csv",
    "describe_embedding",
    "escape_markdown",
    "finite",
    "in_columns",
    "json_pieces",
    "markdown_table",
    "render_csv",
    "render_json",
    "render_markdown",
    "render_predictions",
    "render_text",
    "wrapped",
    "write_predictions",
]


_PERCENT = ("accuracy", "balanced_accuracy", "macro_f1")
_TERMINAL = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")


def render_text(comparison: Comparison, *, width: int = 100) -> str:
    """Return the table and its verdict for a terminal: columns in line, sentences wrapped.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    width : int
        Columns of the terminal.
    """
    header = ["head", "accuracy, %", "95 % interval", "balanced", "macro F1", "log-loss", "calibration", "seconds"]
    table = in_columns([header, *(_terminal_cells(row) for row in comparison.rows)])
    costs = store_costs(comparison)
    if costs:
        title = f"Encoders, with {describe_head(comparison)}:"
        table += ["", *wrapped(title, width, ""), *in_columns([header_of_costs(), *map(shown_cost, costs)])]
    facts = comparison.facts
    apart = [*wrapped(describe_embedding(facts), width, ""), ""] if facts["embedding_seconds"] else []
    said = [line for sentence in comparison.verdict for line in wrapped(sentence, width, "- ")]
    notes = [line for note in comparison.notes for line in wrapped(f"Note: {note}", width, "! ")]
    lines = [*table, "", *apart, *said, *(["", *notes] if notes else [])]
    return "\n".join(printable(line) for line in lines) + "\n"


def in_columns(cells: list[list[str]]) -> list[str]:
    """Return the lines of a table, the first of them its header."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    table = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]
    return [table[0], "-" * len(table[0]), *table[1:]]


def _terminal_cells(row: Row) -> list[str]:
    scores, bounds = row.scores, row.intervals.get("accuracy")
    between = "-" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
    shown = [f"{100 * scores[n]:.1f}" if n in _PERCENT else f"{scores[n]:.3f}" for n in _TERMINAL]
    return [row.title, shown[0], between, *shown[1:], f"{row.seconds:.1f}"]


def wrapped(text: str, width: int, mark: str) -> list[str]:
    """Return the lines of a sentence, a mark ahead of the first and as much space ahead of the others."""
    return textwrap.wrap(text, width, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)


def render_markdown(comparison: Comparison) -> str:
    """Return the table and its verdict, ready for a README."""
    header = ["head", *METRICS.values(), "seconds", "peak MB"]
    lines = markdown_table([header, *map(_cells, comparison.rows)])
    costs = store_costs(comparison)
    if costs:
        cells = [[escape_markdown(one.name), *shown_cost(one)[1:]] for one in costs]
        lines += ["", f"Encoders, with {escape_markdown(describe_head(comparison))}:", ""]
        lines += markdown_table([header_of_costs(), *cells])
    apart = (
        [] if not comparison.facts["embedding_seconds"] else ["", escape_markdown(describe_embedding(comparison.facts))]
    )
    words = ["", *(f"- {escape_markdown(sentence)}" for sentence in comparison.verdict)]
    notes = ["", "Notes:", "", *(f"- {escape_markdown(note)}" for note in comparison.notes)] if comparison.notes else []
    return "\n".join([*lines, *apart, *words, *notes]) + "\n"


def describe_embedding(facts: Mapping[str, Any]) -> str:
    """Return what embedding took, apart from the seconds of the heads."""
    seconds, audio = facts["embedding_seconds"], facts["audio_seconds"]
    if not seconds:
        return "Embedding: the seconds are not recorded in the store."
    told = [
        f"{name + ' ' if name else ''}{value:.1f} s ({audio / max(value, 1e-9):.0f} x real time)"
        for name, value in seconds.items()
    ]
    return f"Embedding {audio:.0f} s of audio took {', '.join(told)}, once, apart from the seconds of the heads."


def markdown_table(cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table, its header first."""
    return [_line(cells[0]), _line(["---"] + ["--:"] * (len(cells[0]) - 1)), *map(_line, cells[1:])]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line."""
    flat = " ".join(str(text).split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, "\\" + sign)
    return flat


def _cells(row: Row) -> list[str]:
    cells = [escape_markdown(row.title)]
    for name in METRICS:
        value, bounds = row.scores[name], row.intervals.get(name)
        cells.append(_number(value, bounds, percent=name in _PERCENT))
    peak = row.peak_bytes
    return [*cells, f"{row.seconds:.1f}", "" if peak is None else f"{peak / 1e6:.0f}"]


def _number(value: float, bounds: tuple[float, float] | None, *, percent: bool) -> str:
    factor, digits = (100, 1) if percent else (1, 3)
    text = f"{factor * value:.{digits}f}"
    if bounds is None:
        return text
    return f"{text} ({factor * bounds[0]:.{digits}f} to {factor * bounds[1]:.{digits}f})"


def render_csv(comparison: Comparison) -> str:
    """Return one line a row and metric-with-bounds columns."""
    names = [column for name in METRICS for column in (name, f"{name}_low", f"{name}_high")]
    header = ["row", "kind", "head", "store", *names, "seconds", "peak_bytes"]
    return as_csv([header, *(_csv_cells(row) for row in comparison.rows)])


def _csv_cells(row: Row) -> list[Any]:
    cells: list[Any] = [row.name, row.kind, row.head, row.store]
    for name in METRICS:
        low, high = row.intervals.get(name, ("", ""))
        cells += [row.scores[name], low, high]
    return [*cells, round(row.seconds, 4), "" if row.peak_bytes is None else row.peak_bytes]


def as_csv(rows: Any) -> str:
    """Return rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def render_predictions(comparison: Comparison) -> str:
    """Return every clip, every head, every fold: what was said, how surely, and whether it is right."""
    out = io.StringIO()
    write_predictions(comparison, out)
    return out.getvalue()


def write_predictions(comparison: Comparison, stream: IO[str]) -> None:
    """Write what `render_predictions` returns row by row: with many clips and classes it does not fit into memory.

    Names and labels are written as they are; a cell that begins with ``=``, ``+``, ``-`` or ``@`` is a formula to a
    spreadsheet unless the column is imported as text.
    """
    header = ["clip", "label", "group", "row", "fold", "repeat", "predicted", "confidence", "correct"]
    header += [f"p_{name}" for name in comparison.classes]
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(header)
    lines.writerows(_prediction_rows(comparison))


def _prediction_rows(comparison: Comparison) -> Iterator[list[Any]]:
    classes = comparison.classes
    for name, proba in comparison.proba.items():
        for repeat, once in enumerate(proba):
            for i, source in enumerate(comparison.sources):
                if np.isnan(once[i, 0]):
                    continue
                said = int(once[i].argmax())
                group = "" if comparison.groups is None else comparison.groups[i]
                facts = [source.id, source.label, group, name, comparison.fold_of[repeat, i], repeat]
                right = int(classes[said] == source.label)
                yield [*facts, classes[said], f"{once[i, said]:.5f}", right, *(f"{p:.5f}" for p in once[i])]


def render_json(comparison: Comparison) -> str:
    """Return everything but the predictions, schema versioned; not-a-number becomes null."""
    return "".join(json_pieces(comparison.to_dict(), indent=1)) + "\n"


def json_pieces(value: Any, **options: Any) -> Iterable[str]:
    """Give JSON piece by piece, pure ASCII but for what ``ensure_ascii=False`` lets through."""
    return json.JSONEncoder(**{"ensure_ascii": False, **options}, allow_nan=False).iterencode(finite(value))


def finite(value: Any) -> Any:
    """Return plain values for JSON: arrays as numbers, not-a-number as null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
