"""Measure every head on two real tasks, default and tuned, and write benchmarks/results/heads.json.

    embedx extract esc10/clips.csv -o esc10.h5 --encoder tiny --group-column source_id --split-column fold
    embedx extract fsdd/clips.csv -o fsdd.h5 --encoder tiny --group-column speaker --split-column speaker
    OMP_NUM_THREADS=1 python -m benchmarks.heads.every_head esc10.h5 fsdd.h5 --trials 10

Folds are the official ones of ESC-10 and the speakers of FSDD. Tuning happens inside the training part of each
fold, on whole groups. Seconds are processor time, so that a busy machine does not change them.

``heard`` marks clips that the bundled encoder learned from without their labels, as the task's file in
benchmarks/quality/tasks declares them; a store has the name of its task.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.tasks import heard_mask, read_tasks
from benchmarks.tools.record import measure, table, write_result
from embedx.dataset import Dataset, load_embeddings
from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import Fold, plan_folds
from embedx.heads.catalog import as_spec, fit_head, make_head
from embedx.model import Model, fit_model
from embedx.tuning import tune

HEADS = ("majority", "logmel", "knn", "logreg", "lgbm", "mlp")
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
COLUMNS = [
    "task",
    "head",
    "accuracy, %",
    "unheard / heard, %",
    "balanced, %",
    "macro F1, %",
    "log-loss",
    "fit, s",
    "tune, s",
]


def main() -> None:
    """Measure what is asked for and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stores", nargs="+", help="esc10.h5 and fsdd.h5")
    parser.add_argument("--trials", type=int, default=10, help="of tuning, in each fold; 0 leaves tuning out")
    parser.add_argument("--tuned", default="logreg,lgbm,mlp,knn", help="heads to tune (default: %(default)s)")
    parser.add_argument("--study", type=int, default=50, help="trials of the timed study; 0 leaves it out")
    parser.add_argument("--encoder", default="tiny", help="whose hearing is looked up (default: %(default)s)")
    args = parser.parse_args()
    datasets = {Path(path).stem: load_embeddings(path) for path in args.stores}
    tuned = args.tuned.split(",") if args.trials else []
    rows = [row for name, one in datasets.items() for row in _measure(name, one, tuned, args)]
    layers = [[name, *_layer_row(one)] for name, one in datasets.items()]
    first = next(iter(datasets.values()))
    studies = _studies(first, args.study) if args.study else []
    width = max(one.n_layers for one in datasets.values())
    path = write_result(
        "heads",
        tables={
            "heads": table(COLUMNS, [_shown(row) for row in rows], note=_note(first, args.trials)),
            "layers": table(
                ["task", *(f"layer {i}" for i in range(width)), "mean", "all"], layers, note="logreg, accuracy, %"
            ),
            "studies": table(["head", "trials", "given up early", "processor s", "wall s"], studies),
            "loading": table(["head", "load a saved model, ms"], _loading(first)),
        },
        measures={
            _name(row): measure(row["folds"], better="higher", unit="accuracy", keys=row["keys"]) for row in rows
        },
        rows=rows,
        trials=args.trials,
        encoder={"id": first.recipe.encoder, "weights_sha256": first.recipe.weights_sha256},
        seed=0,
    )
    print(f"wrote {path}")


def _note(dataset: Dataset, trials: int) -> str:
    return (
        f"Encoder `{dataset.recipe.encoder}` (weights {dataset.recipe.weights_sha256[:8]}), {dataset.n_layers} layers "
        f"of {dataset.dim}; official folds (ESC-10) and a speaker left out (FSDD)"
        + (f"; tuned with {trials} trials inside each fold" if trials else "")
        + ". Seconds are processor time of all folds."
    )


def _folds(dataset: Dataset) -> tuple[Fold, ...]:
    split = dataset.split if dataset.split is not None else dataset.groups
    return plan_folds(np.asarray(dataset.y), split=split)


def _heard(name: str, dataset: Dataset, encoder: str) -> np.ndarray[Any, Any]:
    task = read_tasks().get(name)
    return np.zeros(len(dataset), bool) if task is None else heard_mask(task, encoder, dataset.sources)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['task']}/{row['head']}" + (f", {row['trials']} trials" if row["trials"] else "")


