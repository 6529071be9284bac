"""One step of the quality suite: embed a task, or judge its embeddings by one protocol.

    python -m benchmarks.quality.steps embed --task esc10 --encoder tiny --data DATA --store S.h5 --out OUT.json

The suite (`python -m benchmarks run --suite quality`) calls every step as a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.protocols import Outcome, arch, hear, maeb, maeb_cross_validation
from benchmarks.quality.tasks import NotRun, Task, heard_mask, read_tasks
from embedx.dataset import Dataset, load_embeddings

__all__ = ["NOT_RUN", "STEPS", "main"]

STEPS = ("embed", "ours", "hear", "arch", "maeb")
NOT_RUN = 4
"""Exit status of a step that has nothing to run on; the reason is in its output."""


def main() -> int:
    """Run one step and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--task", required=True)
    parser.add_argument("--encoder", required=True, help="its name in tables")
    parser.add_argument("--location", help="what embedx loads (default: --encoder)")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--heads", default="", help="of our protocol (default: logreg,lgbm,mlp and auto; quick: logreg)"
    )
    parser.add_argument("--no-control", action="store_true", help="leave log-mel out: it stands beside another encoder")
    args = parser.parse_args()
    try:
        found = run(args)
    except NotRun as reason:
        args.out.write_text(json.dumps({"not_run": str(reason)}), encoding="utf-8")
        return NOT_RUN
    args.out.write_text(json.dumps(found), encoding="utf-8")
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a step found, as plain values."""
    task = read_tasks()[args.task]
    if args.step == "embed":
        return _embed(task, args)
    if not args.store.is_file():
        raise NotRun("its embeddings were not made")
    dataset = load_embeddings(args.store)
    share = {"heard_share": float(heard_mask(task, args.encoder, dataset.sources).mean())}
    if args.step == "ours":
        return _ours(task, dataset, args) | share
    if args.step != "maeb":
        _use_one_thread()
    judged = ("encoder",) if args.no_control else ("encoder", "log-mel")
    rows = [_judged(task, dataset, features, args) for features in judged]
    return {"protocol": args.step, "rows": rows, "n_clips": len(dataset)} | share


def _use_one_thread() -> None:
    """Networks this small take longer with several threads, and much longer on a machine that has other work."""
    import torch

    torch.set_num_threads(1)


def _embed(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    from embedx.extract.job import extract_embeddings

    manifest = task.read(args.data)
    args.store.parent.mkdir(parents=True, exist_ok=True)
    seconds = {"window_seconds": task.window_seconds, "hop_seconds": task.window_seconds}
    report = extract_embeddings(manifest, args.store, encoder=args.location or args.encoder, **seconds)
    dataset = load_embeddings(args.store)
    labels, counts = np.unique(np.asarray(dataset.y), return_counts=True)
    return {
        "n_clips": len(dataset),
        "n_failed": len(manifest) - len(dataset),
        "class_counts": dict(zip(labels.tolist(), counts.tolist(), strict=True)),
        "n_groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
        "audio_seconds": float(dataset.seconds.sum()),
        "computed": report.n_computed,
        "recipe": json.loads(report.recipe.to_json()),
    }


def _ours(task: Task, dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    from embedx.comparison import compare

    heads = (args.heads or ("logreg" if args.quick else "logreg,lgbm,mlp")).split(",")
    result = compare(dataset, heads, folds=task.folds, auto=len(heads) > 1, curves=False)
    heard = heard_mask(task, args.encoder, result.sources)
    truth = np.asarray([source.label for source in result.sources])
    rows = []
    for row in result.rows:
        guess = np.asarray(result.classes)[np.nanmean(result.proba[row.name], axis=0).argmax(1)]
        rows.append(
            {
                "features": row.title,
                "kind": row.kind,
                "scores": dict(row.scores),
                "interval": list(row.intervals["accuracy"]) if "accuracy" in row.intervals else None,
                "runs": [{"accuracy": fold.scores["accuracy"]} for fold in row.folds],
                "keys": [fold.fold for fold in row.folds],
                "heard": _parts(guess == truth, heard),
                "seconds": row.seconds,
                "peak_bytes": row.peak_bytes,
                "collapsed": row.collapsed,
            }
        )
    return {"protocol": "ours", "rows": rows, "n_clips": len(dataset), "verdict": list(result.verdict)}


def _parts(right: NDArray[np.bool_], heard: NDArray[np.bool_]) -> dict[str, float | None]:
    masks = {"heard": heard, "unheard": ~heard}
    return {name: float(right[mask].mean()) if mask.any() else None for name, mask in masks.items()}


def _judged(task: Task, dataset: Dataset, features: str, args: argparse.Namespace) -> dict[str, Any]:
    """Judge the last layer, mean pooled, or the log-mel control by one foreign protocol."""
    x = dataset.control if features == "log-mel" else dataset.X[:, -dataset.dim :].astype(np.float32)
    outcome = _outcome(task, dataset, x, args)
    return {
        "features": "log-mel statistics" if features == "log-mel" else "last layer",
        "kind": "control" if features == "log-mel" else "head",
        "scores": {name: outcome.mean(name) for name in outcome.runs[0]},
        "spread": outcome.spread(),
        "what": outcome.what,
        "runs": outcome.runs,
        "keys": [str(i) for i in range(len(outcome.runs))],
        "settings": json.loads(json.dumps(outcome.settings, default=str)),
    }


def _outcome(task: Task, dataset: Dataset, x: NDArray[Any], args: argparse.Namespace) -> Outcome:
    settings = task.protocols.get(args.step)
    if settings is None:
        raise NotRun(f"nobody has published {args.step.upper()}'s protocol for this task")
    y = np.asarray(dataset.y).tolist()
    if args.step == "maeb":
        return _maeb(dataset, x, y, dict(settings))
    folds = None if settings == "random" else np.asarray(dataset.split if settings == "split" else dataset.groups)
    if args.step == "arch":
        return arch(x, y, folds, n_iters=1 if args.quick else 3)
    return hear(x, y, folds, **({"grid": "faster", "grid_points": 4} if args.quick else {}))


def _maeb(dataset: Dataset, x: NDArray[Any], y: list[str], settings: dict[str, Any]) -> Outcome:
    if settings.pop("cross_validation", False):
        return maeb_cross_validation(x, y, **settings)
    rule = settings.pop("test")
    parts = [source.split == "test" if rule == "split" else re.search(rule, source.uri) for source in dataset.sources]
    test = np.array([bool(part) for part in parts])
    learned = [label for label, tested in zip(y, test, strict=True) if not tested]
    return maeb(x[~test], learned, x[test], [label for label, part in zip(y, test, strict=True) if part], **settings)


if __name__ == "__main__":
    raise SystemExit(main())
