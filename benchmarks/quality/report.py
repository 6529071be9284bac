"""The quality suite's records become one result: scores beside published ones, tasks, steps, and what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quality.tasks import Task
from benchmarks.tools.record import measure, table
from embedx.evaluation.statistics import MIN_GROUPS

__all__ = ["quality_result", "step_measures", "steps_table"]

COLUMNS = [
    "task",
    "encoder",
    "protocol",
    "what is judged",
    "accuracy, %",
    "95 % or sd",
    "clips heard",
    "unheard / heard, %",
    "published, %",
]
SPENT = ("seconds", "cpu_seconds")
TITLES = {"ours": "ours", "hear": "HEAR", "arch": "ARCH", "maeb": "MAEB"}
NOTE = (
    "Ours: logistic regression on the mean of all layers, official folds or whole groups, interval over groups. HEAR, "
    "ARCH and MAEB as they publish them (last layer, mean; sd over folds or draws), so that their numbers for "
    "facebook/wav2vec2-base, last column, can stand beside; a dash: nobody published one. Heard: the share of clips "
    "that the encoder learned from without labels; unheard / heard: accuracy on each part, in our protocol. Random "
    "weights show what training is worth; log-mel is what an encoder has to beat. MAEB and ARCH learn from other clips "
    "than ours, so compare down a protocol, not across."
)


def quality_result(records: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task], *, quick: bool) -> dict[str, Any]:
    """Return the keyword arguments of `benchmarks.tools.record.write_result`."""
    judged = [(record, *_place(record)) for record in records if record["status"] == "done"]
    scored = [one for one in judged if "rows" in one[0]["result"]]
    rows = [
        _row(tasks[task], encoder, record["result"], row)
        for record, encoder, task, _ in scored
        for row in record["result"]["rows"]
        if not _is_repeated(record, task, row, scored)
    ]
    note = NOTE + (" Quick: HEAR's `faster` grid (ten epochs, too few for so few clips), ARCH once." if quick else "")
    return {
        "tables": {
            "summary": _summary(scored, tasks, note),
            "scores": table(COLUMNS, rows, note=note),
            "tasks": _tasks_table(records, tasks),
            "steps": steps_table(records),
        },
        "measures": {**_score_measures(scored), **step_measures(records)},
        "records": list(records),
    }


def _summary(scored: Sequence[tuple[Any, ...]], tasks: Mapping[str, Task], note: str) -> dict[str, Any]:
    """Return one row a task and protocol: logistic regression in ours, the published head in the others."""
    guesses, controls = _guesses(scored), _controls(scored)
    heads: dict[tuple[str, str], dict[str, tuple[Any, Any]]] = {}
    for record, encoder, name, _ in scored:
        head = next(row for row in record["result"]["rows"] if row["kind"] == "head")
        heads.setdefault((name, record["result"]["protocol"]), {})[encoder] = (record["result"], head)
    first, *others = dict.fromkeys(encoder for _, encoder, _, _ in scored) or ("encoder",)
    columns = ["task", "protocol", "guessing, %", "log-mel, %", *(f"{name}, %" for name in others), f"{first}, %"]
    columns += ["95 % or sd", f"heard by {first}", *COLUMNS[-2:]]
    rows = []
    for (name, protocol), by in heads.items():
        scores = [_percent(by[encoder][1]) if encoder in by else "-" for encoder in (*others, first)]
        rows.append([tasks[name].title, TITLES[protocol], guesses.get(name, "-"), controls.get((name, protocol), "-")])
        rows[-1] += [*scores, *_told_of(tasks[name], first, by.get(first)), tasks[name].published_for(protocol)]
    return table(columns, rows, note=note)


def _told_of(task: Task, encoder: str, judged: tuple[Any, Any] | None) -> list[str]:
    if judged is None:
        return ["-", "-", "-"]
    result, head = judged
    return [_width(head), _heard(task, encoder, result), _parts(head)]


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['scores']['accuracy']:.1f}"


def _controls(scored: Sequence[tuple[Any, ...]]) -> dict[tuple[str, str], str]:
    """Return log-mel's score by task and protocol, which knows no encoder."""
    return {
        (name, record["result"]["protocol"]): _percent(row)
        for record, _, name, _ in scored
        for row in record["result"]["rows"]
        if row["kind"] == "control"
    }


def _guesses(scored: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    """Return the majority baseline of every task, from our protocol."""
    return {
        name: _percent(row)
        for record, _, name, _ in scored
        for row in record["result"]["rows"]
        if row["kind"] == "baseline"
    }


def _place(record: Mapping[str, Any]) -> tuple[str, str, str]:
    encoder, task, step = record["step"].split("/")
    return encoder, task, step


def _is_repeated(record: Any, task: str, row: Mapping[str, Any], scored: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a control row stands beside another encoder already: controls know no encoder."""
    protocol = record["result"]["protocol"]
    first = next(one for one, _, name, _ in scored if name == task and one["result"]["protocol"] == protocol)
    return row["kind"] in ("baseline", "control") and record is not first


def _row(task: Task, encoder: str, result: Mapping[str, Any], row: Mapping[str, Any]) -> list[Any]:
    protocol, is_control = result["protocol"], row["kind"] in ("baseline", "control")
    published = "-" if is_control else task.published_for(protocol)
    shown = "-" if is_control else encoder
    return [
        task.title,
        shown,
        TITLES[protocol],
        row["features"],
        _percent(row),
        _width(row),
        "-" if is_control else _heard(task, encoder, result),
        _parts(row),
        published,
    ]


def _heard(task: Task, encoder: str, result: Mapping[str, Any]) -> str:
    """Return which share of the clips an encoder has heard, ``"unknown"`` for those from elsewhere."""
    told = task.heard_by(encoder)
    return told if told in ("unknown", "nothing") else f"{100 * result['heard_share']:.0f} %"


def _width(row: Mapping[str, Any]) -> str:
    if row.get("interval"):
        return f"{100 * row['interval'][0]:.1f} to {100 * row['interval'][1]:.1f}"
    if "spread" in row:
        return f"sd {100 * row['spread']:.1f} of {len(row['runs'])} {row['what']}"
    return f"under {MIN_GROUPS} groups"


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
    rows = [[r["step"], r["status"], *(f"{r[name]:.1f}" for name in SPENT), round(r["peak_mb"])] for r in done]
    seconds = sum(record["cpu_seconds"] for record in done)
    note = f"Start of the interpreter included; {seconds:.0f} s of a core in all."
    return table(["step", "status", "seconds", "of a core, s", "peak MB"], rows, note=note)


def step_measures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return seconds and memory of every finished step as measures."""
    found = {}
    for record in records:
        if record["status"] == "done":
            found[f"{record['step']}: seconds"] = measure([record["seconds"]], better="lower", unit="s")
            found[f"{record['step']}: of a core"] = measure([record["cpu_seconds"]], better="lower", unit="s")
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
