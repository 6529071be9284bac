"""The encoder as fine-tuning needs it: the same frames as extraction's, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import equal_lengths
from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model

__all__ = ["frames_with_gradients", "load_network"]


def load_network(info: EncoderInfo, **config: Any) -> Any:
    """Load an encoder's weights for training: float32, gradients on, fields of its config replaced.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    **config
        Fields of the checkpoint's config, such as ``layerdrop``.

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    """
    return load_model(info, **config)


def frames_with_gradients(
    model: Any, waves: Sequence[torch.Tensor], *, masks: Sequence[NDArray[np.bool_] | None] | None = None
) -> list[torch.Tensor]:
    """Compute the last layer of clips of any lengths as extraction does, with gradients.

    Only clips of one length share a batch, so there is no padding and nothing to mask.

    Parameters
    ----------
    model : PreTrainedModel
        What `load_network` returned.
    waves : sequence of tensor of shape (n_samples,)
        Normalised waveforms on the model's device.
    masks : sequence of ndarray of shape (n_frames,), bool, or None
        Frames of each clip that are replaced by the learned mask (SpecAugment).

    Returns
    -------
    list of tensor of shape (n_frames, D)
    """
    frames: list[Any] = [None] * len(waves)
    for members in equal_lengths([len(wave) for wave in waves]):
        values = torch.stack([waves[i] for i in members])
        hidden = _equal_masks(masks, members, values.device)
        output = model(values, mask_time_indices=hidden).last_hidden_state
        for i, clip in zip(members, output, strict=True):
            frames[i] = clip
    return frames


def _equal_masks(
    masks: Sequence[NDArray[np.bool_] | None] | None, members: Sequence[int], device: torch.device
) -> torch.Tensor | None:
    """Stack the masks of clips of one length; None when none of them hides anything."""
    chosen = [None if masks is None else masks[i] for i in members]
    known = next((mask for mask in chosen if mask is not None), None)
    if known is None:
        return None
    filled = [np.zeros_like(known) if mask is None else mask for mask in chosen]
    return torch.from_numpy(np.stack(filled)).to(device)
