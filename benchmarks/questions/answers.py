"""The tables and figures that answer the three questions, and what each head costs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.tasks import Task, read_tasks
from benchmarks.tools.record import RESULTS, measure, table

__all__ = ["TUNED", "questions_result"]

TUNED = "logreg,lgbm,mlp,knn"


def questions_result(records: Sequence[Mapping[str, Any]], output: Path) -> dict[str, Any]:
    """Return the keyword arguments of `benchmarks.tools.record.write_result`."""
    tasks = read_tasks()
    found = {r["step"]: r["result"] for r in records if r["status"] == "done"}
    curves = {s.split("/")[0]: one for s, one in found.items() if s.endswith("/curves")}
    tuning = {s.split("/")[0]: one for s, one in found.items() if s.endswith("/tuning")}
    costs = {
        name: [*_embedding_costs(name, records), *_head_costs(one), *_finetune_costs(name, output)]
        for name, one in tuning.items()
    }
    figures = {}
    for name, one in curves.items():
        figures[f"{name}-data"] = _data_figure(tasks[name], one)
        figures[f"{name}-layers"] = _layer_figure(tasks[name], one)
    for name, one in tuning.items():
        figures[f"{name}-cost"] = _cost_figure(tasks[name], one, costs[name])
    tables = {
        "data": table(DATA, [row for n, one in curves.items() for row in _data_rows(tasks[n], one)], note=DATA_NOTE),
        "encoders": table(
            LAYERS, [r for n, one in curves.items() for r in _layer_rows(tasks[n], one)], note=LAYER_NOTE
        ),
        "tuning": table(
            TUNING, [r for n, one in tuning.items() for r in _tuning_rows(tasks[n], one)], note=_trials(tuning)
        ),
        "cost": table(COST, [[tasks[n].title, *row] for n, rows in costs.items() for row in rows], note=COST_NOTE),
    }
    measures = {
        f"{step}/{row['name']}": measure(row["runs"], better="higher", unit="accuracy", keys=row["keys"])
        for step, one in found.items()
        for row in one.get("rows", ())
    }
    return {"tables": tables, "figures": figures, "measures": measures, "records": list(records)}


DATA = [
    "task",
    "features",
    "of an eighth",
    "a quarter",
    "half",
    "three quarters",
    "all",
    "twice as many",
    "clips heard",
]
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
DATA_NOTE = (
    "Accuracy in percent of logistic regression on the mean of all layers, learned from so much of each training part "
    "(groups whole; with fewer than ten groups clip by clip, the tested ones apart all the same); twice as many is the "
    "power law's forecast, with its 95 % interval where there are groups enough. Clips heard: without labels, before."
)
LAYERS = [
    "task",
    "features",
    "last layer",
    "best layer",
    "mean of layers",
    "95 %",
    "unheard / heard",
    "clips heard",
    "p",
]
LAYER_NOTE = (
    "Accuracy in percent, logistic regression. The best layer is read off the tested clips, so it flatters; "
    "p: mean of layers against log-mel, groups permuted, Holm."
)
TUNING = [
    "task",
    "head",
    "default, %",
    "tuned, %",
    "log-loss, default",
    "log-loss, tuned",
    "unheard / heard, tuned",
    "clips heard",
    "fit, s",
    "tuned, s",
]
COST = ["task", "head", "accuracy, %", "log-loss", "seconds to fit", "seconds to predict", "unheard / heard", "from"]
COST_NOTE = (
    "Seconds of all folds, one thread. Frozen heads need the embeddings too, once for all of them (processor time, the "
    "interpreter's start included); fine-tuning needs none, but the audio in every epoch. "
    "*: from the finetune suite, on the clips and settings that its table names, frozen heads on the same ones."
)


def _trials(tuning: Mapping[str, Any]) -> str:
    trials = next((one["trials"] for one in tuning.values()), 0)
    return f"Tuned with {trials} trials inside each training part (nested), on the bundled encoder."


def _chance(p: float) -> str:
    return "under 0.001" if p < 0.001 else f"{p:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _range(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _pair(parts: Mapping[str, float | None]) -> str:
    return " / ".join(_percent(parts[name]) for name in ("unheard", "heard"))


def _heads(one: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in one["rows"]:
        if row["kind"] not in ("baseline", "control"):
            yield row["store"], row


def _controls(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in one["rows"] if row["kind"] in ("baseline", "control")]


def _data_rows(task: Task, one: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in _controls(one):
        yield [task.title, row["title"], "-", "-", "-", "-", _percent(row["accuracy"]), "-", "-"]
    for store, row in _heads(one):
        shares = _by_share(_points(one, store))
        forecast, ahead = _forecast(one, store), "-"
        if forecast:
            ahead = _percent(forecast["accuracy"])
            ahead += f" ({_range(forecast['interval'])})" if "interval" in forecast else ""
        yield [task.title, store, *shares, ahead, _heard(task, row)]


def _forecast(one: Mapping[str, Any], store: str) -> Mapping[str, Any] | None:
    """Return the forecast for twice as many clips; there is none for curves drawn clip by clip."""
    return None if "by_clip" in one else one["curves"]["learning"][store].get("forecast")


def _heard(task: Task, row: Mapping[str, Any]) -> str:
    """Return which share of the clips a row's encoder has heard, in the words of the task where there is no share."""
    told = task.heard_by(row["store"])
    return told if told in ("nothing", "unknown") else f"{100 * row['heard_share']:.0f} %"


