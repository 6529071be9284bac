"""Measure the bundled encoder on what it never heard, beside random weights and log-mel statistics.

    python -m benchmarks.training.evaluate_tiny --data PATH/TO/data     # with esc10/ and fsdd/

Mean pooled layers, standardised, logistic regression (C = 1). The layer is chosen inside the training part, by
cross-validation over its own folds or speakers; the curve over all layers is written down beside the choice.
Writes benchmarks/results/tiny.json.
"""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

from benchmarks.tools.record import table, write_result
from benchmarks.training.architecture import CHECKPOINT, fresh_model
from embedx.audio.decode import decode
from embedx.encoders.logmel import log_mel_statistics

SAMPLE = CHECKPOINT.parent / "sample"
FIELD = 400  # samples that one frame of the encoder sees
SEED = 0


@dataclass(frozen=True)
class Task:
    """Clips with labels, a part per clip (fold or speaker), and which parts are tested."""

    name: str
    paths: list[Path]
    y: np.ndarray
    part: np.ndarray
    group: np.ndarray
    tested: tuple[str, ...]
    heard: str


@dataclass(frozen=True)
class Outcome:
    """What one kind of features reached: the truth, the guesses, the chosen layers and the curve over layers."""

    truth: np.ndarray
    guess: np.ndarray
    group: np.ndarray
    layers: list[int]
    curve: list[float]


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read the clips of a folder from its clips.csv."""
    with open(folder / "clips.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def task(name: str, folder: Path, *, part: str, group: str, tested: tuple[str, ...], heard: str) -> Task:
    """Describe a task by the columns of a clips.csv."""
    rows = read_rows(folder)
    columns = (np.array([row[key] for row in rows]) for key in ("label", part, group))
    return Task(name, [folder / row["path"] for row in rows], *columns, tested, heard)


def tasks(data: Path) -> list[Task]:
    """List the three clean tasks."""
    esc = {"part": "fold", "group": "source_id"}
    all_folds = tuple("12345")
    return [
        task("sample, 4 classes, 5 folds", SAMPLE, **esc, tested=all_folds, heard="nothing of it"),
        task(
            "ESC-10 fold 5",
            data / "esc10",
            **esc,
            tested=("5",),
            heard="192 of the 320 training clips; no tested clip, no tested recording",
        ),
        task(
            "FSDD george",
            data / "fsdd",
            part="speaker",
            group="path",
            tested=("george",),
            heard="all training clips; no tested clip, not the tested speaker",
        ),
    ]


def encoder_features(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from samples to mean pooled layers (n_layers + 1, dim), one clip at a time."""
    model = model.eval()

    @torch.inference_mode()
    def features(samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, (0, max(0, FIELD - len(samples))))
        wave = torch.from_numpy((padded - padded.mean()) / np.sqrt(padded.var() + 1e-7))[None]
        hidden = model(wave, output_hidden_states=True).hidden_states
        return torch.stack([layer[0].mean(0) for layer in hidden]).numpy()

    return features


def logistic() -> Pipeline:
    """Return the one classifier that every kind of features gets."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))


def chosen_layer(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> int:
    """Choose the layer (n, layers, dim) whose cross-validated accuracy over `part` is best; ties to the lowest."""
    scores = [
        cross_val_score(logistic(), x[:, layer], y, groups=part, cv=LeaveOneGroupOut(), error_score="raise").mean()
        for layer in range(x.shape[1])
    ]
    return int(np.argmax(scores))


def outcome(x: np.ndarray, job: Task) -> Outcome:
    """Train on all parts but one, test on that one, for every tested part."""
    guesses, layers, curves, tests = [], [], [], []
    for name in job.tested:
        train, test = np.flatnonzero(job.part != name), np.flatnonzero(job.part == name)
        by_layer = [logistic().fit(x[train, k], job.y[train]).predict(x[test, k]) for k in range(x.shape[1])]
        layer = chosen_layer(x[train], job.y[train], job.part[train]) if x.shape[1] > 1 else 0
        guesses.append(by_layer[layer])
        curves.append([accuracy_score(job.y[test], guess) * len(test) for guess in by_layer])
        layers.append(layer)
        tests.append(test)
    test = np.concatenate(tests)
    curve = (np.sum(curves, axis=0) / len(test)).tolist()
    return Outcome(job.y[test], np.concatenate(guesses), job.group[test], layers, curve)


def interval(result: Outcome, *, n_draws: int = 2000) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of accuracy, drawing whole recordings."""
    rng = np.random.default_rng(SEED)
    _, member = np.unique(result.group, return_inverse=True)
    hits = np.bincount(member, weights=result.truth == result.guess)
    sizes = np.bincount(member)
    draws = rng.integers(0, len(sizes), (n_draws, len(sizes)))
    low, high = np.quantile(hits[draws].sum(1) / sizes[draws].sum(1), [0.025, 0.975])
    return float(low), float(high)


def row(job: Task, name: str, result: Outcome) -> dict[str, Any]:
    """Return what is written down of one kind of features on one task."""
    return {
        "task": job.name,
        "features": name,
        "accuracy": round(float(accuracy_score(result.truth, result.guess)), 4),
        "interval": [round(bound, 3) for bound in interval(result)],
        "balanced_accuracy": round(float(balanced_accuracy_score(result.truth, result.guess)), 4),
        "macro_f1": round(float(f1_score(result.truth, result.guess, average="macro")), 4),
        "n_tested": len(result.truth),
        "layers_chosen": result.layers,
        "accuracy_by_layer": [round(float(value), 4) for value in result.curve],
        "heard": job.heard if name == "tiny" else "nothing",
    }


def measured(job: Task) -> list[dict[str, Any]]:
    """Measure the bundled encoder, the same encoder with random weights, and log-mel statistics on one task."""
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "tiny": encoder_features(AutoModel.from_pretrained(CHECKPOINT)),
        "random weights": encoder_features(fresh_model(SEED)),
        "log-mel": lambda samples: log_mel_statistics(samples)[None],
    }
    clips = [decode(path) for path in job.paths]
    return [row(job, name, outcome(np.stack([of(clip) for clip in clips]), job)) for name, of in kinds.items()]


def scores_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table of the report."""
    columns = ["task", "features", "accuracy", "95 %", "layer", "layers 0 to 4", "what it has heard"]
    note = "Logistic regression; layer chosen inside the training part; interval over recordings (grouped bootstrap)."
    return table(columns, [_drawn(entry) for entry in rows], note=note)


def _drawn(entry: dict[str, Any]) -> list[str]:
    low, high = entry["interval"]
    is_encoder = len(entry["accuracy_by_layer"]) > 1
    layers = ", ".join(map(str, sorted(set(entry["layers_chosen"])))) if is_encoder else "-"
    curve = " ".join(f"{value:.2f}" for value in entry["accuracy_by_layer"]) if is_encoder else "-"
    accuracy = f"{entry['accuracy']:.3f}"
    return [entry["task"], entry["features"], accuracy, f"{low:.2f} to {high:.2f}", layers, curve, entry["heard"]]


def main() -> None:
    """Measure all three tasks and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esc10/ and fsdd/")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [entry for job in tasks(args.data) for entry in measured(job)]
    note = json.loads((CHECKPOINT / "config.json").read_text())["embedx_note"]
    print(write_result("tiny", tables={"scores": scores_table(rows)}, rows=rows, seed=SEED, checkpoint=note))
    for entry in rows:
        print(*_drawn(entry), sep=" | ")


if __name__ == "__main__":
    main()
