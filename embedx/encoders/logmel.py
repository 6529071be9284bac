"""The control that every encoder must beat: mean and standard deviation of 64 log-mel bands."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from embedx.encoders.waveform_batch import Waves

__all__ = ["log_mel_of_each", "log_mel_statistics"]

_N_BANDS = 64
_N_FFT = 1024
_HOP = 320
_FLOOR = 1e-6
_FRAMES_PER_PIECE = 3_000


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
    return log_mel_of_each([samples], sample_rate, device=device)[0]


def log_mel_of_each(
    batch: Sequence[NDArray[np.float32]], sample_rate: int = 16_000, *, device: str = "cpu"
) -> NDArray[np.float32]:
    """Describe several windows at once; see `log_mel_statistics`.

    Parameters
    ----------
    batch : sequence of ndarray of shape (n_samples,), float32
        Waveforms of any lengths; none changes another's numbers.
    sample_rate : int
        Hertz.
    device : str
        Where it is computed.

    Returns
    -------
    ndarray of shape (B, 128), float32
    """
    import torch

    from embedx.encoders.waveform_batch import lay_out, real

    with torch.inference_mode():
        waves = lay_out(batch, device=torch.device(device), multiple=_N_FFT)
        n_samples = waves.lengths.clamp_min(_N_FFT)
        bands = torch.log(_power(_mirrored(waves, n_samples), _transform(sample_rate, device)) + _FLOOR)  # (B, 64, T)
        padding = ~real(bands.shape[2], 1 + n_samples.div(_HOP, rounding_mode="floor"))[:, None]
        n = (~padding).sum(2)
        mean = bands.masked_fill(padding, 0).sum(2) / n
        deviation = (bands - mean[..., None]).masked_fill(padding, 0)
        return torch.cat([mean, torch.sqrt(deviation.square().sum(2) / n)], dim=1).cpu().numpy()


def _mirrored(waves: Waves, n_samples: torch.Tensor) -> torch.Tensor:
    """Continue every clip to both sides by half a transform, as a mirror would, each at its own end."""
    import torch

    half, n = _N_FFT // 2, n_samples[:, None]
    values = torch.nn.functional.pad(waves.values, (half, half))
    values[:, :half] = waves.values[:, 1 : half + 1].flip(1)
    behind = torch.arange(half, device=n.device)[None]
    return values.scatter_(1, half + n + behind, waves.values.gather(1, n - 2 - behind))


def _power(values: torch.Tensor, transform: Any) -> torch.Tensor:
    """Return the power of each band, (B, 64, T), a minute at a time: the spectrogram of ten takes half a gigabyte."""
    import torch

    n_frames = (values.shape[1] - _N_FFT) // _HOP + 1
    pieces = [
        values[:, start * _HOP : (min(start + _FRAMES_PER_PIECE, n_frames) - 1) * _HOP + _N_FFT]
        for start in range(0, n_frames, _FRAMES_PER_PIECE)
    ]
    return torch.cat([transform(piece) for piece in pieces], dim=2)


@functools.lru_cache(maxsize=4)
def _transform(sample_rate: int, device: str) -> Any:
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(sample_rate, n_fft=_N_FFT, hop_length=_HOP, n_mels=_N_BANDS, center=False).to(device)
