"""What fit and tune share: which clips, which budget."""

from __future__ import annotations

import argparse
import json
import math
import warnings
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import MOST_BYTES, SEED, add_jobs_arguments, number, read_layers
from embedx.cli.manifest_options import add_label_arguments, add_segment_arguments, asked_separator, read_labels
from embedx.cli.parser import add_renamed
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import interrupted_means, show
from embedx.cli.tracking_options import logging_steps
from embedx.errors import DatasetError, EmbedxWarning, ParameterError
from embedx.text import count

if TYPE_CHECKING:
    from embedx.dataset import Dataset
    from embedx.evaluation.splits import Parts
    from embedx.tracking import Trackers
    from embedx.tuning import Tuned

__all__ = ["add_data_arguments", "add_tuning_arguments", "parse_parameters", "read_parts", "run_tuning", "shown_layer"]

_TRIALS_KEPT = "finished trials are kept in the study: run the same command again to add to them"
_NO_TRIALS_KEPT = "no trial is kept: --study study.db would keep them"


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which clips are learned from."""
    parser.add_argument(
        "embeddings",
        metavar="EMB.h5",
        help="store that embedx extract wrote; for --head finetune also a folder or a CSV of audio",
    )
    parser.add_argument(
        "--head", default="logreg", help="majority, logmel, logreg, lgbm, mlp, knn or finetune (default: %(default)s)"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of draws, folds and head (default: %(default)s)")
    data = parser.add_argument_group("which clips")
    data.add_argument("--labels", metavar="CSV", help="labels, groups and splits from this CSV, not from the store")
    data.add_argument("--label-column", metavar="NAME", help="column of --labels with the class")
    data.add_argument("--group-column", metavar="NAME", help="column of --labels with what must not be cut apart")
    data.add_argument("--split-column", metavar="NAME", help="column of --labels with train, valid and test")
    add_segment_arguments(data, of="--labels")
    add_label_arguments(data, of="--labels")
    data.add_argument("--per-class", type=number(1, whole=True), metavar="N", help="draw N clips of every class first")
    data.add_argument(
        "--valid-fraction",
        type=number(0, 1, open_low=True, open_high=True),
        metavar="F",
        help="hold out this share to judge on, by group",
    )
    data.add_argument("--layers", help="only these layers of the store, such as 0,4,8")


def add_tuning_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a study may cost."""
    tuning = parser.add_argument_group("tuning (inner cross-validation on the clips that are learned from)")
    tuning.add_argument(
        "--trials", type=number(1, whole=True), metavar="N", help="trials; the defaults of the head are the first"
    )
    tuning.add_argument("--timeout-seconds", type=number(0), metavar="S", help="start no trial later than this")
    add_renamed(tuning, "--timeout", "--timeout-seconds", type=number(0))
    tuning.add_argument("--budget", choices=("fast", "default", "thorough"), help="trials, time and folds by name")
    tuning.add_argument("--study", metavar="FILE|URL", help="keep the study (study.db, study.journal, a database URL)")
    tuning.add_argument(
        "--metric",
        help="log_loss (default) or balanced_accuracy; where a clip may have several labels mean_average_precision",
    )
    tuning.add_argument("--pruner", default="median", help="median (default), hyperband or none")
    add_jobs_arguments(tuning, least=1)


def read_parts(args: argparse.Namespace) -> tuple[Dataset, Dataset | None]:
    """Return the clips to learn from, and those to judge on if there is a fixed split or a fraction."""
    dataset = _read_dataset(args).labelled()
    if args.per_class:
        dataset = dataset.balanced(args.per_class, seed=args.seed)
    if args.valid_fraction is None:
        return _predefined(dataset)
    from embedx.evaluation.splits import holdout

    dataset = _without_test_part(dataset)
    if dataset.label_separator is None:
        train, valid = holdout(dataset.y, dataset.groups, args.valid_fraction, args.seed)  # type: ignore[arg-type]
    else:
        train, valid = _held_out_sets(dataset, args)
    _warn_of_shared_groups(dataset, train, valid)
    return dataset.take(train), dataset.take(valid)


def _held_out_sets(dataset: Dataset, args: argparse.Namespace) -> tuple[Any, Any]:
    from embedx.evaluation.iterative_stratification import holdout_of_sets

    Y = dataset.label_matrix(dataset.classes)
    return holdout_of_sets(Y, dataset.groups, args.valid_fraction, args.seed, required=True)


def _read_dataset(args: argparse.Namespace) -> Dataset:
    from embedx.cli.finetune_options import is_audio, read_audio, refuse_other_encoder
    from embedx.dataset import load_embeddings

    if is_audio(args):
        return read_audio(args)
    refuse_other_encoder(args)
    dataset = load_embeddings(
        args.embeddings,
        layers=read_layers(args.layers),
        labels=read_labels(args, split_column=args.split_column),
        label_separator=asked_separator(args),
        most_bytes=MOST_BYTES,
    )
    root = getattr(args, "root", None)
    return dataset if root is None else dataset.located_at(root)