def _points(one: Mapping[str, Any], store: str) -> list[Mapping[str, Any]]:
    """Return the learning curve: groups whole, or clip by clip where there are too few groups for one."""
    if "by_clip" in one:
        return list(one["by_clip"][store])
    return list(one["curves"]["learning"][store]["points"])


def _by_share(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return accuracies in the columns of their shares; whole groups can make two shares one."""
    shown = ["-"] * len(SHARES)
    for point in points:
        share = point["n_train"] / points[-1]["n_train"]
        shown[min(range(len(SHARES)), key=lambda i: abs(SHARES[i] - share))] = _percent(point["accuracy"])
    return shown


def _layer_rows(task: Task, one: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in _controls(one):
        yield [task.title, row["title"], "-", "-", _percent(row["accuracy"]), _range(row["interval"]), "-", "-", "-"]
    control = next(row["name"] for row in one["rows"] if row["kind"] == "control")
    for store, row in _heads(one):
        points = [p for p in one["curves"]["layers"][store] if p["layer"] != "mean"]
        best = max(points, key=lambda point: point["accuracy"])
        chance = next((t["p"] for t in one["tests"] if (t["a"], t["b"]) == (row["name"], control)), None)
        shown = f"{_percent(best['accuracy'])} (layer {best['layer']})"
        accuracies = [_percent(points[-1]["accuracy"]), shown, _percent(row["accuracy"]), _range(row["interval"])]
        told = "-" if chance is None else _chance(chance)
        yield [task.title, store, *accuracies, _pair(row["parts"]), _heard(task, row), told]


def _tuning_rows(task: Task, one: Mapping[str, Any]) -> Iterator[list[str]]:
    rows = {row["name"]: row for row in one["rows"]}
    for row in _controls(one):
        shown = [_percent(row["accuracy"]), "-", f"{row['log_loss']:.3f}", "-", "-", "-"]
        shown += [f"{row['fit_seconds']:.1f}", "-"]
        yield [task.title, row["title"], *shown]
    for name in TUNED.split(","):
        row, tuned = rows[name], next((r for n, r in rows.items() if r["kind"] == "tuned" and n.startswith(name)), None)
        if tuned is None:
            continue
        scores = [_percent(row["accuracy"]), _percent(tuned["accuracy"])]
        losses = [f"{row['log_loss']:.3f}", f"{tuned['log_loss']:.3f}"]
        times = [f"{row['fit_seconds']:.1f}", f"{tuned['fit_seconds']:.0f}"]
        yield [task.title, row["title"], *scores, *losses, _pair(tuned["parts"]), _heard(task, row), *times]


def _embedding_costs(task: str, records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return what every encoder's embeddings took, once for all heads; a store that was there already tells nothing."""
    rows = []
    for record in records:
        encoder, *rest = record["step"].split("/")
        if rest != [task, "embed"] or record["status"] != "done":
            continue
        is_whole = record["result"]["computed"] == record["result"]["n_clips"]
        spent = f"{record['cpu_seconds']:.0f}" if is_whole else "embedded before"
        rows.append([f"embeddings of {encoder}, once", "-", "-", spent, "-", "-", "questions"])
    return rows


def _head_costs(one: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            row["title"],
            _percent(row["accuracy"]),
            f"{row['log_loss']:.3f}",
            f"{row['fit_seconds']:.1f}",
            f"{row['predict_seconds']:.2f}",
            "-" if row["kind"] in ("baseline", "control") else _pair(row["parts"]),
            "questions",
        ]
        for row in one["rows"]
    ]


