"""HEAR's, ARCH's and MAEB's protocols on arrays of embeddings, as they publish them.

A number can be put beside theirs only if it was made their way, so each function follows the source of its
benchmark, faults included; what is odd about each is said in its docstring. Ours is `embedx.compare`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from sklearn.model_selection import KFold, ParameterGrid, train_test_split

__all__ = ["MAEB_SEED", "Outcome", "arch", "hear", "maeb", "maeb_cross_validation"]

Array = NDArray[Any]

MAEB_SEED = 42
HEAR_GRID: dict[str, list[Any]] = {
    "hidden_layers": [1, 2],
    "hidden_dim": [1024],
    "dropout": [0.1],
    "lr": [3.2e-3, 1e-3, 3.2e-4, 1e-4],
    "patience": [20],
    "max_epochs": [500],
    "check_val_every_n_epoch": [3],
    "batch_size": [1024],
    "initialization": ["xavier_uniform_", "xavier_normal_"],
}
HEAR_FASTER: dict[str, list[Any]] = {
    **HEAR_GRID,
    "hidden_layers": [0, 1],
    "hidden_dim": [64, 128],
    "patience": [1, 3],
    "max_epochs": [10],
    "check_val_every_n_epoch": [1],
}


@dataclass(frozen=True)
class Outcome:
    """What a protocol found: one score for each of its runs (folds, draws or repetitions)."""

    runs: list[dict[str, float]]
    what: str
    settings: dict[str, Any] = field(default_factory=dict)

    def mean(self, name: str = "accuracy") -> float:
        """Return the mean over the runs."""
        return float(np.mean([run[name] for run in self.runs]))

    def spread(self, name: str = "accuracy") -> float:
        """Return the standard deviation over the runs (divisor n - 1; 0 for a single one)."""
        return float(np.std([run[name] for run in self.runs], ddof=1)) if len(self.runs) > 1 else 0.0


def maeb(
    train_x: Array,
    train_y: Sequence[Any],
    test_x: Array,
    test_y: Sequence[Any],
    *,
    samples_per_label: int = 8,
    n_experiments: int = 10,
    seed: int = MAEB_SEED,
) -> Outcome:
    """Score embeddings as MAEB (mteb's `AbsTaskClassification`) does on a task with a training and a test part.

    Logistic regression (100 iterations, no scaling) on ``samples_per_label`` clips of every class, drawn
    ``n_experiments`` times. Every draw shuffles with the same seed, but it shuffles the order that the
    draw before left, so the draws differ.

    Parameters
    ----------
    train_x, test_x : ndarray of shape (n, d)
        Embeddings, fitted in the dtype they have.
    train_y, test_y : sequence of length n
        Labels.
    samples_per_label, n_experiments, seed : int
        As in the task's class; 8, 10 and 42 unless it says otherwise.
    """
    order = list(range(len(train_y)))
    runs = []
    for _ in range(n_experiments):
        chosen = _maeb_draw(order, train_y, samples_per_label, seed)
        runs.append(_maeb_fit(train_x[chosen], [train_y[i] for i in chosen], test_x, test_y, seed))
    return Outcome(runs, "draws", {"samples_per_label": samples_per_label, "n_experiments": n_experiments})


def maeb_cross_validation(
    x: Array, y: Sequence[Any], *, samples_per_label: int = 8, n_splits: int = 5, seed: int = MAEB_SEED
) -> Outcome:
    """Score embeddings as MAEB does on a task with one part: five random folds, few clips of each training part.

    The folds know neither groups nor official folds, so clips of one recording fall on both sides. The order
    of the first fold's clips is handed on to the next folds.
    """
    runs, order = [], None
    for train, test in KFold(n_splits, shuffle=True, random_state=seed).split(range(len(y))):
        order = list(range(len(train))) if order is None else order
        labels = [y[i] for i in train]
        chosen = _maeb_draw(order, labels, samples_per_label, seed)
        runs.append(_maeb_fit(x[train][chosen], [labels[i] for i in chosen], x[test], [y[i] for i in test], seed))
    return Outcome(runs, "folds", {"samples_per_label": samples_per_label, "n_splits": n_splits})


def _maeb_draw(order: list[int], labels: Sequence[Any], samples_per_label: int, seed: int) -> list[int]:
    np.random.RandomState(seed).shuffle(order)
    seen: dict[Any, int] = defaultdict(int)
    chosen = []
    for i in order:
        if seen[labels[i]] < samples_per_label:
            seen[labels[i]] += 1
            chosen.append(i)
    return chosen


def _maeb_fit(
    train_x: Array, train_y: Sequence[Any], test_x: Array, test_y: Sequence[Any], seed: int
) -> dict[str, float]:
    guess = LogisticRegression(max_iter=100, random_state=seed).fit(train_x, train_y).predict(test_x)
    return _scores(test_y, guess)


def _scores(truth: Sequence[Any], guess: Any) -> dict[str, float]:
    averaged = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
    found = {"accuracy": float(accuracy_score(truth, guess))}
    for name, function in averaged.items():
        for suffix, average in (("", "macro"), ("_weighted", "weighted")):
            found[name + suffix] = float(function(truth, guess, average=average, zero_division=0.0))
    return found


def arch(x: Array, y: Sequence[Any], folds: Sequence[Any] | None, *, n_iters: int = 1, n_epochs: int = 200) -> Outcome:
    """Score embeddings as ARCH does: a linear layer trained on all folds but one, for every fold.

    Without folds a random fifth is tested (its seed is ARCH's; the order of the clips is not known).

    AdamW at 1e-3 falling by 5 % an epoch, batches of 32, 200 epochs, a fifth of the training part set aside at
    random for choosing the best epoch. That choice has no effect: ARCH keeps a reference to the weights, not a
    copy, and so tests the last epoch's. ``n_iters`` repetitions differ in their random weights and batches.
    """
    labels = np.unique(np.asarray(y), return_inverse=True)[1]
    parts = _arch_random(len(labels)) if folds is None else np.asarray(folds)
    tested = ["test"] if folds is None else np.unique(parts)
    runs = []
    for iteration in range(n_iters):
        for name in tested:
            train, _ = train_test_split(np.flatnonzero(parts != name), test_size=0.2, random_state=42)
            test = np.flatnonzero(parts == name)
            guess = _arch_fit(np.asarray(x, np.float32), labels, train, test, n_epochs, seed=iteration)
            runs.append(_scores(labels[test], guess))
    return Outcome(runs, "folds", {"n_epochs": n_epochs, "n_iters": n_iters, "mode": "linear"})


def _arch_random(n: int) -> Array:
    test = train_test_split(np.arange(n), test_size=0.2, random_state=42)[1]
    return np.where(np.isin(np.arange(n), test), "test", "train")


def _arch_fit(x: Array, y: Array, train: Array, test: Array, n_epochs: int, *, seed: int) -> Array:
    import torch

    torch.manual_seed(seed)
    model = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    chosen = torch.from_numpy(train)
    for _ in range(n_epochs):
        for batch in chosen[torch.randperm(len(chosen))].split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return np.asarray(model(inputs[torch.from_numpy(test)]).argmax(1))


def hear(x: Array, y: Sequence[Any], folds: Sequence[Any], *, grid_points: int = 8, grid: str = "default") -> Outcome:
    """Score embeddings as HEAR 2021 (heareval) does on a task with folds.

    Fold i is the test part, fold i + 1 the validation part, the rest is trained on. ``grid_points`` of the grid are
    tried on the first split only; the best by validation accuracy is trained on every split, stopped early, and the
    epoch that was best on validation is tested. Parts named ``train``, ``valid`` and ``test`` are one split.
    Fully connected layers with batch norm, Adam, batches of 1024.

    Parameters
    ----------
    x, y, folds : array-like of length n
        Embeddings, labels, names of at least three folds.
    grid_points : int
        8 unless told, as published.
    grid : {'default', 'faster'}
        HEAR's own names for its grids.
    """
    names = sorted({str(name) for name in folds})
    if len(names) < 3:
        raise ValueError(f"HEAR's protocol needs at least three folds (train, valid, test), this task has {len(names)}")
    parts = np.asarray([str(name) for name in folds])
    named = names == ["test", "train", "valid"]
    data = np.asarray(x, np.float32), np.unique(np.asarray(y), return_inverse=True)[1]
    splits = [("test", "valid")] if named else [(names[i], names[(i + 1) % len(names)]) for i in range(len(names))]
    points = list(ParameterGrid({"default": HEAR_GRID, "faster": HEAR_FASTER}[grid]))
    random.Random(42).shuffle(points)
    tried = [(_hear_fit(*data, parts, splits[0], point), point) for point in points[:grid_points]]
    (_, first), best = max(tried, key=lambda one: one[0][0])
    guesses = [first, *(_hear_fit(*data, parts, split, best)[1] for split in splits[1:])]
    runs = [_scores(data[1][parts == test], guess) for (test, _), guess in zip(splits, guesses, strict=True)]
    return Outcome(runs, "folds", {"grid": grid, "grid_points": grid_points, "chosen": best})


def _hear_fit(x: Array, y: Array, parts: Array, split: tuple[str, str], point: dict[str, Any]) -> tuple[float, Array]:
    """Train one network; return its best validation accuracy and what it then says of the test part."""
    import torch

    torch.manual_seed(42)
    test, valid = (np.flatnonzero(parts == name) for name in split)
    train = np.flatnonzero(~np.isin(parts, split))
    model = _hear_network(x.shape[1], int(y.max()) + 1, point)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def predict(part: Array) -> Array:
        model.eval()
        with torch.no_grad():
            return np.asarray(model(inputs[torch.from_numpy(part)]).argmax(1))

    best, waited, guess = -1.0, 0, np.zeros(len(test), int)
    for epoch in _hear_epochs(model, inputs, targets, torch.from_numpy(train), point):
        if (epoch + 1) % point["check_val_every_n_epoch"]:
            continue
        score = float((predict(valid) == y[valid]).mean())
        waited = 0 if score > best else waited + 1
        if score > best:
            best, guess = score, predict(test)
        if waited >= point["patience"]:
            break
    return best, guess


def _hear_epochs(model: Any, inputs: Any, targets: Any, train: Any, point: dict[str, Any]) -> Iterator[int]:
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=point["lr"])
    for epoch in range(point["max_epochs"]):
        model.train()
        for batch in train[torch.randperm(len(train))].split(point["batch_size"]):
            if len(batch) < 2:  # batch norm cannot learn from one clip
                continue
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        yield epoch


def _hear_network(dim: int, n_classes: int, point: dict[str, Any]) -> Any:
    from torch import nn

    initialise: Callable[..., Any] = getattr(nn.init, point["initialization"])
    modules: list[Any] = []
    last = "linear"
    for _ in range(point["hidden_layers"]):
        linear = nn.Linear(dim, point["hidden_dim"])
        initialise(linear.weight, gain=nn.init.calculate_gain(last))
        modules += [linear, nn.BatchNorm1d(point["hidden_dim"]), nn.Dropout(point["dropout"]), nn.ReLU()]
        dim, last = point["hidden_dim"], "relu"
    projection = nn.Linear(dim, n_classes)
    initialise(projection.weight, gain=nn.init.calculate_gain(last))
    return nn.Sequential(*modules, projection)
