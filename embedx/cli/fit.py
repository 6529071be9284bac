"""``embedx fit``: train one head and save the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.finetune_options import (
    add_finetune_arguments,
    finetune_parameters,
    is_first_process,
    require_no_checkpoint,
    telling_what_is_kept,
)
from embedx.cli.manifest_options import asked_separator
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import show
from embedx.cli.tracking_options import add_tracking_argument, logging_steps, tracked
from embedx.cli.training_options import (
    add_data_arguments,
    add_tuning_arguments,
    parse_parameters,
    read_parts,
    run_tuning,
)

if TYPE_CHECKING:
    from embedx.dataset import Dataset
    from embedx.model import Model
    from embedx.tracking import Trackers

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="folder for the model")
    parser.add_argument("--overwrite", action="store_true", help="replace a model that lies there already")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the head, such as C=0.5"
    )
    parser.add_argument(
        "--calibrate",
        nargs="?",
        const="auto",
        choices=("auto", "temperature", "isotonic"),
        help="correct probabilities on held-out folds (auto: isotonic from 1,000 clips on)",
    )
    add_tracking_argument(parser)
    add_tuning_arguments(parser)
    add_finetune_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, save, say what was measured."""
    from embedx.heads.catalog import get_head
    from embedx.heads.multi_label import require_multi_label_head
    from embedx.model.atomic_folder import require_place

    get_head(args.head)
    if asked_separator(args) is not None:
        require_multi_label_head(args.head)
    params = {**finetune_parameters(args), **parse_parameters(args.param)}
    require_place(Path(args.output), overwrite=args.overwrite)
    require_no_checkpoint(args)
    with tracked(args, "fit") as trackers:
        return _run(args, params, trackers)


def _run(args: argparse.Namespace, params: dict[str, Any], trackers: Trackers) -> int:
    from embedx.tracking import log_data, log_model

    train, valid = read_parts(args)
    train.require_learnable()
    log_data(trackers, train)
    if args.trials is not None or args.budget or args.study or args.timeout_seconds is not None:
        params = {**_tuned(args, train, trackers), **params}
    with telling_what_is_kept(args):
        model = _fitted(args, train, valid, params, trackers)
        if not is_first_process():
            return 0
        folder = _saved(model, args)
    _print_scores(model)
    log_model(trackers, model, folder)
    show(f"saved {folder}: {args.head} on {len(train)} clips, {len(model.classes)} classes")
    return 0


def _tuned(args: argparse.Namespace, train: Dataset, trackers: Trackers) -> dict[str, Any]:
    from embedx.tracking import log_tuning

    tuned = run_tuning(args, train, trackers)
    log_tuning(trackers, tuned)
    return tuned.params


def _fitted(
    args: argparse.Namespace, train: Dataset, valid: Dataset | None, params: dict[str, Any], trackers: Trackers
) -> Model:
    from embedx.model import fit_model

    calibrate = True if args.calibrate == "auto" else args.calibrate or False
    with ProgressBar(f"fit {args.head}", unit="steps") as bar:
        progress = logging_steps(trackers, bar, "train") if is_first_process() else None
        return fit_model(
            train, args.head, params=params, valid=valid, calibrate=calibrate, seed=args.seed, progress=progress
        )


def _saved(model: Model, args: argparse.Namespace) -> Path:
    """Save the model; where another run has taken the place meanwhile, beside it."""
    from embedx.model.atomic_folder import free_place

    place = Path(args.output) if args.overwrite else free_place(Path(args.output))
    return model.save(place, overwrite=args.overwrite)


def _print_scores(model: Model) -> None:
    _print_held_out(model)
    _print_novelty(model)


def _print_novelty(model: Model) -> None:
    told = model.scores.get("novelty", {})
    if "auroc" in told:
        show(
            f"unknown sounds: of classes left out in turns {told['told']:.0%} of the clips are told "
            f"when 5 % of the known ones are called unknown (AUROC {told['auroc']:.2f})"
        )
    elif model.novelty is None:
        show("unknown sounds are not told: " + _why_not(model))


def _why_not(model: Model) -> str:
    if model.input_kind == "sources":
        return "a fine-tuned network has no novelty score"
    if model.label_separator is not None:
        return "a model of several labels a clip has no novelty score"
    return "that needs clips of several groups, of which some can be held out"


def _print_held_out(model: Model) -> None:
    if "valid" in model.scores:
        columns = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
        guess = "majority baseline"
        if model.label_separator is not None:
            columns, guess = ("macro_f1", "micro_f1", "mean_average_precision", "roc_auc"), "class prevalence"
        show(f"{model.scores['valid']['n_clips']} held-out clips  " + "  ".join(f"{name:>17}" for name in columns))
        for row, name in (("valid", model.head), ("majority", guess)):
            show(f"  {name:<20}" + "  ".join(_shown(model.scores[row][column]) for column in columns))
    if "calibration" in model.scores:
        facts = model.scores["calibration"]
        how = f"temperature {facts['temperature']:.2f}" if facts["method"] == "temperature" else facts["method"]
        show(
            f"calibrated ({how}, {facts['n_clips']} held-out predictions): "
            f"log-loss {facts['log_loss_before']:.3f} -> {facts['log_loss_after']:.3f}, "
            f"calibration error {facts['ece_before']:.3f} -> {facts['ece_after']:.3f}"
        )


def _shown(score: float | None) -> str:
    return f"{'-' if score is None else f'{score:.3f}':>17}"
