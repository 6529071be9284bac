"""Clips are varied while training: each draw comes from its own generator, so runs repeat and resume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedx.heads.finetune.settings import Augmentation

__all__ = ["mix", "time_mask", "vary"]

_SNR_SPAN_DB = 20.0
_SPEED_STEP_PERCENT = 5


def vary(
    samples: NDArray[np.float32], augmentation: Augmentation, rng: np.random.Generator, *, sample_rate: int = 16_000
) -> NDArray[np.float32]:
    """Return a clip as it might also have been recorded: faster, louder, noisier.

    Parameters
    ----------
    samples : ndarray of shape (n,), float32
        The clip.
    augmentation : Augmentation
        What is switched on.
    rng : Generator
        Where the draws come from; as many are made whatever is switched on.
    sample_rate : int
        Hertz.

    Returns
    -------
    ndarray of shape (m,), float32
        ``m`` differs from ``n`` only when the speed was changed.

    Examples
    --------
    >>> clip = np.ones(8, np.float32)
    >>> vary(clip, Augmentation.off(), np.random.default_rng(0)).tolist() == clip.tolist()
    True
    """
    speed, gain, snr = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, _SNR_SPAN_DB)
    steps = round(speed * augmentation.speed_percent / _SPEED_STEP_PERCENT)
    if steps:
        samples = _change_speed(samples, 1 + steps * _SPEED_STEP_PERCENT / 100, sample_rate)
    if augmentation.gain_db:
        samples = samples * np.float32(10 ** (gain * augmentation.gain_db / 20))
    if augmentation.noise_snr_db is not None:
        samples = _add_noise(samples, augmentation.noise_snr_db + snr, rng)
    return samples


def _change_speed(samples: NDArray[np.float32], factor: float, sample_rate: int) -> NDArray[np.float32]:
    """Play faster (factor above 1) or slower, as Ko et al. (2015) do: pitch and length both change."""
    import torch
    from torchaudio.functional import speed

    changed, _ = speed(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate, factor)
    return changed.numpy()


def _add_noise(samples: NDArray[np.float32], snr_db: float, rng: np.random.Generator) -> NDArray[np.float32]:
    level = np.sqrt(np.mean(np.square(samples), dtype=np.float64)) * 10 ** (-snr_db / 20)
    return (samples + level * rng.standard_normal(len(samples))).astype(np.float32)


def mix(samples: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Add another clip: ``share`` of this one, the rest of that one, repeated or cut to this one's length.

    Examples
    --------
    >>> mix(np.ones(4, np.float32), np.array([0.0, 2.0], np.float32), 0.5).tolist()
    [0.5, 1.5, 0.5, 1.5]
    """
    return (share * samples + (1 - share) * np.resize(other, len(samples))).astype(np.float32)


def time_mask(
    n_frames: int, *, prob: float, length: int, least: int, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Say which frames SpecAugment hides: spans at random places, as wav2vec 2.0 draws them.

    Parameters
    ----------
    n_frames : int
        Frames of the clip.
    prob : float
        Share of frames in spans, were there no overlap.
    length, least : int
        Frames of a span, and the least number of spans.
    rng : Generator
        Where the draws come from.

    Returns
    -------
    ndarray of shape (n_frames,), bool
        None when nothing is hidden: masks are off, or the clip is no longer than a span.

    Examples
    --------
    >>> mask = time_mask(50, prob=0.1, length=10, least=0, rng=np.random.default_rng(0))
    >>> mask is None or int(mask.sum()) in (0, 10)
    True
    """
    if prob <= 0 or n_frames <= length:
        return None
    n_spans = max(least, int(prob * n_frames / length + rng.uniform()))
    n_spans = min(n_spans, n_frames // length)
    mask = np.zeros(n_frames, dtype=bool)
    for start in rng.choice(n_frames - length + 1, n_spans, replace=False):
        mask[start : start + length] = True
    return mask if n_spans else None
