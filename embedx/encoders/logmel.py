"""The control that every encoder must beat: mean and standard deviation of 64 log-mel bands."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_mel_statistics"]

_N_BANDS = 64
_N_FFT = 1024
_HOP = 320
_FLOOR = 1e-6


def log_mel_statistics(
    samples: NDArray[np.float32], sample_rate: int = 16_000, *, device: str = "cpu"
) -> NDArray[np.float32]:
    """Describe a window by the loudness and the unrest of 64 mel bands, without any learned encoder.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,), float32
        Waveform within -1 to 1, as decoded (not normalised).
    sample_rate : int
        Hertz.
    device : str
        Where it is computed.

    Returns
    -------
    ndarray of shape (128,), float32
        Mean over time of log mel power (64), then its standard deviation (64). Finite for silence.

    Notes
    -----
    torchaudio's ``MelSpectrogram`` (HTK scale, 1,024-point FFT, a frame every 320 samples, as wav2vec2's
    frames), natural logarithm of power + 1e-6.

    Examples
    --------
    >>> log_mel_statistics(np.zeros(16000, np.float32)).shape
    (128,)
    """
    import torch

    wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).to(device)
    with torch.inference_mode():
        power = _transform(sample_rate, device)(torch.nn.functional.pad(wave, (0, max(0, _N_FFT - len(wave)))))
        bands = torch.log(power + _FLOOR)  # (64, T)
        return torch.cat([bands.mean(1), bands.std(1, correction=0)]).cpu().numpy()


@functools.lru_cache(maxsize=4)
def _transform(sample_rate: int, device: str) -> Any:
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(sample_rate, n_fft=_N_FFT, hop_length=_HOP, n_mels=_N_BANDS).to(device)
