"""What every encoder offers, and the mean over real frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ClipTooShortError

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "EncoderFacts", "EncoderInfo", "Frames", "PoolingEncoder", "masked_mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderInfo:
    """What is known of an encoder before its weights are loaded: enough to write a recipe.

    Parameters
    ----------
    id : str
        What the user named: a hub id, a folder, or a bundled name.
    location : str
        Folder that holds config and weights.
    revision : str
        Commit, ``"local"`` or ``"bundled"``.
    weights_sha256 : str
        Hash of the weights file(s).
    model_type : str
        transformers' name of the architecture, such as ``"wav2vec2"``.
    n_layers : int
        Layers that can be kept: transformer layers + 1.
    dim : int
        Width of a layer.
    sample_rate : int
        Hertz.
    normalize : bool
        Whether the checkpoint expects zero mean and unit variance per clip.
    min_samples : int
        Samples of one frame; 1 where the checkpoint does not say.
    note : str
        What a reader of a table has to know, such as that the weights are random; usually empty.
    native_seconds : float, optional
        The longest window that it takes; None where any length will do.
    hop_seconds : float
        Distance of two frames.
    paddings : tuple of str
        Ways to treat what is shorter than ``native_seconds``, the default first; see `Recipe`.
    n_class_tokens : int
        Class tokens, which are no frames: pooled by ``cls`` and by nothing else.
    extractor : str
        transformers' class of the feature extractor; empty where the encoder takes waveforms.
    settings : tuple of (str, value)
        What that class is made of.
    """

    id: str
    location: str
    revision: str
    weights_sha256: str
    model_type: str
    n_layers: int
    dim: int
    sample_rate: int = 16_000
    normalize: bool = True
    min_samples: int = 1
    note: str = ""
    native_seconds: float | None = None
    hop_seconds: float = 0.02
    paddings: tuple[str, ...] = ("none",)
    n_class_tokens: int = 0
    extractor: str = ""
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def frontend(self) -> str:
        """What a recipe records of how audio is prepared."""
        if not self.extractor:
            return "waveform"
        return f"{self.extractor}:{hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Hidden states of a batch.

    Parameters
    ----------
    layers : sequence of tensor of shape (B, T, D)
        One a kept layer, in the order of the recipe.
    n_frames : sequence of int
        Real frames of each clip; the rest is padding, whatever it holds.
    class_tokens : sequence of tensor of shape (B, D), optional
        One a kept layer, where the encoder has any: the mean of a clip's class tokens.
    """

    layers: Sequence[torch.Tensor]
    n_frames: Sequence[int]
    class_tokens: Sequence[torch.Tensor] | None = None


@runtime_checkable
class Encoder(Protocol):
    """Turns waveforms into frames; a clip's frames do not depend on the clips beside it."""

    @property
    def dim(self) -> int:
        """Width D of a layer."""

    @property
    def n_layers(self) -> int:
        """Number L of layers that `encode` returns."""

    @property
    def sample_rate(self) -> int:
        """Hertz of the waveforms that it takes."""

    @property
    def min_samples(self) -> int:
        """Samples of one frame: a shorter waveform is refused with `ClipTooShortError`."""

    @property
    def native_seconds(self) -> float | None:
        """The longest window that it takes; None where any length will do."""

    @property
    def hop_seconds(self) -> float:
        """Distance of two frames."""

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of shape (n_samples,), float32 in -1 to 1, of any lengths."""


@runtime_checkable
class PoolingEncoder(Encoder, Protocol):
    """An encoder that can pool each layer as soon as it is computed, which takes the memory of one."""

    def pooled(self, batch: Sequence[NDArray[np.float32]], pooling: str = "mean") -> NDArray[np.float32]:
        """Do as ``pool_frames(encode(batch), pooling=pooling)``."""


class EncoderFacts:
    """What every encoder here says of itself."""

    info: EncoderInfo
    layers: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Width D of a layer."""
        return self.info.dim

    @property
    def n_layers(self) -> int:
        """Number L of layers that `encode` returns."""
        return len(self.layers)

    @property
    def sample_rate(self) -> int:
        """Hertz."""
        return self.info.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples of one frame."""
        return self.info.min_samples

    @property
    def native_seconds(self) -> float | None:
        """The longest window that it takes; None where any length will do."""
        return self.info.native_seconds

    @property
    def hop_seconds(self) -> float:
        """Distance of two frames."""
        return self.info.hop_seconds

    def require_long_enough(self, batch: Sequence[NDArray[np.float32]]) -> None:
        """Refuse a batch that holds less than one frame of a clip.

        Raises
        ------
        ClipTooShortError
            With both lengths.
        """
        shortest = min((len(samples) for samples in batch), default=self.min_samples)
        if shortest < self.min_samples:
            need, rate = self.min_samples, self.sample_rate
            raise ClipTooShortError(
                f"{shortest} samples ({1000 * shortest / rate:.1f} ms) are less than one frame of {self.info.id} "
                f"({need} samples, {1000 * need / rate:.1f} ms)"
            )


def masked_mean(frames: Frames) -> NDArray[np.float32]:
    """Average every clip's real frames.

    Parameters
    ----------
    frames : Frames
        Hidden states; padding may hold anything, NaN included.

    Returns
    -------
    ndarray of shape (B, L, D), float32
        Summed in float32 whatever the encoder computed in.

    Examples
    --------
    >>> import torch
    >>> values = torch.tensor([[[1.0], [3.0]], [[5.0], [float("nan")]]])
    >>> masked_mean(Frames([values], [2, 1])).tolist()
    [[[2.0]], [[5.0]]]
    """
    clips = [
        np.stack([layer[b, :n].float().mean(dim=0).cpu().numpy() for layer in frames.layers])  # (L, D)
        for b, n in enumerate(frames.n_frames)
    ]
    return np.stack(clips)
