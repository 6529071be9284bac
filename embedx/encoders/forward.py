"""The pass from waveforms to layers, with and without gradients: extraction and fine-tuning go through the same one.

A clip's frames do not depend on the clips beside it: convolutions never see padding, and the transformer layers get
padding that is zeroed and masked, or, in families whose layers would read it even so, only clips of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import equal_lengths
from embedx.encoders.network import Network
from embedx.encoders.waveform_batch import normalize, real

__all__ = ["ForwardPass", "Padding", "SpectrogramPass"]

_PADDABLE = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
"""Families whose layers leave real frames alone when padding is zero at the start and masked in attention."""


@dataclass(frozen=True, slots=True, eq=False)
class Padding:
    """Which places of a batch are no frames.

    Parameters
    ----------
    lengths : tensor of shape (B,), int64
        Frames of each clip.
    is_real : tensor of shape (B, T), bool
        Where they lie.
    """

    lengths: torch.Tensor
    is_real: torch.Tensor

    @property
    def where(self) -> torch.Tensor:
        """The opposite of ``is_real``, (B, T, 1)."""
        return ~self.is_real[..., None]


class ForwardPass:
    """The parts of a model of the raw-waveform family, and the order in which they are called.

    Parameters
    ----------
    model : PreTrainedModel
        Of transformers. Its own modules are called, so whatever is done to them (LoRA, dropout, checkpointing of
        gradients) holds here too.
    normalized : bool
        Whether the checkpoint expects zero mean and unit variance per clip.

    Attributes
    ----------
    pads : bool
        Whether clips of different lengths may share a batch of the transformer layers.
    """

    def __init__(self, model: Any, *, normalized: bool) -> None:
        self.normalized = normalized
        self.convolutions, self.encoder = model.feature_extractor, model.encoder
        self.first_norm = getattr(model, "layer_norm", None)  # sew
        self.projection = getattr(model, "feature_projection", None)
        self._dropout = getattr(model, "feature_dropout", None)  # sew again
        self._mask_vector = getattr(model, "masked_spec_embed", None)
        self._adapter = getattr(model, "adapter", None)
        batch_norm = getattr(model.config, "conv_pos_batch_norm", False)  # would turn zeros into something
        self.pads = model.config.model_type in _PADDABLE and not batch_norm

    def wave(self, samples: NDArray[np.float32], device: torch.device) -> torch.Tensor:
        """Prepare a clip as the checkpoint expects it, (n_samples,), float32, on a device."""
        ready = normalize(samples) if self.normalized else samples
        return torch.from_numpy(np.ascontiguousarray(ready)).to(device)

    def convolve(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Turn waveforms of any lengths, (n_samples,) each, into features, (T, C); none is padded."""
        found: dict[int, torch.Tensor] = {}
        for members in equal_lengths([len(wave) for wave in waves]):
            output = self.convolutions(torch.stack([waves[i] for i in members])).transpose(1, 2)
            found.update(zip(members, output, strict=True))
        return [found[i] for i in range(len(waves))]

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Bring features, (T, C) or (B, T, C), to the layers' width D."""
        if self.first_norm is not None:
            features = self.first_norm(features)
        if self.projection is not None:
            projected = self.projection(features)  # wav2vec2 gives (projected, normed)
            features = projected[0] if isinstance(projected, tuple) else projected
        return features if self._dropout is None else self._dropout(features)

    def groups(self, n_frames: Sequence[int]) -> Sequence[Sequence[int]]:
        """Say which clips the layers see at a time: all where padding does no harm, else those of one length."""
        return [range(len(n_frames))] if self.pads else equal_lengths(n_frames)

    @staticmethod
    def cleared(hidden: torch.Tensor, n_frames: Sequence[int]) -> tuple[torch.Tensor, Padding | None]:
        """Zero what is no frame of a batch (B, T, D), and say what that is; None where there is no padding."""
        if not n_frames or min(n_frames) == hidden.shape[1]:
            return hidden, None
        lengths = torch.tensor(n_frames).to(hidden.device, non_blocking=True)
        padding = Padding(lengths, real(hidden.shape[1], lengths))
        return hidden.masked_fill(padding.where, 0), padding

    def frames(
        self, features: Sequence[torch.Tensor], masks: Sequence[NDArray[np.bool_] | None] | None = None
    ) -> list[torch.Tensor]:
        """Compute the last layer of clips of any lengths, gradients included.

        Parameters
        ----------
        features : sequence of tensor of shape (T, C)
            From `convolve`.
        masks : sequence of ndarray of shape (T,), bool, or None
            Frames of each clip that are replaced by the learned mask (SpecAugment).

        Returns
        -------
        list of tensor of shape (T, D)
        """
        found: dict[int, torch.Tensor] = {}
        groups = self.groups([len(clip) for clip in features])
        if self._adapter is not None:  # its convolutions would read padding
            groups = equal_lengths([len(clip) for clip in features])
        for group in groups:
            output = self._last_layer(
                [features[i] for i in group], [None if masks is None else masks[i] for i in group]
            )
            found.update(zip(group, output, strict=True))
        return [found[i] for i in range(len(features))]

    def _last_layer(
        self, features: Sequence[torch.Tensor], masks: Sequence[NDArray[np.bool_] | None]
    ) -> list[torch.Tensor]:
        n_frames = [len(clip) for clip in features]
        hidden = self._masked(self.project(torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)), masks)
        hidden, padding = self.cleared(hidden, n_frames)
        output = self.encoder(hidden, attention_mask=padding and padding.is_real).last_hidden_state
        if self._adapter is not None:
            output = self._adapter(output)
        return [clip[:n] for clip, n in zip(output, n_frames, strict=True)]

    def _masked(self, hidden: torch.Tensor, masks: Sequence[NDArray[np.bool_] | None]) -> torch.Tensor:
        """Put the learned mask in the place of frames."""
        chosen = np.zeros(hidden.shape[:2], dtype=bool)
        for row, mask in zip(chosen, masks, strict=True):
            if mask is not None:
                row[: len(mask)] = mask
        if not chosen.any() or self._mask_vector is None:
            return hidden
        where = torch.from_numpy(chosen).to(hidden.device)
        return torch.where(where[..., None], self._mask_vector.to(hidden.dtype), hidden)


class SpectrogramPass:
    """The same for a network with a front end of its own: `convolve` gives spectrograms, which learn nothing.

    Parameters
    ----------
    network : Network
        Around the model that learns.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def wave(self, samples: NDArray[np.float32], device: torch.device) -> torch.Tensor:
        """Prepare a clip as the checkpoint expects it, (n_samples,), float32, on a device."""
        return torch.from_numpy(np.ascontiguousarray(self.network.prepared(samples))).to(device)

    def convolve(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Turn waveforms of any lengths, (n_samples,) each, into what the layers take and how much of it is pooled."""
        return [self.network.features(wave[None])[0] for wave in waves]

    def last(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Compute the last layer of clips, class tokens first, gradients included."""
        found: dict[int, torch.Tensor] = {}
        places: dict[torch.Size, list[int]] = {}
        for i, clip in enumerate(features):
            places.setdefault(clip.shape, []).append(i)
        for group in places.values():
            *_, output = self.network.states(torch.stack([features[i] for i in group]))
            found.update(zip(group, output, strict=True))
        return [found[i] for i in range(len(features))]
