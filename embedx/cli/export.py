"""``embedx export``: write a saved model, or its head, for serving elsewhere."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from embedx.cli.terminal import show

if TYPE_CHECKING:
    from embedx.model import Model

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote, or hf:OWNER/NAME[@REVISION]")
    parser.add_argument(
        "--onnx", required=True, metavar="FILE", help="write the head as ONNX: embeddings in, labels out"
    )
    parser.add_argument(
        "--whole", action="store_true", help="write the encoder, too: waveforms in, of any length and any number"
    )


def run(args: argparse.Namespace) -> int:
    """Export, and say what the file takes and how far its answers are from the model's."""
    from embedx.model import Model

    model = Model.load(args.model)
    if args.whole:
        from embedx.model.export_whole import export_whole as export
    else:
        from embedx.model.export import export_onnx as export
    difference = export(model, args.onnx)
    checked = (
        "not checked: onnxruntime is not installed" if difference is None else f"largest difference {difference:.1e}"
    )
    show(f"saved {args.onnx}: {_taken(model, whole=args.whole)} -> {len(model.classes)} classes ({checked})")
    return 0


def _taken(model: Model, *, whole: bool) -> str:
    """Say what the graph takes."""
    if whole:
        return f"waveform at {model.recipe.sample_rate} Hz and n_samples"
    return f"{model.n_features} columns of {'log-mel statistics' if model.input_kind == 'control' else 'embeddings'}"
