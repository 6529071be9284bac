"""The training loop of the small network: torch in, plain arrays out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.adamw import adamw

from embedx.errors import ParameterError
from embedx.heads.mlp_settings import MLPSettings

__all__ = ["Trained", "train_network"]

_GATHERED = 64
"""Batches whose rows are copied together; bounds the copy on large data."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Weights of the best epoch as plain arrays, and how the epochs went."""

    weights: dict[str, NDArray[np.float32]]
    best_epoch: int
    losses: list[float]


class _Network(nn.Module):
    def __init__(self, settings: MLPSettings, n_features: int, n_classes: int) -> None:
        super().__init__()
        learned = settings.n_layers > 1
        self.layer_scores = nn.Parameter(torch.zeros(settings.n_layers)) if learned else None
        sizes = [n_features // settings.n_layers] + [settings.width] * settings.n_hidden
        self.linears = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])
        norms = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        self.norms = nn.ModuleList([norms[settings.norm](size) for size in sizes[1:]])
        self.dropout = nn.Dropout(settings.dropout)
        self.out = nn.Linear(sizes[-1], n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layer_scores is not None:
            shares = self.layer_scores.softmax(0)
            x = torch.einsum("nld,l->nd", x.unflatten(1, (len(shares), -1)), shares)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = self.dropout(norm(linear(x)).relu())
        return self.out(x)


def train_network(
    settings: MLPSettings,
    X: NDArray[Any],
    codes: NDArray[np.intp],
    weight: NDArray[np.float64],
    *,
    train: NDArray[np.intp],
    valid: NDArray[np.intp],
    n_classes: int,
    max_epochs: int,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train on ``train``, keep the weights that were best on ``valid`` (the last ones when it is empty).

    The global random state and the number of threads of torch are left as they were.
    """
    device = _device(settings.device)
    with _one_thread(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        tensors = (
            torch.as_tensor(np.ascontiguousarray(X, dtype=np.float32), device=device),
            torch.as_tensor(codes, device=device),
            torch.as_tensor(weight, dtype=torch.float32, device=device),
        )
        network = _Network(settings, X.shape[1], n_classes).to(device)
        return _run_epochs(settings, network, tensors, train, valid, max_epochs, on_epoch)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold torch to one thread: steps this small lose more to waking a pool than they gain by it.

    A pool does not survive a fork either: a child that used the one of its parent would wait for ever.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ParameterError(f"device={name!r}: give 'auto', 'cpu', 'cuda' or 'cuda:N'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"device={name!r}: torch sees no GPU here; use 'auto' or 'cpu'")
    return device


def _run_epochs(settings, network, tensors, train, valid, max_epochs, on_epoch) -> Trained:  # type: ignore[no-untyped-def]
    batch_size, learning_rate = settings.steps(len(train))
    optimizer = _AdamW(network.parameters(), learning_rate, settings.weight_decay)
    indices = torch.as_tensor(train, device=tensors[0].device)
    held_out = [tensor[torch.as_tensor(valid, device=tensor.device)] for tensor in tensors]
    losses: list[float] = []
    best, best_epoch = _arrays(network), 0
    for epoch in range(max_epochs):
        loss = _one_epoch(network, _batches(tensors, indices, batch_size), optimizer)
        if len(valid):
            loss = _loss_on(network, *held_out)
        losses.append(loss)
        if not len(valid) or loss <= min(losses):
            best, best_epoch = _arrays(network), epoch
        if on_epoch is not None:
            on_epoch(epoch, loss)
        if len(valid) and epoch - best_epoch >= settings.patience:
            break
    return Trained(best, best_epoch, losses)


class _AdamW:
    """AdamW as a function over lists of tensors: torch's class, at its first use, imports torch's whole compiler."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        self.parameters: list[torch.Tensor] = list(parameters)
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in self.parameters]
        self.update = partial(
            adamw,
            lr=learning_rate,
            weight_decay=weight_decay,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            foreach=False,
            fused=True,
        )

    def step(self) -> None:
        """Move the parameters along their gradients, and forget these."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]  # all of them: none is left out of a step
        with torch.no_grad():
            self.update(self.parameters, gradients, self.means, self.squares, [], self.steps)
        for parameter in self.parameters:
            parameter.grad = None


def _losses(scores: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the loss of each clip: of its class, or, with a column for each class, summed over the classes."""
    if y.ndim == 1:
        return nn.functional.cross_entropy(scores, y, reduction="none")
    return nn.functional.binary_cross_entropy_with_logits(scores, y, reduction="none").sum(1)


def _one_epoch(network, batches, optimizer) -> float:  # type: ignore[no-untyped-def]
    network.train()
    sums = []
    for x, y, weight in batches:
        own = weight.sum()
        total = (_losses(network(x), y) * weight).sum()
        (total / own.clamp_min(1e-12)).backward()
        optimizer.step()
        sums.append(torch.stack([total.detach(), own]))
    total, weights = torch.stack(sums).double().sum(0).tolist()
    return float(total / max(weights, 1e-12))


def _batches(tensors: Sequence[torch.Tensor], indices: torch.Tensor, size: int) -> Iterator[list[torch.Tensor]]:
    """Shuffle and cut; a last batch of one clip joins the one before it (batch norm needs two).

    Rows are gathered for many batches at once, which are then slices of them.
    """
    order = indices[torch.randperm(len(indices)).to(indices.device)]
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for first in range(0, len(starts), _GATHERED):
        bounds = [*starts, len(order)][first : first + _GATHERED + 1]
        rows = order[bounds[0] : bounds[-1]]
        gathered = [tensor[rows] for tensor in tensors]
        for start, stop in pairwise(bounds):
            yield [tensor[start - bounds[0] : stop - bounds[0]] for tensor in gathered]


def _loss_on(network: nn.Module, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        each = _losses(network(x), y)
        return float((each * weight).sum() / weight.sum().clamp_min(1e-12))


def _arrays(network: Any) -> dict[str, NDArray[np.float32]]:
    """Copy the weights out; batch norm is folded into its linear layer, as it is at prediction."""
    found: dict[str, torch.Tensor] = {}
    if network.layer_scores is not None:
        found["layers"] = network.layer_scores.softmax(0)
    for i, (linear, norm) in enumerate(zip(network.linears, network.norms, strict=True)):
        weight, bias = linear.weight, linear.bias
        if isinstance(norm, nn.BatchNorm1d) and norm.running_var is not None:
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight, bias = weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias
        found[f"weight_{i}"], found[f"bias_{i}"] = weight, bias
        if isinstance(norm, nn.LayerNorm):
            found[f"gain_{i}"], found[f"shift_{i}"] = norm.weight, norm.bias
    found["weight_out"], found["bias_out"] = network.out.weight, network.out.bias
    return {name: tensor.detach().cpu().numpy().astype(np.float32, copy=True) for name, tensor in found.items()}
