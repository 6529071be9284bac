"""A comparison of several labels a clip as Markdown, CSV and text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from embedx.comparison import MultiLabelComparison, Row
from embedx.evaluation.multi_label_metrics import MULTI_LABEL_METRICS
from embedx.manifest import join_classes
from embedx.report.tables import as_csv, describe_embedding, escape_markdown, in_columns, markdown_table, wrapped
from embedx.text import printable

__all__ = [
    "CLASS_COLUMNS",
    "class_rows",
    "render_set_csv",
    "render_set_markdown",
    "render_set_text",
    "shown_cells",
    "write_set_predictions",
]

CLASS_COLUMNS = {
    "n_clips": "clips",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision",
    "roc_auc": "ROC-AUC",
}
"""What is shown of each class, and what a table prints."""

HEADER = ("head", "macro F1, %", "95 % interval", "micro F1", "mAP", "ROC-AUC", "seconds")


def shown_cells(row: Row) -> list[str]:
    """Return a row's line of the table as text."""
    bounds = row.intervals.get("macro_f1")
    between = "-" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
    first, *others = (row.scores[name] for name in MULTI_LABEL_METRICS)
    percents = [f"{100 * value:.1f}" for value in others]
    return [row.title, f"{100 * first:.1f}", between, *percents, f"{row.seconds:.1f}"]


def class_rows(comparison: MultiLabelComparison, name: str) -> list[list[str]]:
    """Return a line for each class of one row, as text; a dash where there is nothing to score."""
    return [
        [label, *("-" if one[column] is None else _number(one[column]) for column in CLASS_COLUMNS)]
        for label, one in comparison.class_scores[name].items()
    ]


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{100 * value:.1f}"


def render_set_text(comparison: MultiLabelComparison, *, width: int = 100) -> str:
    """Return the table, that of the best head's classes, and the verdict for a terminal."""
    table = in_columns([list(HEADER), *map(shown_cells, comparison.rows)])
    best = comparison.best
    each = in_columns([["class", *CLASS_COLUMNS.values()], *class_rows(comparison, best.name)])
    facts = comparison.facts
    apart = [*wrapped(describe_embedding(facts), width, ""), ""] if facts["embedding_seconds"] else []
    said = [line for sentence in comparison.verdict for line in wrapped(sentence, width, "- ")]
    notes = [line for note in comparison.notes for line in wrapped(f"Note: {note}", width, "! ")]
    title = f"Classes, with {best.title} (percent):"
    lines = [*table, "", title, *each, "", *apart, *said, *(["", *notes] if notes else [])]
    return "\n".join(printable(line) for line in lines) + "\n"


def render_set_markdown(comparison: MultiLabelComparison) -> str:
    """Return the tables and the verdict, ready for a README."""
    best = comparison.best
    rows = [[escape_markdown(row.title), *shown_cells(row)[1:]] for row in comparison.rows]
    each = [[escape_markdown(line[0]), *line[1:]] for line in class_rows(comparison, best.name)]
    lines = markdown_table([list(HEADER), *rows])
    lines += ["", f"Classes, with {escape_markdown(best.title)} (percent):", ""]
    lines += markdown_table([["class", *CLASS_COLUMNS.values()], *each])
    lines += ["", *(f"- {escape_markdown(sentence)}" for sentence in comparison.verdict)]
    notes = ["", "Notes:", "", *(f"- {escape_markdown(note)}" for note in comparison.notes)]
    return "\n".join([*lines, *(notes if comparison.notes else [])]) + "\n"


def render_set_csv(comparison: MultiLabelComparison) -> str:
    """Return one line a row, with each metric and its bounds."""
    names = [column for name in MULTI_LABEL_METRICS for column in (name, f"{name}_low", f"{name}_high")]
    lines: list[list[Any]] = [["row", "kind", "head", "store", *names, "seconds", "peak_bytes"]]
    for row in comparison.rows:
        cells: list[Any] = [row.name, row.kind, row.head, row.store]
        for name in MULTI_LABEL_METRICS:
            cells += [row.scores[name], *row.intervals.get(name, ("", ""))]
        lines.append([*cells, round(row.seconds, 4), "" if row.peak_bytes is None else row.peak_bytes])
    return as_csv(lines)


def write_set_predictions(comparison: MultiLabelComparison, stream: IO[str]) -> None:
    """Write every clip, head and repetition: the set that was given, whether it is the whole one, and probabilities."""
    lines = csv.writer(stream, lineterminator="\n")
    header = ["clip", "label", "group", "row", "fold", "repeat", "given", "correct"]
    lines.writerow([*header, *(f"p_{name}" for name in comparison.classes)])
    lines.writerows(_prediction_rows(comparison))


def _prediction_rows(comparison: MultiLabelComparison) -> Iterator[list[Any]]:
    names = np.array(comparison.classes)
    for row, proba in comparison.proba.items():
        for repeat, once in enumerate(proba):
            for i, source in enumerate(comparison.sources):
                if np.isnan(once[i, 0]):
                    continue
                given = join_classes(map(str, names[comparison.given[row][repeat, i]]), comparison.separator)
                group = "" if comparison.groups is None else comparison.groups[i]
                facts = [source.id, source.label, group, row, comparison.fold_of[repeat, i], repeat]
                yield [*facts, given, int(given == source.label), *(f"{p:.5f}" for p in once[i])]