def _predefined(dataset: Dataset) -> tuple[Dataset, Dataset | None]:
    """Cut by the stored split if it names parts; test clips are left alone, folds are all learned from."""
    parts = None if dataset.split is None else _announced(dataset.split)
    if parts is None or parts.folds:
        return dataset if parts is None else dataset.take(parts.placed), None
    if not len(parts.train):
        raise DatasetError("the split names no clip 'train': there is nothing to learn from")
    _warn_of_shared_groups(dataset, parts.train, parts.valid, parts.test)
    return dataset.take(parts.train), dataset.take(parts.valid) if len(parts.valid) else None


def _without_test_part(dataset: Dataset) -> Dataset:
    if dataset.split is None:
        return dataset
    parts = _announced(dataset.split)
    kept = sorted({*parts.placed.tolist()} - {*parts.test.tolist()})
    if not kept:
        raise DatasetError("the split names test clips only: there is nothing to learn from")
    _warn_of_shared_groups(dataset, kept, parts.test)
    return dataset.take(kept)


def _announced(split: Any) -> Parts:
    from embedx.evaluation.splits import read_split
    from embedx.manifest import shorten

    parts = read_split(split)
    if len(parts.test):
        show(f"{len(parts.test)} test clips are left alone (embedx compare judges on them)")
    if parts.folds:
        folds = shorten(", ".join(map(repr, parts.folds)))
        show(f"the split column holds folds, not train and test, so all clips are learned from: {folds}")
    return parts


def _warn_of_shared_groups(dataset: Dataset, train: Any, *others: Any) -> None:
    from embedx.evaluation.duplicate_leakage import describe_copies, find_copied
    from embedx.evaluation.splits import Fold, describe_shared_groups

    folds = [Fold("", train, other) for other in others]
    copied = find_copied(((train, other) for other in others), dataset.sources, dataset.hashes)
    for told in filter(None, describe_shared_groups(folds, dataset.groups) or [describe_copies(len(copied))]):
        warnings.warn(told, EmbedxWarning, stacklevel=2)


def parse_parameters(pairs: list[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs; a value is JSON where it can be, else text."""
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ParameterError(f"--param {pair!r}: give NAME=VALUE, such as C=0.5")
        if name in ("random_state", "n_layers"):
            way = "give --seed" if name == "random_state" else "the store says it"
            raise ParameterError(f"--param {name} is not for you to choose: {way}")
        try:
            found[name] = json.loads(text, parse_constant=str)
        except (ValueError, RecursionError):
            found[name] = text
        if found[name] in (math.inf, -math.inf):
            raise ParameterError(f"--param {pair!r}: the number is too large")
    return found


def run_tuning(args: argparse.Namespace, dataset: Dataset, trackers: Trackers) -> Tuned:
    """Tune with a bar that shows the best value so far, and say what was found."""
    from embedx.tuning import BUDGETS, tune

    budget = BUDGETS[args.budget or "default"]
    timeout = budget.timeout_seconds if args.trials is None or args.budget else None
    with interrupted_means(_TRIALS_KEPT if args.study else _NO_TRIALS_KEPT), ProgressBar("tune", unit="trials") as bar:
        tuned = tune(
            dataset,
            args.head,
            n_trials=budget.n_trials if args.trials is None else args.trials,
            timeout_seconds=timeout if args.timeout_seconds is None else args.timeout_seconds,
            metric=args.metric,
            n_folds=budget.n_folds,
            seed=args.seed,
            study=args.study,
            pruner=args.pruner,
            progress=logging_steps(trackers, bar, "study"),
            n_jobs=args.jobs,
            jobs_backend=args.jobs_backend,
            address=args.address,
        )
    pruned = f", {tuned.n_pruned} given up early" if tuned.n_pruned else ""
    default = next((t["value"] for t in tuned.history if t["value"] is not None), None)
    against = "" if default is None else f" (defaults {default:.4f})"
    show(f"tuned {args.head}: {count(tuned.n_trials, 'trial')}{pruned} in {tuned.seconds:.1f} s")
    show(f"  inner {tuned.metric} {tuned.value:.4f}{against}: {shown_parameters(tuned.params, dataset)}")
    return tuned


def shown_parameters(params: dict[str, Any], dataset: Dataset) -> str:
    """Write parameters for people: layers by their number in the encoder."""
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in params.items()}
    if isinstance(params.get("layer"), int):
        shown["layer"] = shown_layer(params["layer"], dataset)
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or "nothing to tune"


def shown_layer(position: int, dataset: Dataset) -> str:
    """Say a layer's position and its number in the encoder where they differ."""
    number = dataset.layers[position]
    return str(position) if number == position else f"{position} (the encoder's layer {number})"