def _finetune_costs(task: str, output: Path) -> list[list[str]]:
    """Return all rows of the finetune suite's result for a task, starred, from this run or what is committed."""
    for folder in (output, RESULTS):
        place = folder / f"finetune-{task}.json"
        if not place.is_file():
            continue
        drawn = json.loads(place.read_text(encoding="utf-8"))["tables"]["heads"]
        names = {name: i for i, name in enumerate(drawn["columns"])}
        wanted = ("head", "accuracy", "log-loss", "seconds to fit", "seconds to predict")
        if all(name in names for name in wanted):
            rows = [[row[names[name]] for name in wanted] for row in drawn["rows"]]
            return [
                [f"{head} *", _percent(accuracy), f"{loss:.3f}", f"{fit:.1f}", f"{predict:.2f}", "-", place.name]
                for head, accuracy, loss, fit, predict in rows
            ]
    return []


def _levels(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": row["title"], "style": "level", "points": [[1, 100 * row["accuracy"]]]} for row in _controls(one)]


def _spot(x: float, point: Mapping[str, Any]) -> list[float | None]:
    low, high = point.get("interval") or (None, None)
    return [x, 100 * point["accuracy"], None if low is None else 100 * low, None if high is None else 100 * high]


def _data_figure(task: Task, one: Mapping[str, Any]) -> dict[str, Any]:
    lines = []
    for store, row in _heads(one):
        points, forecast = _points(one, store), _forecast(one, store)
        lines.append({"name": _named(task, row), "points": [_spot(p["n_train"], p) for p in points]})
        if forecast:
            lines[-1]["ahead"] = _spot(2 * points[-1]["n_train"], forecast)
    names = {"title": f"{task.title}: more data?", "x": "clips learned from (hollow: forecast)", "y": "accuracy, %"}
    return {**names, "log_x": True, "series": [*lines, *_levels(one)]}


def _layer_figure(task: Task, one: Mapping[str, Any]) -> dict[str, Any]:
    lines = []
    for store, row in _heads(one):
        points = [p for p in one["curves"]["layers"][store] if p["layer"] != "mean"]
        lines.append(
            {"name": _named(task, row), "points": [_spot(i / max(1, len(points) - 1), p) for i, p in enumerate(points)]}
        )
    names = {"title": f"{task.title}: another layer or encoder?", "x": "depth of the layer", "y": "accuracy, %"}
    return {**names, "ticks": [[0.0, "first"], [0.5, "middle"], [1.0, "last"]], "series": [*lines, *_levels(one)]}


def _named(task: Task, row: Mapping[str, Any]) -> str:
    heard = _heard(task, row)
    return f"{row['store']} (heard {heard})" if heard.endswith("%") else str(row["store"])


def _cost_figure(task: Task, one: Mapping[str, Any], costs: Sequence[Sequence[str]]) -> dict[str, Any]:
    dots = [
        {"name": row[0], "style": "dots", "points": [[max(float(row[3]), 0.01), float(row[1])]]}
        | ({"hollow": True} if row[0].endswith("*") else {})
        for row in costs
        if row[1] != "-" and row[0] not in {control["title"] for control in _controls(one)}
    ]
    hollow = "; hollow: finetune suite" if any("hollow" in one for one in dots) else ""
    names = {"title": f"{task.title}: what does a point of accuracy cost?", "y": "accuracy, %"}
    return {
        **names,
        "x": f"seconds to fit all folds, embeddings apart{hollow}",
        "log_x": True,
        "series": [*dots, *_levels(one)],
    }
