"""embedx fit: train one head and save the model."""

from __future__ import annotations

import argparse
from typing import Any

from embedx.cli.progress import ProgressBar
from embedx.errors import DatasetError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of embedx fit."""
    parser.add_argument("embeddings", help="HDF5 file that embedx extract wrote")
    parser.add_argument("-o", "--output", required=True, help="folder for the model")
    parser.add_argument("--head", default="logreg", help="majority, logmel, logreg, lgbm, mlp or knn (default: logreg)")
    parser.add_argument("--seed", type=int, default=0, help="seed of draws, folds and head")
    data = parser.add_argument_group("data")
    data.add_argument("--labels", metavar="CSV", help="labels, groups and splits to use instead of the stored ones")
    data.add_argument("--per-class", type=int, metavar="N", help="draw N clips of every class")
    data.add_argument("--valid-fraction", type=float, metavar="F", help="hold out this share for valid scores")
    tuning = parser.add_argument_group("tuning")
    tuning.add_argument("--trials", type=int, metavar="N", help="tune with N trials")
    tuning.add_argument("--timeout", type=float, metavar="SECONDS", help="start no trial later than this")
    tuning.add_argument("--budget", choices=("fast", "default", "thorough"), help="trials and time by name")
    tuning.add_argument("--study", metavar="FILE|URL", help="keep the study, so that it can be resumed")
    parser.add_argument("--calibrate", action="store_true", help="correct probabilities on held-out folds")


def run(args: argparse.Namespace) -> int:
    """Train, save, say what was measured."""
    from embedx.dataset import load_embeddings
    from embedx.model import fit_model

    dataset = load_embeddings(args.embeddings, labels=args.labels)
    if args.per_class:
        dataset = dataset.balanced(args.per_class, seed=args.seed)
    if dataset.y is None:
        dataset = dataset.labelled()
    params = _tuned(args, dataset) if args.trials or args.budget else None
    model = fit_model(dataset, args.head, params=params, seed=args.seed, calibrate=args.calibrate)
    folder = model.save(args.output)
    print(f"model saved: {folder} ({args.head}, {len(model.classes)} classes, {len(dataset)} clips)")
    return 0


def _tuned(args: argparse.Namespace, dataset: Any) -> dict[str, Any]:
    from embedx.tuning import BUDGETS, tune

    if dataset is None:
        raise DatasetError("nothing to tune on")
    budget = BUDGETS[args.budget or "default"]
    with ProgressBar("tuning", unit="trials") as bar:
        tuned = tune(
            args.head,
            dataset,
            n_trials=args.trials or budget.n_trials,
            timeout_seconds=args.timeout or budget.timeout_seconds,
            n_folds=budget.n_folds,
            seed=args.seed,
            study=args.study,
            progress=bar,
        )
    print(f"tuned: {tuned.n_trials} trials, {tuned.metric} {tuned.value:.4f}, {tuned.params}")
    return tuned.params
