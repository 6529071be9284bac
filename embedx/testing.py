"""Fakes and contracts for people who build on embedx: an encoder without weights, checks that any encoder must pass.

The fake honours the same contract as the real thing, and `check_encoder` holds both to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.base import Encoder, Frames, masked_mean
from embedx.errors import ClipTooShortError

if TYPE_CHECKING:
    import torch

__all__ = ["FakeEncoder", "check_encoder", "make_tone", "write_wav"]


class FakeEncoder:
    """An encoder of a few lines: every frame is a fixed projection of 25 ms of audio.

    Parameters
    ----------
    dim : int
        Width of a layer.
    n_layers : int
        Number of layers.
    seed : int
        Seed of the projection.

    Examples
    --------
    >>> encoder = FakeEncoder(dim=4, n_layers=2)
    >>> frames = encoder.encode([np.zeros(16_000, np.float32), np.zeros(800, np.float32)])
    >>> masked_mean(frames).shape, list(frames.n_frames)
    ((2, 2, 4), [49, 2])
    """

    sample_rate = 16_000
    min_samples = 400
    _hop_samples = 320

    def __init__(self, *, dim: int = 8, n_layers: int = 3, seed: int = 0) -> None:
        self.dim, self.n_layers = dim, n_layers
        rng = np.random.default_rng(seed)
        self._weights = rng.standard_normal((n_layers, self.min_samples, dim)).astype(np.float32) / 20

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of shape (n_samples,), float32, of any lengths."""
        import torch

        clips = [self._frames(samples) for samples in batch]
        n_frames = [len(clip) for clip in clips]
        layers: list[torch.Tensor] = []
        for weights in self._weights:
            padded = torch.full((len(clips), max(n_frames), self.dim), float("nan"))
            for b, clip in enumerate(clips):
                padded[b, : len(clip)] = torch.from_numpy(np.tanh(clip @ weights))
            layers.append(padded)
        return Frames(layers, n_frames)

    def _frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(samples) < self.min_samples:
            raise ClipTooShortError(f"{len(samples)} samples are less than one frame ({self.min_samples} samples)")
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.min_samples)
        return windows[:: self._hop_samples]


def check_encoder(encoder: Encoder, *, tolerance: float = 1e-5, seed: int = 0) -> None:
    """Assert what every encoder promises: shapes, the same numbers in any batch, short clips refused.

    Parameters
    ----------
    encoder : Encoder
        The one to check.
    tolerance : float
        Largest relative L2 error between a clip alone and in a batch, on any layer.
    seed : int
        Seed of the noise that is encoded.

    Raises
    ------
    AssertionError
        The encoder breaks its contract; the message says how.

    Examples
    --------
    >>> check_encoder(FakeEncoder())
    """
    assert isinstance(encoder, Encoder), f"{type(encoder).__name__} lacks a member of the Encoder protocol"
    rng = np.random.default_rng(seed)
    lengths = [encoder.min_samples, 16_000, 5_000, 23_456, 16_000]
    clips = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in lengths]
    alone = np.concatenate([masked_mean(encoder.encode([clip])) for clip in clips])
    together = masked_mean(encoder.encode(clips))
    turned = masked_mean(encoder.encode(clips[::-1]))[::-1]
    expected = (len(clips), encoder.n_layers, encoder.dim)
    assert alone.shape == together.shape == expected, f"shape {together.shape}, promised {expected}"
    assert np.isfinite(together).all(), "an embedding holds NaN or infinity"
    for name, batch in (("in a batch", together), ("in the reversed batch", turned)):
        error = np.linalg.norm(batch - alone, axis=2) / np.linalg.norm(alone, axis=2)
        assert error.max() <= tolerance, f"a clip {name} differs from the clip alone: relative error {error.max():.1e}"
    try:
        encoder.encode([np.zeros(encoder.min_samples - 1, np.float32)])
    except ClipTooShortError:
        return
    raise AssertionError("a clip of less than one frame was not refused with ClipTooShortError")


def make_tone(
    frequency_hz: float, *, seconds: float = 1.0, sample_rate: int = 16_000, noise: float = 0.01, seed: int = 0
) -> NDArray[np.float32]:
    """Return a tone in noise, (n,) float32: a clip whose class is its pitch.

    Examples
    --------
    >>> make_tone(440.0, seconds=0.5).shape
    (8000,)
    """
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    rng = np.random.default_rng(seed)
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time) + noise * rng.standard_normal(len(time))).astype(np.float32)


def write_wav(path: str, samples: NDArray[np.float32], *, sample_rate: int = 16_000) -> None:
    """Write mono float samples as a 16-bit WAV file with the standard library.

    Examples
    --------
    >>> import tempfile, os
    >>> name = os.path.join(tempfile.mkdtemp(), "tone.wav")
    >>> write_wav(name, make_tone(440.0))
    >>> os.path.getsize(name)
    32044
    """
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