def _measure(name: str, dataset: Dataset, tuned: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    heard = _heard(name, dataset, args.encoder)
    rows = []
    for head in HEADS:
        for with_trials in (0, args.trials) if head in tuned else (0,):
            row = _judged(dataset, head, with_trials, heard)
            rows.append({"task": name, "head": head, "trials": with_trials, **row})
            print(_shown(rows[-1]), flush=True)
    return rows


def _judged(dataset: Dataset, head: str, trials: int, heard: Any, **fixed: Any) -> dict[str, Any]:
    y, spec = np.asarray(dataset.y), as_spec(head)
    classes = np.unique(y)
    proba = np.zeros((len(y), len(classes)))
    seconds = {"fit": 0.0, "tune": 0.0}
    chosen, folds = [], _folds(dataset)
    for fold in folds:
        part, test = dataset.take(fold.train), dataset.take(fold.test)
        params = dict(fixed)
        if trials:
            params, spent = _timed(lambda part=part: tune(part, head, n_trials=trials, n_folds=3).params)
            seconds["tune"] += spent
            chosen.append(params)
        estimator = make_head(head, n_layers=dataset.n_layers, **params)
        _, spent = _timed(lambda e=estimator, p=part: fit_head(e, p.inputs_for(spec), p.y, groups=p.groups))
        seconds["fit"] += spent
        proba[fold.test] = align_proba(estimator.predict_proba(test.inputs_for(spec)), estimator.classes_, classes)
    found = score(y, proba, classes)
    right = classes[proba.argmax(1)] == y
    parts = {
        name: float(right[mask].mean()) if mask.any() else None
        for name, mask in (("heard", heard), ("unheard", ~heard))
    }
    by_fold = {"folds": [float(right[fold.test].mean()) for fold in folds], "keys": [fold.name for fold in folds]}
    return {**{name: found[name] for name in SHOWN}, **parts, **by_fold, "seconds": seconds, "chosen": chosen}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def _shown(row: Mapping[str, Any]) -> list[Any]:
    percents = [f"{100 * row[name]:.1f}" for name in ("accuracy", "balanced_accuracy", "macro_f1")]
    parts = " / ".join("-" if row[name] is None else f"{100 * row[name]:.1f}" for name in ("unheard", "heard"))
    head = row["head"] + (f", {row['trials']} trials" if row["trials"] else "")
    tuning = f"{row['seconds']['tune']:.0f}" if row["trials"] else "-"
    return [
        row["task"],
        head,
        percents[0],
        parts,
        *percents[1:],
        f"{row['log_loss']:.3f}",
        f"{row['seconds']['fit']:.1f}",
        tuning,
    ]


def _layer_row(dataset: Dataset) -> list[str]:
    nothing = np.zeros(len(dataset), dtype=bool)
    choices = [*range(dataset.n_layers), "mean", "all"]
    return [f"{100 * _judged(dataset, 'logreg', 0, nothing, layer=layer)['accuracy']:.1f}" for layer in choices]


def _studies(dataset: Dataset, trials: int) -> list[list[Any]]:
    rows = []
    for head in ("logreg", "lgbm"):
        tuned, spent = _timed(lambda head=head: tune(dataset, head, n_trials=trials))
        rows.append([head, tuned.n_trials, tuned.n_pruned, f"{spent:.0f}", f"{tuned.seconds:.0f}"])
        print(rows[-1], flush=True)
    return rows


def _loading(dataset: Dataset) -> list[list[Any]]:
    rows = []
    for head in HEADS:
        with tempfile.TemporaryDirectory() as folder:
            fit_model(dataset, head).save(Path(folder) / "m")
            Model.load(Path(folder) / "m")
            spent = [_timed(lambda folder=folder: Model.load(Path(folder) / "m"))[1] for _ in range(5)]
        rows.append([head, f"{1000 * float(np.median(spent)):.1f}"])
    return rows


if __name__ == "__main__":
    main()
