"""Frames become one vector a window: the statistics over its real frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.base import Frames
from embedx.errors import ParameterError, unknown_name
from embedx.recipe import POOLINGS

if TYPE_CHECKING:
    import torch

__all__ = ["attend", "pool_frames", "pool_layer", "require_pooling"]


def pool_frames(frames: Frames, *, pooling: str = "mean") -> NDArray[np.float32]:
    """Reduce every clip's real frames to their mean, and what else is asked for.

    Parameters
    ----------
    frames : Frames
        Hidden states; padding may hold anything, NaN included.
    pooling : {'mean', 'mean+std', 'max', 'mean+max', 'cls'}
        ``mean+std`` puts the standard deviation (population) behind the mean, ``mean+max`` the maximum; ``cls`` is
        the class token, which is no frame.

    Returns
    -------
    ndarray of shape (B, L, D) or (B, L, 2 * D), float32
        Summed in float32 whatever the encoder computed in; one transfer from the device.

    Raises
    ------
    ParameterError
        Unknown pooling, or ``cls`` of an encoder that has no class token.

    Examples
    --------
    >>> import torch
    >>> values = torch.tensor([[[1.0], [3.0]], [[5.0], [float("nan")]]])
    >>> pool_frames(Frames([values], [2, 1]), pooling="mean+std").tolist()
    [[[2.0, 1.0]], [[5.0, 0.0]]]
    """
    import torch

    from embedx.encoders.waveform_batch import real

    require_pooling(pooling, n_class_tokens=0 if frames.class_tokens is None else 1)
    with torch.inference_mode():
        if pooling == "cls" and frames.class_tokens is not None:
            return torch.stack([token.float() for token in frames.class_tokens], dim=1).cpu().numpy()
        width, device = frames.layers[0].shape[1], frames.layers[0].device
        n = torch.tensor(list(frames.n_frames)).to(device, non_blocking=True)[:, None]
        padding = None
        if min(frames.n_frames) < width:
            padding = ~real(width, n[:, 0])[..., None]
        pooled = [pool_layer(layer, pooling=pooling, n=n, padding=padding) for layer in frames.layers]
        return torch.stack(pooled, dim=1).cpu().numpy()


def require_pooling(pooling: str, *, n_class_tokens: int = 0) -> None:
    """Refuse what is no way to pool, or none of this encoder.

    Raises
    ------
    ParameterError
        With the ways there are.
    """
    if pooling not in POOLINGS:
        raise ParameterError(unknown_name("pooling", pooling, POOLINGS))
    if pooling == "cls" and not n_class_tokens:
        others = ", ".join(name for name in POOLINGS if name != "cls")
        raise ParameterError(f"pooling 'cls': this encoder has no class token. Allowed: {others}")


def pool_layer(
    layer: torch.Tensor, *, pooling: str, n: torch.Tensor | None = None, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """Reduce one layer with as few operations for many clips as for one.

    Parameters
    ----------
    layer : tensor of shape (B, T, D)
        Hidden states.
    pooling : {'mean', 'mean+std', 'max', 'mean+max'}
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

    if pooling == "max":
        return (layer if padding is None else layer.masked_fill(padding, -torch.inf)).amax(1).float()
    count = layer.shape[1] if n is None else n
    mean = _zeroed(layer, padding).sum(1, dtype=torch.float32) / count
    if pooling == "mean":
        return mean
    if pooling == "mean+max":
        return torch.cat([mean, pool_layer(layer, pooling="max", padding=padding)], dim=1)
    deviation = _zeroed(layer.float() - mean[:, None], padding)
    return torch.cat([mean, torch.sqrt(deviation.square().sum(1) / count)], dim=1)


def attend(states: torch.Tensor, scores: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Reduce frames to their weighted mean: the weights of a clip are the softmax of its real frames' scores.

    Parameters
    ----------
    states : tensor of shape (B, T, D)
        Hidden states.
    scores : tensor of shape (B, T, 1)
        How much each frame counts.
    real : tensor of shape (B, T), bool
        Which frames are no padding.

    Returns
    -------
    tensor of shape (B, D), float32

    Examples
    --------
    >>> import torch
    >>> states, real = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])
    >>> attend(states, torch.zeros(1, 3, 1), real).tolist()
    [[2.0]]
    """
    weights = scores.float().masked_fill(~real[..., None], -float("inf")).softmax(dim=1)
    return (states.float().masked_fill(~real[..., None], 0) * weights).sum(dim=1)


def _zeroed(values: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    return values if padding is None else values.masked_fill(padding, 0)
