"""One self-contained page that works offline: tables, plots, a map, and recordings to listen to."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from embedx.comparison import Comparison
from embedx.dataset import Dataset
from embedx.report.payload import build_payload
from embedx.report.tables import finite

__all__ = ["render_html"]

_SCRIPTS = ("base.js", "table.js", "charts.js", "map.js")


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
    payload = build_payload(comparison, dataset, findings=findings, page_folder=page_folder)
    template = files("embedx.report") / "template"
    read = {name: (template / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *_SCRIPTS)}
    return Template(read["page.html"]).substitute(
        title=html.escape(payload["headline"]),
        style=read["style.css"],
        script="\n".join(read[name] for name in _SCRIPTS),
        data=_script_json(payload),
    )


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, whatever strangers wrote."""
    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
