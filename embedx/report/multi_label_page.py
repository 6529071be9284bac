"""The page of a comparison of several labels a clip: tables and a verdict, self-contained, without scripts."""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib.resources import files
from typing import IO

from embedx.comparison import MultiLabelComparison, Row
from embedx.report.multi_label_tables import CLASS_COLUMNS, HEADER, class_rows, shown_cells
from embedx.report.tables import describe_embedding
from embedx.text import printable

__all__ = ["write_set_html"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_WIDTH, _HEIGHT = 140, 18


def write_set_html(comparison: MultiLabelComparison, stream: IO[str]) -> None:
    """Write the report to show to others: one page, no network, every label and file name escaped.

    Parameters
    ----------
    comparison : MultiLabelComparison
        What is reported.
    stream : text file
        Where to.
    """
    style = (files("embedx.report") / "template" / "style.css").read_text(encoding="utf-8")
    title = _text(comparison.headline)
    stream.write(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title} · embedx</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{style}</style></head><body>'
        f'<header class="top"><div class="wrap"><div class="brand">embedx report</div><h1>{title}</h1>'
        f'<p class="sub">{_text(_subline(comparison))}</p></div></header><main class="wrap">'
    )
    stream.write(_card("Verdict", _list(comparison.verdict, "verdict") + _notes(comparison)))
    stream.write(
        _card("Heads on the same folds", f'<p class="hint">{_text(_hint(comparison))}</p>' + _heads(comparison))
    )
    for row in (one for one in comparison.rows if one.kind != "baseline"):
        lines = class_rows(comparison, row.name)
        stream.write(_card(f"Classes, with {row.title} (percent)", _table(["class", *CLASS_COLUMNS.values()], lines)))
    tests = [
        [
            f"{comparison[test.a].title} against "
            + ("guessing" if test.family == "baseline" else comparison[test.b].title),
            f"{100 * test.difference:+.1f}",
            "-" if test.interval is None else f"{100 * test.interval[0]:.1f} to {100 * test.interval[1]:.1f}",
            f"{test.p_value:.4f}",
            f"{test.p_holm:.4f}",
            "real" if test.is_real else "within chance",
            test.method,
        ]
        for test in comparison.tests
    ]
    header = ["pair", "points of macro F1", "95 % interval", "p", "p (Holm)", "", "test"]
    stream.write(_card("Tests, pair by pair", _table(header, tests)))
    stream.write(_card("Where this came from", _facts(comparison)))
    stream.write("</main></body></html>\n")


def _text(text: object) -> str:
    return html.escape(printable(str(text)))


def _card(title: str, body: str) -> str:
    return f'<section class="card"><h2>{_text(title)}</h2>{body}</section>'


def _list(items: Iterable[str], kind: str) -> str:
    return f'<ul class="{kind}">{"".join(f"<li>{_text(item)}</li>" for item in items)}</ul>'


def _notes(comparison: MultiLabelComparison) -> str:
    return "".join(f'<p class="note">{_text(note)}</p>' for note in comparison.notes)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]], *, last: Iterable[str] = ()) -> str:
    """Return a table; ``last`` holds a cell of HTML for the end of each row."""
    pictures = iter(last)
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in header)
    lines = (f"<tr>{''.join(f'<td>{_text(c)}</td>' for c in row)}{next(pictures, '')}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table, scrolls sideways"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _heads(comparison: MultiLabelComparison) -> str:
    pictures = [f"<td>{_interval(row)}</td>" for row in comparison.rows]
    return _table([*HEADER, "0 to 100 %"], map(shown_cells, comparison.rows), last=pictures)


def _interval(row: Row) -> str:
    """Return a dot for macro F1 between 0 and 1, and its interval."""

    def x(value: float) -> str:
        return f"{6 + value * (_WIDTH - 12):.1f}"

    middle = _HEIGHT // 2
    low, high = row.intervals.get("macro_f1", (row.scores["macro_f1"],) * 2)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="macro F1 {100 * row.scores["macro_f1"]:.1f} %">'
        f'<line x1="{x(0)}" x2="{x(1)}" y1="{middle}" y2="{middle}" stroke="var(--line)"/>'
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}" stroke="var(--accent)" stroke-width="6" '
        'stroke-linecap="round" opacity="0.35"/>'
        f'<circle cx="{x(row.scores["macro_f1"])}" cy="{middle}" r="4.5" fill="var(--accent)"/></svg>'
    )


def _subline(comparison: MultiLabelComparison) -> str:
    facts = comparison.facts
    encoders = ", ".join(dict.fromkeys(recipe["encoder"] for recipe in facts["recipes"].values()))
    return (
        f"Embeddings of {encoders}, {facts['audio_seconds'] / 60:.1f} minutes of audio, {facts['n_clips']} clips, "
        f"{len(comparison.classes)} classes, {facts['labels_a_clip']:.2f} a clip, {facts['created'][:10]}"
    )


def _hint(comparison: MultiLabelComparison) -> str:
    what = "clips" if comparison.groups is None else "whole groups"
    intervals = f"Intervals are from resampling {what}. " if comparison.rows[0].intervals else ""
    return (
        "The main score is macro F1: the mean over classes of how well the given sets agree with the true ones. The "
        f"threshold of each class comes from out-of-fold scores inside the training part. {intervals}"
        f"{describe_embedding(comparison.facts) if comparison.facts['embedding_seconds'] else ''}"
    )


def _facts(comparison: MultiLabelComparison) -> str:
    facts = comparison.facts
    rows = {
        "clips": f"{facts['n_clips']} ({', '.join(f'{k}: {v}' for k, v in facts['class_counts'].items())})",
        "clips of no class": facts["n_without_class"],
        "data sha256": facts["data_sha256"],
        "settings": ", ".join(f"{key} {value}" for key, value in facts["settings"].items()),
        "versions": ", ".join(f"{key} {value}" for key, value in facts["versions"].items()),
        "machine": ", ".join(f"{key} {value}" for key, value in facts["machine"].items()),
        "created": facts["created"],
    }
    for store, recipe in facts["recipes"].items():
        rows[f"recipe {store}".strip()] = ", ".join(f"{key} {value}" for key, value in recipe.items())
    return f'<dl class="facts">{"".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows.items())}</dl>'
