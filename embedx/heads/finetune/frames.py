"""Convolutions and transformer layers apart: frozen convolutions are computed once a clip, not once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import equal_lengths

__all__ = ["FeatureCache", "Signal", "conv_features", "is_separable", "layer_frames"]

Signal = NDArray[np.float32] | torch.Tensor
"""A waveform (n_samples,), or what the convolutions make of it (T, C)."""

_SEPARABLE = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
"""Families whose layers leave real frames alone when padding is zero at the start and masked in attention."""


def is_separable(base: Any) -> bool:
    """Say whether an encoder is computed in two parts here; others are called whole, clips of one length at a time."""
    batch_norm = getattr(base.config, "conv_pos_batch_norm", False)  # would turn zeros into something
    return base.config.model_type in _SEPARABLE and not batch_norm and getattr(base, "adapter", None) is None


def conv_features(base: Any, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Turn waveforms of any lengths into features; no clip is padded, so none depends on its neighbours.

    Parameters
    ----------
    base : PreTrainedModel
        The encoder.
    waves : sequence of tensor of shape (n_samples,)
        Normalised waveforms on the encoder's device.

    Returns
    -------
    list of tensor of shape (T, C)
    """
    found: dict[int, torch.Tensor] = {}
    for members in equal_lengths([len(wave) for wave in waves]):
        output = base.feature_extractor(torch.stack([waves[i] for i in members])).transpose(1, 2)
        found.update(zip(members, output, strict=True))
    return [found[i] for i in range(len(waves))]


def layer_frames(
    base: Any, features: Sequence[torch.Tensor], masks: Sequence[NDArray[np.bool_] | None] | None = None
) -> list[torch.Tensor]:
    """Run the transformer layers over clips of any lengths: padding is zeroed and masked.

    Parameters
    ----------
    base : PreTrainedModel
        A separable encoder.
    features : sequence of tensor of shape (T, C)
        From `conv_features`.
    masks : sequence of ndarray of shape (T,), bool, or None
        Frames of each clip that are replaced by the learned mask (SpecAugment).

    Returns
    -------
    list of tensor of shape (T, D)
    """
    projected = base.feature_projection(torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True))
    hidden = projected[0] if isinstance(projected, tuple) else projected  # wav2vec2 gives (projected, normed)
    hidden = _hide(base, hidden, masks)
    real = None
    if any(len(clip) < hidden.shape[1] for clip in features):
        lengths = torch.tensor([len(clip) for clip in features], device=hidden.device)
        real = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
    output = base.encoder(hidden, attention_mask=real).last_hidden_state
    return [clip[: len(own)] for clip, own in zip(output, features, strict=True)]


def _hide(base: Any, hidden: torch.Tensor, masks: Sequence[NDArray[np.bool_] | None] | None) -> torch.Tensor:
    chosen = np.zeros(hidden.shape[:2], dtype=bool)
    for row, mask in zip(chosen, masks or (), strict=False):
        if mask is not None:
            row[: len(mask)] = mask
    if not chosen.any():
        return hidden
    where = torch.from_numpy(chosen).to(hidden.device)
    return torch.where(where[..., None], base.masked_spec_embed.to(hidden.dtype), hidden)


class FeatureCache:
    """Features of windows that are the same in every epoch, kept while there is room.

    Parameters
    ----------
    compute : callable
        Turns samples (n,) float32 into features (T, C), without gradients.
    room_bytes : int
        What is beyond is computed again whenever it is needed.

    Examples
    --------
    >>> cache = FeatureCache(lambda samples: torch.from_numpy(samples)[:, None], room_bytes=100)
    >>> cache.find((0, 0.0), np.ones(3, np.float32)) is cache.find((0, 0.0), np.ones(3, np.float32))
    True
    >>> cache.find((1, 0.0), np.ones(99, np.float32)) is cache.find((1, 0.0), np.ones(99, np.float32))
    False
    """

    def __init__(self, compute: Callable[[NDArray[np.float32]], torch.Tensor], *, room_bytes: int) -> None:
        self._compute, self._room = compute, room_bytes
        self._kept: dict[tuple[int, float], torch.Tensor] = {}

    def find(self, key: tuple[int, float], samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the features of one window, whose clip and start are its key."""
        if key in self._kept:
            return self._kept[key]
        features = self._compute(samples)
        n_bytes = features.numel() * features.element_size()
        if n_bytes <= self._room:
            self._room -= n_bytes
            self._kept[key] = features
        return features
