"""What fine-tuning adds to the commands: where audio comes from, and the options of a long training."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.labels import named_columns

if TYPE_CHECKING:
    from embedx.dataset import Dataset

__all__ = [
    "add_finetune_arguments",
    "finetune_parameters",
    "is_audio",
    "is_first_process",
    "read_audio",
    "refuse_other_encoder",
    "telling_how_to_resume",
]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PARAMETERS = ("epochs", "learning_rate", "freeze", "lora_rank", "batch_seconds", "device")


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``--head finetune``; all its other parameters are given by --param."""
    group = parser.add_argument_group(
        "fine-tuning (--head finetune; runs on several GPUs under torchrun --nproc-per-node N -m embedx fit ...)"
    )
    group.add_argument("--encoder", metavar="NAME", help="where training begins (default: the store's encoder)")
    group.add_argument("--window-seconds", type=float, metavar="S", help="longest piece computed at once (default: 10)")
    group.add_argument("--root", metavar="FOLDER", help="where the store's audio lies now")
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the clips, at most (default: 20)")
    group.add_argument("--learning-rate", type=float, metavar="R", help="of the top layer (default: 1e-4)")
    group.add_argument("--freeze", choices=("conv", "none", "encoder"), help="what never moves (default: conv)")
    group.add_argument("--lora-rank", type=int, metavar="R", help="train small matrices instead (extra lora)")
    group.add_argument("--batch-seconds", type=float, metavar="S", help="audio computed at a time (halved if need be)")
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
        return {**given, "checkpoint_folder": f"{Path(args.output)}.checkpoints", "resume": args.resume}
    extra = [*given, *(name for name in ("encoder", "window_seconds", "root", "resume") if getattr(args, name))]
    if extra:
        from embedx.errors import ParameterError

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
    try:
        with place.open("rb") as file:
            return file.read(len(_HDF5)) != _HDF5
    except OSError:
        return place.suffix.lower() not in (".h5", ".hdf5")


def refuse_other_encoder(args: argparse.Namespace) -> None:
    """A store says itself which encoder and windows it has.

    Raises
    ------
    ParameterError
        One of them was given beside a store.
    """
    for name in ("encoder", "window_seconds"):
        if args.head == "finetune" and getattr(args, name, None) is not None:
            from embedx.errors import ParameterError

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
    from embedx.encoders.catalog import DEFAULT_ENCODER
    from embedx.heads.finetune import FineTuneClassifier
    from embedx.manifest import read_manifest

    manifest = read_manifest(args.embeddings, **named_columns(args, "label", "group", "split"))
    chosen: dict[str, Any] = {"encoder": getattr(args, "encoder", None) or DEFAULT_ENCODER}
    if getattr(args, "window_seconds", None) is not None:
        chosen["window_seconds"] = args.window_seconds
    return list_audio(manifest, recipe=FineTuneClassifier(**chosen).starting_recipe())


@contextlib.contextmanager
def telling_how_to_resume(args: argparse.Namespace) -> Iterator[None]:
    """Say after Ctrl-C which option goes on with a fine-tuning, if there is something to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        place = Path(f"{Path(args.output)}.checkpoints")
        if args.head == "finetune" and any(place.glob("step-*")):
            print(
                f"embedx: its state is in {place}: the same command with --resume goes on from there", file=sys.stderr
            )
        raise
