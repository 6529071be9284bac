"""Clips beside each other in one tensor on the device: copied at once, each with its own zero mean and variance."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Waves", "lay_out", "normalize", "normalize_each", "real"]

_copying = threading.local()
_SAMPLES_PER_PIECE = 1_000_000  # 8 MB in double precision


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """A batch of clips.

    Parameters
    ----------
    values : tensor of shape (B, S), float32
        Samples. Behind a clip's end lie zeros when it is laid out; no clip's frames may depend on what lies there.
    n_samples : tuple of int
        Length of each clip.
    lengths : tensor of shape (B,), int64
        The same on the device.
    """

    values: torch.Tensor
    n_samples: tuple[int, ...]
    lengths: torch.Tensor

    @property
    def is_real(self) -> torch.Tensor:
        """Which of the values are samples, (B, S)."""
        return real(self.values.shape[1], self.lengths)


def real(n: int, lengths: torch.Tensor) -> torch.Tensor:
    """Say which of n places of each clip hold something, (B, n), given how many do, (B,)."""
    return torch.arange(n, device=lengths.device)[None] < lengths[:, None]


def lay_out(batch: Sequence[NDArray[np.float32]], *, device: torch.device, multiple: int = 1) -> Waves:
    """Put clips beside each other.

    Parameters
    ----------
    batch : sequence of ndarray of shape (n_samples,), float32
        The clips.
    device : torch.device
        Where they are to lie. A GPU gets them in one copy from pinned memory, beside whatever it computes.
    multiple : int
        The width S is a multiple of it.

    Examples
    --------
    >>> waves = lay_out([np.ones(3, np.float32), np.ones(5, np.float32)], device=torch.device("cpu"), multiple=4)
    >>> waves.values.shape, waves.lengths.tolist()
    (torch.Size([2, 8]), [3, 5])
    """
    n_samples = tuple(map(len, batch))
    width = -(-max(n_samples) // multiple) * multiple
    on_gpu = device.type == "cuda"
    values = torch.zeros(len(batch), width, pin_memory=on_gpu)
    rows = values.numpy()
    for row, samples in zip(rows, batch, strict=True):
        row[: len(samples)] = samples
    lengths = torch.tensor(n_samples, pin_memory=on_gpu)
    if on_gpu:
        values, lengths = _copied(values, lengths, device=device)
    return Waves(values, n_samples, lengths)


def normalize(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give a clip zero mean and unit variance, as the checkpoints' feature extractor does.

    Examples
    --------
    >>> normalize(np.array([1.0, 3.0], np.float32)).round(5).tolist()
    [-1.0, 1.0]
    """
    mean = samples.mean(dtype=np.float64)
    pieces = np.split(samples, range(_SAMPLES_PER_PIECE, len(samples), _SAMPLES_PER_PIECE))
    variance = sum(np.square(piece - mean).sum() for piece in pieces) / len(samples)
    scale = np.sqrt(variance + 1e-7)
    return np.concatenate([((piece - mean) / scale).astype(np.float32) for piece in pieces])


def normalize_each(waves: Waves) -> Waves:
    """Give every clip zero mean and unit variance over its own samples, as the checkpoints' feature extractor does.

    Examples
    --------
    >>> waves = lay_out([np.array([1, 3], np.float32), np.array([2], np.float32)], device=torch.device("cpu"))
    >>> normalize_each(waves).values.tolist()
    [[-0.99999994..., 0.99999994...], [0.0, 0.0]]
    """
    padding, n = ~waves.is_real, waves.lengths[:, None]
    values = waves.values.double().masked_fill(padding, 0)
    centred = (values - values.sum(1, keepdim=True) / n).masked_fill(padding, 0)
    variance = centred.square().sum(1, keepdim=True) / n
    return Waves((centred / torch.sqrt(variance + 1e-7)).float(), waves.n_samples, waves.lengths)


def _copied(*tensors: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """Copy pinned tensors beside what the device computes, and let its next work wait for them."""
    streams = _copying.__dict__.setdefault("streams", {})  # this thread's
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    with torch.cuda.stream(streams[device]):
        there = [tensor.to(device, non_blocking=True) for tensor in tensors]
    now = torch.cuda.current_stream(device)
    now.wait_stream(streams[device])
    for tensor in there:
        tensor.record_stream(now)
    return there
