"""Where a comparison came from: recipes, hashes, versions, seeds, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from embedx.dataset import Dataset
from embedx.encoders.counting import count_parameters
from embedx.evaluation.duplicate_leakage import find_copied
from embedx.evaluation.splits import Fold, lone_classes
from embedx.versions import installed_versions

__all__ = ["PACKAGES", "data_hash", "gather_facts"]

PACKAGES = ("embedx", "numpy", "scipy", "scikit-learn", "lightgbm", "torch", "transformers", "optuna", "joblib")


def data_hash(dataset: Dataset) -> str:
    """Return 64 hexadecimal digits of clips, labels, groups, splits and the bytes of their files."""
    digest = hashlib.sha256()
    for source, file_hash in zip(dataset.sources, dataset.hashes, strict=True):
        row = [source.uri, source.start_seconds, source.stop_seconds, source.label, source.group, source.split]
        digest.update(json.dumps(row).encode() + bytes(np.asarray(file_hash, dtype=np.uint8)))
    return digest.hexdigest()


def gather_facts(
    stores: Mapping[str, Dataset],
    cuts: Sequence[Fold],
    *,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything needed to compute a comparison again, and to see what it was computed on."""
    first = next(iter(stores.values()))
    names, counts = np.unique(np.asarray(first.y), return_counts=True)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "embedding_seconds": _embedding_seconds(stores),
        "store_bytes": {name: one.store_bytes for name, one in stores.items()},
        "parameters": {name: count_parameters(one.recipe) for name, one in stores.items()} if len(stores) > 1 else {},
        "n_clips": len(first),
        "n_groups": None if first.groups is None else len(np.unique(first.groups)),
        "lone_classes": lone_classes(np.asarray(first.y), first.groups),
        "n_copied": len(find_copied(((fold.train, fold.test) for fold in cuts), first.sources, first.hashes)),
        "class_counts": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "audio_seconds": float(first.seconds.sum()),
        "data_sha256": data_hash(first),
        "recipes": {name: json.loads(one.recipe.to_json()) for name, one in stores.items()},
        "fingerprints": {name: one.recipe.fingerprint() for name, one in stores.items()},
        "folds": [
            {"name": fold.name, "repeat": fold.repeat, "n_train": len(fold.train), "n_test": len(fold.test)}
            for fold in cuts
        ],
        "versions": installed_versions(PACKAGES),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
    }


def _embedding_seconds(stores: Mapping[str, Dataset]) -> dict[str, float] | None:
    """Return what embedding the compared clips took, of the stores that know it of every clip."""
    known = {name: one.embedding_seconds for name, one in stores.items() if one.embedding_seconds is not None}
    found = {name: round(float(seconds.sum()), 3) for name, seconds in known.items() if not np.isnan(seconds).any()}
    return found or None
