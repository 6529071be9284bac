"""The quality suite's records become one result: scores beside published ones, tasks, steps, and what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quality.tasks import Task
from benchmarks.record import measure, table

__all__ = ["quality_result", "step_measures", "steps_table"]

COLUMNS = [
    "task",
    "encoder",
    "protocol",
    "what is judged",
    "accuracy, %",
    "95 % or sd",
    "unheard / heard, %",
    "published, %",
]
SUMMARY = ["task", "encoder", "protocol", "guessing, %", "log-mel, %", "encoder, %", *COLUMNS[5:]]
TITLES = {"ours": "ours", "hear": "HEAR", "arch": "ARCH", "maeb": "MAEB"}
NOTE = (
    "Ours: official folds or whole groups, interval over groups. HEAR, ARCH and MAEB as they publish them (last "
    "layer, mean; sd over folds or draws), so that their numbers for facebook/wav2vec2-base, last column, can stand "
    "beside. A dash: nobody published one. Heard: clips that the encoder learned from without labels. MAEB and ARCH "
    "learn from other clips than ours, so compare down a protocol, not across."
)


def quality_result(records: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task], *, quick: bool) -> dict[str, Any]:
    """Return the keyword arguments of `benchmarks.record.write_result`."""
    judged = [(record, *_place(record)) for record in records if record["status"] == "done"]
    scored = [one for one in judged if "rows" in one[0]["result"]]
    rows = [
        _row(tasks[task], encoder, record["result"], row)
        for record, encoder, task, _ in scored
        for row in record["result"]["rows"]
        if not _is_repeated(encoder, row, scored)
    ]
    return {
        "tables": {
            "summary": table(SUMMARY, _summary(scored, tasks), note=NOTE),
            "scores": table(
                COLUMNS, rows, note=NOTE + (" Quick: HEAR's `faster` grid (ten epochs), ARCH once." if quick else "")
            ),
            "tasks": _tasks_table(records, tasks),
            "steps": steps_table(records),
        },
        "measures": {**_score_measures(scored), **step_measures(records)},
        "records": list(records),
    }


def _summary(scored: Sequence[tuple[Any, ...]], tasks: Mapping[str, Task]) -> list[list[Any]]:
    """Return one row a task, encoder and protocol: logistic regression in ours, the published head in the others."""
    rows, guesses = [], _guesses(scored)
    for record, encoder, name, _ in scored:
        result, task = record["result"], tasks[name]
        control = next(row for row in result["rows"] if row["kind"] == "control")
        head = next(row for row in result["rows"] if row["kind"] == "head")
        shown = [f"{100 * row['scores']['accuracy']:.1f}" for row in (control, head)]
        protocol = result["protocol"]
        rows.append([task.title, encoder, TITLES[protocol], guesses.get(name, "-"), *shown, _width(head), _parts(head)])
        rows[-1].append(task.published_for(protocol))
    return rows


def _guesses(scored: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    """Return the majority baseline of every task, from our protocol."""
    return {
        name: f"{100 * row['scores']['accuracy']:.1f}"
        for record, _, name, _ in scored
        for row in record["result"]["rows"]
        if row["kind"] == "baseline"
    }


def _place(record: Mapping[str, Any]) -> tuple[str, str, str]:
    encoder, task, step = record["step"].split("/")
    return encoder, task, step


def _is_repeated(encoder: str, row: Mapping[str, Any], scored: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a control row stands beside another encoder already: controls know no encoder."""
    return row["kind"] in ("baseline", "control") and encoder != scored[0][1]


def _row(task: Task, encoder: str, result: Mapping[str, Any], row: Mapping[str, Any]) -> list[Any]:
    protocol, is_control = result["protocol"], row["kind"] in ("baseline", "control")
    published = "-" if is_control else task.published_for(protocol)
    shown = "-" if is_control else encoder
    return [
        task.title,
        shown,
        TITLES[protocol],
        row["features"],
        f"{100 * row['scores']['accuracy']:.1f}",
        _width(row),
        _parts(row),
        published,
    ]


def _width(row: Mapping[str, Any]) -> str:
    if row.get("interval"):
        return f"{100 * row['interval'][0]:.1f} to {100 * row['interval'][1]:.1f}"
    return f"sd {100 * row['spread']:.1f} of {len(row['runs'])} {row['what']}" if "spread" in row else "-"


def _parts(row: Mapping[str, Any]) -> str:
    if "heard" not in row or row["kind"] in ("baseline", "control"):
        return "-"
    parts = [row["heard"][name] for name in ("unheard", "heard")]
    return " / ".join("-" if part is None else f"{100 * part:.1f}" for part in parts)


def _tasks_table(records: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task]) -> dict[str, Any]:
    rows = []
    for name, task in tasks.items():
        own = [record for record in records if record["step"].split("/")[1] == name]
        embedded = next((r["result"] for r in own if r["status"] == "done" and r["step"].endswith("/embed")), None)
        clips, classes = (embedded["n_clips"], len(embedded["class_counts"])) if embedded else ("-", "-")
        told = sorted({f"{r['status']}: {r['reason']}" for r in own if r["status"] != "done"})
        by = sorted({r["step"].split("/")[0] for r in own if r["status"] == "done"})
        state = "; ".join([f"run with {', '.join(by)}"] * bool(by) + told) or "not asked for"
        rows.append([task.title, clips, classes, task.folds, task.licence, task.heard_by("tiny"), state])
    columns = ["task", "clips", "classes", "folds", "licence", "heard by the bundled encoder", "state"]
    return table(columns, rows)


def steps_table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return time and peak memory of every step that was run."""
    done = [record for record in records if record["status"] != "not run"]
    rows = [[r["step"], r["status"], round(r["seconds"], 1), round(r["peak_mb"])] for r in done]
    return table(["step", "status", "seconds", "peak MB"], rows, note="Start of the interpreter included.")


def step_measures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return seconds and memory of every finished step as measures."""
    found = {}
    for record in records:
        if record["status"] == "done":
            found[f"{record['step']}: seconds"] = measure([record["seconds"]], better="lower", unit="s")
            found[f"{record['step']}: peak"] = measure([record["peak_mb"]], better="lower", unit="MB")
    return found


def _score_measures(scored: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    found = {}
    for record, encoder, task, _ in scored:
        for row in record["result"]["rows"]:
            name = f"{encoder}/{task}/{record['result']['protocol']}/{row['features']}"
            runs = [run["accuracy"] for run in row["runs"]]
            found[name] = measure(runs, better="higher", unit="accuracy", keys=row["keys"])
    return found
