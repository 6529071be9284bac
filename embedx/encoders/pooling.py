"""Frames become one vector a window: the statistics over its real frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.base import Frames
from embedx.errors import ParameterError, unknown_name

if TYPE_CHECKING:
    import torch

__all__ = ["POOLINGS", "pool_frames", "pool_layer", "require_pooling"]

POOLINGS = ("mean", "mean+std")


def pool_frames(frames: Frames, *, pooling: str = "mean") -> NDArray[np.float32]:
    """Reduce every clip's real frames to their mean, or their mean and standard deviation.

    Parameters
    ----------
    frames : Frames
        Hidden states; padding may hold anything, NaN included.
    pooling : {'mean', 'mean+std'}
        ``mean+std`` puts the standard deviation (population) behind the mean.

    Returns
    -------
    ndarray of shape (B, L, D) or (B, L, 2 * D), float32
        Summed in float32 whatever the encoder computed in; one transfer from the device.

    Raises
    ------
    ParameterError
        Unknown pooling.

    Examples
    --------
    >>> import torch
    >>> values = torch.tensor([[[1.0], [3.0]], [[5.0], [float("nan")]]])
    >>> pool_frames(Frames([values], [2, 1]), pooling="mean+std").tolist()
    [[[2.0, 1.0]], [[5.0, 0.0]]]
    """
    import torch

    from embedx.encoders.waves import real

    require_pooling(pooling)
    with torch.inference_mode():
        width, device = frames.layers[0].shape[1], frames.layers[0].device
        n = torch.tensor(list(frames.n_frames)).to(device, non_blocking=True)[:, None]
        padding = None
        if min(frames.n_frames) < width:
            padding = ~real(width, n[:, 0])[..., None]
        pooled = [pool_layer(layer, pooling=pooling, n=n, padding=padding) for layer in frames.layers]
        return torch.stack(pooled, dim=1).cpu().numpy()


def require_pooling(pooling: str) -> None:
    """Refuse what is no way to pool.

    Raises
    ------
    ParameterError
        With the ways there are.
    """
    if pooling not in POOLINGS:
        raise ParameterError(unknown_name("pooling", pooling, POOLINGS))


def pool_layer(
    layer: torch.Tensor, *, pooling: str, n: torch.Tensor | None = None, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """Reduce one layer with as few operations for many clips as for one.

    Parameters
    ----------
    layer : tensor of shape (B, T, D)
        Hidden states.
    pooling : {'mean', 'mean+std'}
        See `pool_frames`.
    n : tensor of shape (B, 1), optional
        Real frames of each clip; all where absent.
    padding : tensor of shape (B, T, 1), bool, optional
        Which frames are not real; none where absent.

    Returns
    -------
    tensor of shape (B, D) or (B, 2 * D), float32
    """
    import torch

    count = layer.shape[1] if n is None else n
    mean = _zeroed(layer, padding).sum(1, dtype=torch.float32) / count
    if pooling == "mean":
        return mean
    deviation = _zeroed(layer.float() - mean[:, None], padding)
    return torch.cat([mean, torch.sqrt(deviation.square().sum(1) / count)], dim=1)


def _zeroed(values: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    return values if padding is None else values.masked_fill(padding, 0)
