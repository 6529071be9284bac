"""The five files of a comparison, each written whole or not at all, none over a file of another kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from embedx.comparison import Comparison, MultiLabelComparison
from embedx.dataset import Dataset
from embedx.errors import ParameterError
from embedx.files import replace_file, require_replaceable
from embedx.report.html import write_html
from embedx.report.multi_label_page import write_set_html
from embedx.report.multi_label_tables import render_set_csv, render_set_markdown, write_set_predictions
from embedx.report.tables import json_pieces, render_csv, render_markdown, write_predictions

__all__ = ["RESULTS", "require_results_folder", "save_results"]

RESULTS = {
    "comparison.json": b'"schema_version"',
    "comparison.md": b"| head |",
    "comparison.csv": b"row,kind,head,store",
    "predictions.csv": b"clip,label,group,row,fold",
    "report.html": b"<!doctype html>",
}
"""File by file, by what an older one of ours is known."""


def require_results_folder(folder: Path) -> None:
    """Say before the work that results cannot be written, or would replace files that are none.

    Raises
    ------
    ParameterError
        The folder is none or cannot be written; a file in it has the name of a result and other content.
    """
    try:
        for name, mark in RESULTS.items() if folder.is_dir() else ():
            require_replaceable(folder / name, mark)
    except OSError as error:
        raise ParameterError(f"{error.filename}: {error.strerror}. Give another folder with -o") from error


def save_results(
    comparison: Comparison,
    folder: Path,
    dataset: Dataset | None = None,
    *,
    findings: Sequence[Mapping[str, Any]] = (),
    only: Sequence[str] = tuple(RESULTS),
) -> tuple[str, ...]:
    """Write JSON, Markdown, two CSVs and the page; return their names.

    Parameters
    ----------
    comparison : Comparison
        What to write.
    folder : Path
        Made when it is not there.
    dataset : Dataset, optional
        The compared clips: with them the page has a map and players.
    findings : sequence of mapping
        What `embedx.inspection.inspect_data` found, for the page.
    only : sequence of str
        Names of the files to write.

    Raises
    ------
    ParameterError
        They cannot be written, or would replace files of another kind. Each is as it was, or whole.
    """
    writers = {
        "comparison.json": lambda file: _write(file, json_pieces(comparison.to_dict(), indent=1), "\n"),
        "comparison.md": lambda file: file.write(render_markdown(comparison)),
        "comparison.csv": lambda file: file.write(render_csv(comparison)),
        "predictions.csv": lambda file: write_predictions(comparison, file),
        "report.html": lambda file: write_html(comparison, dataset, file, findings=findings, page_folder=folder),
    }
    if isinstance(comparison, MultiLabelComparison):
        sets = comparison
        writers |= {
            "comparison.md": lambda file: file.write(render_set_markdown(sets)),
            "comparison.csv": lambda file: file.write(render_set_csv(sets)),
            "predictions.csv": lambda file: write_set_predictions(sets, file),
            "report.html": lambda file: write_set_html(sets, file),
        }
    require_results_folder(folder)
    try:
        place = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in only:
            place = folder / name
            with replace_file(place, newline="", errors="backslashreplace") as file:
                writers[name](file)
    except OSError as error:
        raise ParameterError(
            f"{place} cannot be written ({error.strerror or error}): make room, or give another folder with -o"
        ) from error
    return tuple(only)


def _write(file: IO[str], pieces: Any, end: str) -> None:
    file.writelines(pieces)
    file.write(end)
