"""``embedx info``: what is in a store or a saved model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from embedx.cli.terminal import show
from embedx.text import as_size

if TYPE_CHECKING:
    from embedx.store.maintenance import StoreInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", type=Path, help="a store (emb.h5) or a saved model (a folder, or hf:OWNER/NAME)")
    parser.add_argument("--failures", action="store_true", help="list the clips that failed, a tab, and why")


def run(args: argparse.Namespace) -> int:
    """Print what is there."""
    is_on_hub = str(args.path).startswith("hf:") and not args.path.exists()
    if (args.path.is_dir() or is_on_hub) and not args.failures:
        from embedx.model import describe

        lines = iter(describe(args.path))
    else:
        from embedx.store.maintenance import store_info

        info = store_info(args.path)
        lines = iter(f"{clip}\t{error}" for clip, error in info.failures) if args.failures else _lines(args.path, info)
    for line in lines:
        show(line)
    return 0


def _lines(path: Path, info: StoreInfo) -> Iterator[str]:
    recipe = info.recipe
    yield f"{path}: embedding store, schema {info.schema}, {as_size(info.size_bytes)}"
    yield f"encoder   {recipe.encoder}, revision {recipe.revision}, weights {recipe.weights_sha256[:12]}"
    layers = ", ".join(map(str, recipe.layers))
    yield f"rows      {info.n_rows:,} x {len(recipe.layers)} layers ({layers}) x {info.dim}, {recipe.store_dtype}"
    yield f"recipe    {_recipe(json.loads(recipe.to_json()))}"
    yield f"root      {info.root}"
    yield f"clips     {info.n_clips:,}, of which {info.n_failed:,} failed"
    for reason, n in info.reasons.items():
        yield f"failed    {n:>8,}  {reason}"
    if info.n_failed:
        yield f"          embedx info {path} --failures lists them"
    if info.n_pending:
        yield f"pending   {info.n_pending} parts not published yet: run embedx extract again"
    for label, n in info.labels.items():
        yield f"label     {n:>8,}  {label}"
    unlabelled = info.n_clips - sum(info.labels.values())
    if unlabelled:
        yield f"label     {unlabelled:>8,}  (none)"
    if info.n_groups:
        yield f"groups    {info.n_groups:>8,}"
    for part, n in sorted(info.splits.items()):
        yield f"split     {n:>8,}  {part}"
    for environment, n in info.environments.items():
        versions = ", ".join(f"{key} {value}" for key, value in sorted(json.loads(environment).items()))
        yield f"made by   {n:>8,}  {versions}"


def _recipe(fields: dict[str, object]) -> str:
    shown = ("encoder", "revision", "weights_sha256", "layers", "store_dtype")
    return ", ".join(f"{key}={value}" for key, value in fields.items() if key not in shown)
