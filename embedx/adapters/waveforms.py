"""Batches of waveforms as tensors, embedded whole or frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.resolve import resolve_encoder
from embedx.errors import ParameterError
from embedx.estimators import AudioEmbedder

__all__ = ["Waveforms"]


class Waveforms:
    """What an encoder makes of a batch.

    Parameters
    ----------
    encoder : str
        As in `embedx.AudioEmbedder`.
    **choices
        ``layer``, ``pooling``, ``padding``, ``device``, ``workers``, ``compute_dtype``.
    """

    def __init__(self, encoder: str, **choices: Any) -> None:
        self.info = resolve_encoder(encoder)
        self.sample_rate: int = self.info.sample_rate
        self.embedder = AudioEmbedder(encoder, sampling_rate=self.sample_rate, **choices)
        n_layers = self.info.n_layers if choices.get("layer") == "all" else 1
        self.frame_width: int = self.info.dim * n_layers
        self.width: int = len(self.embedder.get_feature_names_out())

    def whole(self, audio: Any) -> NDArray[np.float32]:
        """Return one row a waveform, of shape (n, D)."""
        return self.embedder.transform(list(_as_batch(audio)))

    def frames(self, audio: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the frames (n, T, D) of waveforms of one length, and the middle of each in seconds (T,)."""
        pairs = [self.embedder.frames(one) for one in _as_batch(audio)]
        return np.stack([values for values, _ in pairs]), pairs[0][1]


def _as_batch(audio: Any) -> NDArray[np.float32]:
    """Return a batch of shape (n, n_samples) on the CPU.

    Raises
    ------
    ParameterError
        It has other axes, or no waveform.
    """
    batch = np.asarray(audio.detach().cpu() if hasattr(audio, "detach") else audio, dtype=np.float32)
    if batch.ndim != 2 or not len(batch):
        raise ParameterError(f"audio has shape {batch.shape}: give (n_sounds, n_samples), one sound at least")
    return batch
