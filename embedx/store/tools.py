"""What is in a store, and is it whole: info, verify, merge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedx.recipe import Recipe
from embedx.store.file import SCHEMA
from embedx.store.store import read_store

__all__ = ["StoreInfo", "store_info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a store holds, counted."""

    recipe: Recipe
    root: Path
    schema: int
    n_clips: int
    n_failed: int
    n_rows: int
    dim: int
    size_bytes: int
    labels: Mapping[str, int]
    reasons: Mapping[str, int]
    failures: Sequence[tuple[str, str]]
    environments: Sequence[Mapping[str, str]]


def store_info(path: str | os.PathLike[str]) -> StoreInfo:
    """Count what a store holds."""
    table = read_store(path)
    failures = [(s.id, e) for s, e in zip(table.sources, table.errors, strict=True) if e is not None]
    return StoreInfo(
        recipe=table.recipe,
        root=table.root,
        schema=SCHEMA,
        n_clips=len(table.sources),
        n_failed=len(failures),
        n_rows=len(table.embeddings),
        dim=table.embeddings.shape[2],
        size_bytes=os.stat(path).st_size,
        labels=dict(Counter(s.label for s in table.sources if s.label is not None).most_common()),
        reasons=dict(Counter(error.split(":")[0] for _, error in failures).most_common()),
        failures=failures,
        environments=table.environments,
    )
