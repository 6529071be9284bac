"""What fine-tuning adds to the commands: where audio comes from, and the options of a long training."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import is_store, number
from embedx.cli.manifest_options import named_columns, named_labels
from embedx.errors import Interrupted, ParameterError

if TYPE_CHECKING:
    from embedx.dataset import Dataset

__all__ = [
    "add_finetune_arguments",
    "finetune_parameters",
    "is_audio",
    "is_first_process",
    "read_audio",
    "refuse_other_encoder",
    "require_no_checkpoint",
    "telling_what_is_kept",
]

_PARAMETERS = ("epochs", "learning_rate", "freeze", "lora_rank", "batch_seconds", "device")


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``--head finetune``; all its other parameters are given by --param."""
    group = parser.add_argument_group(
        "fine-tuning (--head finetune; runs on several GPUs under torchrun --nproc-per-node N -m embedx fit ...)"
    )
    group.add_argument("--encoder", metavar="NAME", help="where training begins (default: the store's encoder)")
    group.add_argument(
        "--window-seconds",
        type=number(0, open_low=True),
        metavar="S",
        help="longest piece computed at once (default: 10)",
    )
    group.add_argument("--root", metavar="FOLDER", help="where the store's audio lies now")
    group.add_argument(
        "--epochs", type=number(1, whole=True), metavar="N", help="passes over the clips, at most (default: 20)"
    )
    group.add_argument(
        "--learning-rate", type=number(0, open_low=True), metavar="R", help="of the top layer (default: 1e-4)"
    )
    group.add_argument("--freeze", choices=("conv", "none", "encoder"), help="what never moves (default: conv)")
    group.add_argument(
        "--lora-rank", type=number(0, whole=True), metavar="R", help="train small matrices instead (extra lora)"
    )
    group.add_argument(
        "--batch-seconds",
        type=number(0, open_low=True),
        metavar="S",
        help="audio computed at a time (halved if need be)",
    )
    group.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    group.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: auto)")
    group.add_argument("--resume", action="store_true", help="go on from OUTPUT.checkpoints after a kill")


def finetune_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of the head that were given as options; none for other heads.

    Raises
    ------
    ParameterError
        Options of fine-tuning for another head.
    """
    given = {name: getattr(args, name) for name in _PARAMETERS if getattr(args, name) is not None}
    if args.gradient_checkpointing:
        given["gradient_checkpointing"] = True
    if args.head == "finetune":
        return {**given, "checkpoint_folder": str(_checkpoints(args)), "resume": args.resume}
    extra = [*given, *(name for name in ("encoder", "window_seconds", "root", "resume") if getattr(args, name))]
    if extra:
        flag = "--" + extra[0].replace("_", "-")
        raise ParameterError(f"{flag} is for --head finetune, not for {args.head}: leave it out")
    return {}


def is_first_process() -> bool:
    """Say whether this is the process that prints and saves (under torchrun there are others)."""
    return os.environ.get("RANK", "0") == "0"


def is_audio(args: argparse.Namespace) -> bool:
    """Say whether the clips are audio, not a store; only heads that learn from audio may be given it."""
    place = Path(args.embeddings)
    if args.head != "finetune":
        return False
    if place.is_dir():
        return True
    return not is_store(place) and (place.is_file() or place.suffix.lower() not in (".h5", ".hdf5"))


def refuse_other_encoder(args: argparse.Namespace) -> None:
    """A store says itself which encoder and windows it has.

    Raises
    ------
    ParameterError
        One of them was given beside a store.
    """
    for name in ("encoder", "window_seconds"):
        if args.head == "finetune" and getattr(args, name, None) is not None:
            flag = "--" + name.replace("_", "-")
            raise ParameterError(f"{flag}: {args.embeddings} is a store and names its own; leave it out, or give audio")


def read_audio(args: argparse.Namespace) -> Dataset:
    """Read a folder or a CSV of audio as a dataset without embeddings.

    Raises
    ------
    ManifestError
        The folder or CSV cannot be used.
    EncoderError
        There is no such encoder.
    """
    from embedx.dataset import list_audio
    from embedx.encoders.resolve import DEFAULT_ENCODER
    from embedx.heads.finetune import FineTuneClassifier
    from embedx.manifest import read_manifest

    manifest = read_manifest(args.embeddings, **named_columns(args, "label", "group", "split"), **named_labels(args))
    chosen: dict[str, Any] = {"encoder": getattr(args, "encoder", None) or DEFAULT_ENCODER}
    if getattr(args, "window_seconds", None) is not None:
        chosen["window_seconds"] = args.window_seconds
    return list_audio(manifest, recipe=FineTuneClassifier(**chosen).starting_recipe())


def _checkpoints(args: argparse.Namespace) -> Path:
    return Path(f"{Path(args.output)}.checkpoints")


def _has_checkpoint(args: argparse.Namespace) -> bool:
    return args.head == "finetune" and any(_checkpoints(args).glob("step-*"))


def require_no_checkpoint(args: argparse.Namespace) -> None:
    """Refuse to begin anew where an unfinished training can be gone on with.

    Raises
    ------
    ParameterError
        There is a checkpoint, and neither ``--resume`` nor ``--overwrite`` is given.
    """
    if _has_checkpoint(args) and not args.resume and not args.overwrite:
        raise ParameterError(
            f"{_checkpoints(args)} holds a training that was not finished: --resume goes on with it, "
            "--overwrite begins anew and drops it"
        )


@contextlib.contextmanager
def telling_what_is_kept(args: argparse.Namespace) -> Iterator[None]:
    """Say after Ctrl-C what there is to go on from, and the command that does.

    Raises
    ------
    Interrupted
        Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if _has_checkpoint(args):
            raise Interrupted(f"its state is kept in {_checkpoints(args)}, to go on: {_resuming(sys.argv)}") from stop
        raise Interrupted(f"no model was saved, and {args.output} is as it was") from stop


def _resuming(words: list[str]) -> str:
    """Return the command of this process with ``--resume``."""
    if "fit" not in words:  # called from Python
        return "the same command with --resume"
    given = [word for word in words[words.index("fit") :] if word != "--resume"]
    command = f"embedx {shlex.join([*given, '--resume'])}"
    n = os.environ.get("WORLD_SIZE")
    return command if n is None else f"{command} (as python -m embedx, under the same torchrun)"
