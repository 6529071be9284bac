"""What mteb's own evaluator says of an array of embeddings, frozen for tests that have no mteb.

    python -m venv PLACE && PLACE/bin/pip install mteb        # an environment of its own
    PLACE/bin/python benchmarks/quality/mteb_fixture.py tests/benchmarks/mteb.json

The evaluator is mteb's whole classification task, with a model that looks its embeddings up.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"n_train": 150, "n_test": 90, "n_classes": 5, "dim": 24}
SETTINGS = ({"samples_per_label": 8, "n_experiments": 10}, {"samples_per_label": 16, "n_experiments": 5})


def make_arrays() -> dict[str, Any]:
    """Draw embeddings (n, d) float32 and labels (n,) of classes that overlap, the same everywhere and for ever."""
    rng = np.random.RandomState(7)
    n = SIZES["n_train"] + SIZES["n_test"]
    y = rng.randint(0, SIZES["n_classes"], n)
    centres = rng.normal(size=(SIZES["n_classes"], SIZES["dim"]))
    x = (centres[y] * 0.6 + rng.normal(size=(n, SIZES["dim"]))).astype(np.float32)
    cut = SIZES["n_train"]
    return {"x": x, "y": y.tolist(), "train_x": x[:cut], "train_y": y[:cut].tolist()} | {
        "test_x": x[cut:],
        "test_y": y[cut:].tolist(),
    }


def arrays_sha256() -> str:
    """Return 64 hexadecimal digits of the arrays, so that a fixture is not read beside another array."""
    arrays = make_arrays()
    return hashlib.sha256(arrays["x"].tobytes() + bytes(arrays["y"])).hexdigest()


def make_task(arrays: dict[str, Any], *, cross_validation: bool, **settings: int) -> Any:
    """Return a classification task of mteb whose inputs are row numbers."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    class RowNumbers(AbsTaskClassification):
        metadata = TaskMetadata(
            name="RowNumbers",
            description="Row numbers, classified by the embeddings that belong to them.",
            dataset={"path": "none", "revision": "none"},
            type="Classification",
            category="t2c",
            modalities=["text"],
            eval_splits=["train" if cross_validation else "test"],
            eval_langs=["eng-Latn"],
            main_score="accuracy",
        )
        is_cross_validation = cross_validation

    task = RowNumbers()
    for name, value in settings.items():
        setattr(task, name, value)
    n = len(arrays["train_y"])
    rows = [str(i) for i in range(len(arrays["y"]))]
    whole = Dataset.from_dict({"text": rows, "label": arrays["y"]})
    parts = {"train": whole} if cross_validation else {"train": whole.select(range(n))}
    if not cross_validation:
        parts["test"] = whole.select(range(n, len(rows)))
    task.dataset = DatasetDict(parts)
    task.data_loaded = True
    return task


class LookUp:
    """A model of mteb that knows the embedding of every row."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.mteb_model_meta = None

    def encode(self, inputs: Any, **facts: Any) -> Any:
        """Return the rows that a loader asks for."""
        return self.x[[int(text) for batch in inputs for text in batch["text"]]]

    def similarity(self, a: Any, b: Any) -> Any:
        """Not asked for by classification."""
        raise NotImplementedError

    similarity_pairwise = similarity


def evaluate_with_mteb(arrays: dict[str, Any], *, cross_validation: bool, **settings: int) -> dict[str, Any]:
    """Return mteb's scores: their means, and one dictionary a run."""
    task = make_task(arrays, cross_validation=cross_validation, **settings)
    split = "train" if cross_validation else "test"
    scores = task.evaluate(LookUp(arrays["x"]), split, encode_kwargs={"batch_size": 64})["default"]
    return json.loads(json.dumps(scores, default=float))


def main() -> None:
    """Write the fixture."""
    arrays = make_arrays()
    cases = [
        {"cross_validation": crossed, "settings": settings, "scores": None}
        for crossed, choices in ((False, SETTINGS), (True, ({"samples_per_label": 8, "n_splits": 5},)))
        for settings in choices
    ]
    for case in cases:
        case["scores"] = evaluate_with_mteb(arrays, cross_validation=case["cross_validation"], **case["settings"])
    versions = {name: importlib.metadata.version(name) for name in ("mteb", "scikit-learn", "numpy")}
    record = {"versions": versions, "arrays_sha256": arrays_sha256(), "cases": cases}
    Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
