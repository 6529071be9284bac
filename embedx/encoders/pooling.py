"""Frames become one vector a window: the statistics over its real frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.base import Frames
from embedx.errors import ParameterError, unknown_name

__all__ = ["POOLINGS", "pool_frames"]

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

    if pooling not in POOLINGS:
        raise ParameterError(unknown_name("pooling", pooling, POOLINGS))
    with torch.inference_mode():
        clips = []
        for b, n in enumerate(frames.n_frames):
            real = torch.stack([layer[b, :n].float() for layer in frames.layers])  # (L, T, D)
            mean = real.mean(dim=1)
            if pooling == "mean+std":
                mean = torch.cat([mean, real.std(dim=1, correction=0)], dim=1)
            clips.append(mean)
        return torch.stack(clips).cpu().numpy()
