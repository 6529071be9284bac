"""More data, another layer or encoder, or tuning? And what does each head cost? The steps that measure it.

    python -m benchmarks run --suite questions --data DATA --full

Every answer stands beside both control rows (majority, log-mel with logistic regression) and says what the encoder
had heard of the clips. The encoders are the bundled one, its architecture with random weights, and wav2vec2-base's
architecture with random weights: what training and size are worth each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.encoders import choose_encoder
from benchmarks.options import DEFAULT_ENCODERS, ONE_THREAD, Options, embeddings_step
from benchmarks.quality.tasks import NotRun, Task, heard_mask, read_tasks
from benchmarks.questions.answers import TUNED
from benchmarks.runner import Step
from embedx.comparison.candidates import FRACTIONS
from embedx.evaluation.splits import plan_folds
from embedx.evaluation.statistics import MIN_GROUPS
from embedx.heads.catalog import fit_head, make_head

if TYPE_CHECKING:
    from embedx.dataset import Dataset

__all__ = ["main", "plan_questions"]

ENCODERS = {"quick": ("tiny", "tiny-random"), "full": ("tiny", "tiny-random", "base-random")}
VERSION = "4"
"""Of what a step writes: finished steps of another one are run anew."""
TASKS = {"quick": ("sample",), "full": ("esc10", "fsdd")}


def plan_questions(options: Options) -> list[Step]:
    """Return the steps: embeddings of every encoder, then the curves and the tuning of every task."""
    size = "quick" if options.quick else "full"
    names = ENCODERS[size] if tuple(options.encoders) == DEFAULT_ENCODERS else tuple(options.encoders)
    steps = []
    for name in (one for one in TASKS[size] if one in options.chosen_tasks()):
        try:
            read_tasks()[name].read(options.data)
            encoders = {one: choose_encoder(one, options.work) for one in names}
        except NotRun as reason:
            steps.append(Step(name=f"{name}/curves", words=(), reason=str(reason)))
            continue
        embeddings = {one: embeddings_step(options, encoder, name) for one, encoder in encoders.items()}
        stores = [f"{one}={step.makes}" for one, step in embeddings.items()]
        weights = {one: encoder.weights_sha256 for one, encoder in encoders.items()}
        common = ["-m", "benchmarks.questions.steps", "--task", name, "--out", "{out}"]
        trials = ["--trials", "3"] if options.quick else ["--trials", "10"]
        questions = {
            "curves": ([*common, "curves", *stores], names),
            "tuning": ([*common, *trials, "tuning", stores[0]], names[:1]),
        }
        steps += embeddings.values()
        for question, (words, needed) in questions.items():
            depends = {one: weights[one] for one in needed} | {"version": VERSION}
            facts: dict[str, Any] = {"environment": ONE_THREAD, "alone": False}
            after = [embeddings[one].name for one in needed]
            steps.append(Step(name=f"{name}/{question}", words=words, depends=depends, after=after, **facts))
    return steps


def main() -> int:
    """Run one step."""
    from embedx.comparison import compare
    from embedx.dataset import load_embeddings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=("curves", "tuning"))
    parser.add_argument("stores", nargs="+", metavar="NAME=STORE")
    parser.add_argument("--task", required=True)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    task = read_tasks()[args.task]
    stores = {name: load_embeddings(place) for name, place in (one.split("=", 1) for one in args.stores)}
    is_tuning = args.question == "tuning"
    result = compare(
        next(iter(stores.values())) if is_tuning else stores,
        TUNED.split(",") if is_tuning else ["logreg"],
        folds=task.folds,
        n_trials=args.trials if is_tuning else 0,
        auto=False,
        curves=not is_tuning,
    )
    truth = np.asarray([source.label for source in result.sources])
    rows = [_plain(result, row, task, truth, next(iter(stores))) for row in result.rows]
    tests = [{"a": t.a, "b": t.b, "p": t.p_holm} for t in result.tests]
    found = {"rows": rows, "curves": result.curves, "tests": tests, "verdict": list(result.verdict)}
    if not is_tuning and len(np.unique(result.groups or ())) < MIN_GROUPS:
        found["by_clip"] = {name: _learn_by_clip(one, task) for name, one in stores.items()}
    args.out.write_text(json.dumps({**found, "n_clips": len(truth), "trials": args.trials}), encoding="utf-8")
    return 0


def _learn_by_clip(dataset: Dataset, task: Task) -> list[dict[str, float]]:
    """Return the learning curve of subsets drawn clip by clip from each class of each training part.

    The curve of `embedx.compare` keeps groups whole; with a handful of speakers that leaves no curve. The tested
    speaker is still heard by nobody.
    """
    y = np.asarray(dataset.y)
    split = dataset.split if task.folds == "split" else None
    folds = plan_folds(y, split=split, groups=dataset.groups, n_folds=task.folds if split is None else 5)
    order = np.random.default_rng(0).permutation(len(y))
    points = []
    for fraction in (*FRACTIONS, 1.0):
        right, learned = [], []
        for fold in folds:
            train = np.concatenate(
                [_first(order[np.isin(order, fold.train) & (y[order] == c)], fraction) for c in set(y)]
            )
            head = make_head("logreg", n_layers=dataset.n_layers)
            fit_head(head, dataset.X[train], y[train])
            right.append(head.predict(dataset.X[fold.test]) == y[fold.test])
            learned.append(len(train))
        points.append({"n_train": float(np.mean(learned)), "accuracy": float(np.concatenate(right).mean())})
    return points


def _first(members: Any, fraction: float) -> Any:
    return members[: max(1, round(fraction * len(members)))]


def _plain(result: Any, row: Any, task: Task, truth: Any, first: str) -> dict[str, Any]:
    guess = np.asarray(result.classes)[np.nanmean(result.proba[row.name], axis=0).argmax(1)]
    store = row.store or first
    heard = heard_mask(task, store, result.sources)
    parts = {name: _share(guess == truth, mask) for name, mask in (("heard", heard), ("unheard", ~heard))}
    interval = row.intervals.get("accuracy")
    return {
        "name": row.name,
        "title": row.title,
        "kind": row.kind,
        "store": store,
        "accuracy": row.scores["accuracy"],
        "log_loss": row.scores["log_loss"],
        "interval": None if interval is None else list(interval),
        "parts": parts,
        "heard_share": float(heard.mean()),
        "runs": [fold.scores["accuracy"] for fold in row.folds],
        "keys": [fold.fold for fold in row.folds],
        "fit_seconds": sum(fold.seconds_fit for fold in row.folds),
        "predict_seconds": sum(fold.seconds_predict for fold in row.folds),
        "peak_bytes": row.peak_bytes,
    }


def _share(right: Any, mask: Any) -> float | None:
    return float(right[mask].mean()) if mask.any() else None


if __name__ == "__main__":
    raise SystemExit(main())
