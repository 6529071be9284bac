"""``embedx info``: what is in a store or a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", type=Path, help="a store (emb.h5) or a saved model (a folder)")
    parser.add_argument("--failures", action="store_true", help="list the clips that failed, with the reason")


def run(args: argparse.Namespace) -> int:
    """Print what is there."""
    for line in _model_lines(args.path) if args.path.is_dir() else _store_lines(args.path, args.failures):
        print(line)
    return 0


def _model_lines(folder: Path) -> list[str]:
    from embedx.model import describe

    return describe(folder)


def _store_lines(path: Path, failures: bool) -> list[str]:
    from embedx.store.tools import store_info

    info = store_info(path)
    if failures:
        return [f"{clip}\t{error}" for clip, error in info.failures]
    recipe = info.recipe
    lines = [
        f"{path}: embedx store, schema {info.schema}, {info.size_bytes / 1e6:.1f} MB",
        f"encoder   {recipe.encoder} (revision {recipe.revision}, weights {recipe.weights_sha256[:12]})",
        f"rows      {info.n_rows} x {len(recipe.layers)} layers x {info.dim}, {recipe.store_dtype}",
        f"clips     {info.n_clips}, {info.n_failed} failed",
        f"root      {info.root}",
    ]
    lines += [f"failed    {n} {reason}" for reason, n in info.reasons.items()]
    lines += [f"label     {n:>6} {label}" for label, n in info.labels.items()]
    return lines
