"""``embedx export``: write the head of a saved model for serving elsewhere."""

from __future__ import annotations

import argparse

from embedx.cli.terminal import show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote, or hf:OWNER/NAME[@REVISION]")
    parser.add_argument(
        "--onnx", required=True, metavar="FILE", help="write the head as ONNX: embeddings in, labels out"
    )


def run(args: argparse.Namespace) -> int:
    """Export, and say what the file takes and how far its answers are from the model's."""
    from embedx.model import Model
    from embedx.model.export import export_onnx

    model = Model.load(args.model)
    difference = export_onnx(model, args.onnx)
    checked = (
        "not checked: onnxruntime is not installed" if difference is None else f"largest difference {difference:.1e}"
    )
    taken = "log-mel statistics" if model.input_kind == "control" else "embeddings"
    show(f"saved {args.onnx}: {model.n_features} columns of {taken} -> {len(model.classes)} classes ({checked})")
    return 0
