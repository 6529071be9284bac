"""One self-contained page that works offline: tables, plots, a map, and recordings to listen to."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import IO, Any

from embedx.comparison import Comparison
from embedx.dataset import Dataset
from embedx.report.page_data import build_payload
from embedx.report.tables import json_pieces

__all__ = ["render_html", "write_html"]

_SCRIPTS = ("base.js", "spectrogram.js", "table.js", "charts.js", "map.js")


def render_html(
    comparison: Comparison,
    dataset: Dataset | None = None,
    *,
    findings: Sequence[Mapping[str, Any]] = (),
    page_folder: str | os.PathLike[str] | None = None,
) -> str:
    """Return the report to show to others: one page, no network, every label and file name escaped.

    Parameters
    ----------
    comparison : Comparison
        What is reported.
    dataset : Dataset, optional
        The compared clips, for the map and the recordings.
    findings : sequence of mapping
        What `embedx.inspection.inspect` found, as ``Inspection.to_dict()["findings"]``.
    page_folder : path-like, optional
        Where the page will lie, for links to long recordings.

    Returns
    -------
    str
        HTML. Its content security policy forbids every connection.
    """
    out = io.StringIO()
    write_html(comparison, dataset, out, findings=findings, page_folder=page_folder)
    return out.getvalue()


def write_html(
    comparison: Comparison,
    dataset: Dataset | None,
    stream: IO[str],
    *,
    findings: Sequence[Mapping[str, Any]] = (),
    page_folder: str | os.PathLike[str] | None = None,
) -> None:
    """Write the page that `render_html` returns, piece by piece."""
    payload = build_payload(comparison, dataset, findings=findings, page_folder=page_folder)
    template = files("embedx.report") / "template"
    read = {name: (template / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *_SCRIPTS)}
    before, _, after = read["page.html"].partition("$data")
    fields = {
        "title": html.escape(payload["headline"]),
        "style": read["style.css"],
        "script": "\n".join(read[name] for name in _SCRIPTS),
    }
    stream.write(Template(before).substitute(fields))
    stream.writelines(_script_json(payload))
    stream.write(Template(after).substitute(fields))


def _script_json(value: Any) -> Iterator[str]:
    """Give JSON that cannot end the script element it stands in, whatever stands in names and labels."""
    for piece in json_pieces(value, ensure_ascii=True, separators=(",", ":")):
        yield piece.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
