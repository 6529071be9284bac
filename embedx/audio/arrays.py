"""Samples in memory: checked, scaled as decoders do, and written as the WAV file that gives them back."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.errors import ParameterError

__all__ = ["MOST_CHANNELS", "Recording", "as_recording", "require_rate"]

MOST_CHANNELS = 8
"""More than 7.1 are taken for clips beside each other, which are given as a list."""

_RATES = (1_000, 10_000_000)
"""Hertz: what decoding takes, and what no recorder exceeds."""

_FULL_SCALE = {"uint8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
_FLOAT_FORMAT, _FLOAT_BYTES = 3, 4
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A clip in memory.

    Parameters
    ----------
    samples : ndarray of shape (n_channels, n_samples), float32
        Nominally within -1 to 1.
    sample_rate : int
        Hertz.

    Examples
    --------
    >>> recording = as_recording(np.zeros((16_000, 2), np.int16), 8_000)
    >>> recording.samples.shape, recording.samples.dtype.name, len(recording.to_wav())
    ((2, 16000), 'float32', 128044)
    """

    samples: NDArray[np.float32]
    sample_rate: int

    def to_wav(self) -> bytes:
        """Return the WAV file (32-bit float) that decoding gives these very samples from."""
        n_channels, n_bytes = len(self.samples), self.samples.nbytes
        frame_bytes = n_channels * _FLOAT_BYTES
        kind = (_FLOAT_FORMAT, n_channels, self.sample_rate, self.sample_rate * frame_bytes, frame_bytes, 32)
        head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", min(n_bytes + 36, _LARGEST), b"WAVE", b"fmt ", 16, *kind)
        data = struct.pack("<4sI", b"data", min(n_bytes, _LARGEST))  # the largest number says "to the end"
        return b"".join([head, data, np.ascontiguousarray(self.samples.T, dtype="<f4").data])


def as_recording(samples: Any, sampling_rate: Any, where: str = "the clip") -> Recording:
    """Check samples and bring them into the form that decoding gives.

    Parameters
    ----------
    samples : array_like of shape (n,), (n_channels, n) or (n, n_channels)
        Floats, nominally within -1 to 1, or PCM: int16, int32 or uint8, scaled to that range as decoders do. Of two
        axes the shorter one holds the channels, at most 8: torchaudio, librosa and torchcodec put them first,
        soundfile and scipy last. Channels are averaged later, as those of files are.
    sampling_rate : int
        Hertz.
    where : str
        Which clip it is, for messages.

    Raises
    ------
    ParameterError
        No rate or one that cannot be; other axes; no samples; NaN or infinity; numbers of another kind.

    Examples
    --------
    >>> as_recording(np.array([0, 16_384], np.int16), 16_000).samples.tolist()
    [[0.0, 0.5]]
    >>> as_recording(np.zeros(10), None)
    Traceback (most recent call last):
    embedx.errors.ParameterError: the clip has no sampling rate: give sampling_rate=16000 (Hz), or pairs of samples...
    """
    rate = require_rate(sampling_rate, where)
    values = _as_array(samples, where)
    channels = _scaled(_channels_first(values, where))
    if not np.isfinite(channels).all():
        raise ParameterError(f"{where} holds NaN or infinity: mend it, or leave it out")
    return Recording(channels, rate)


def require_rate(sampling_rate: Any, where: str) -> int:
    """Return a sampling rate as a plain number of Hertz, or say what is wrong with it.

    Raises
    ------
    ParameterError
        None, no whole number, or no rate that audio has.
    """
    if sampling_rate is None:
        raise ParameterError(
            f"{where} has no sampling rate: give sampling_rate=16000 (Hz), or pairs of samples and their rate"
        )
    number = sampling_rate
    if isinstance(number, float | np.floating) and float(number).is_integer():
        number = int(number)
    require_number(f"{where}: sampling_rate", number, *_RATES, whole=True)
    return int(number)


def _as_array(samples: Any, where: str) -> NDArray[Any]:
    """Return samples as an array; a tensor may lie on a GPU or be part of a graph."""
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
    values = np.asarray(samples)
    if values.dtype.kind not in "fiu" or (values.dtype.kind in "iu" and values.dtype.name not in _FULL_SCALE):
        raise ParameterError(
            f"{where} holds {values.dtype} numbers: give floats within -1 to 1, or PCM as int16, int32 or uint8"
        )
    return values


def _channels_first(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.ndim not in (1, 2):
        raise ParameterError(f"{where} has shape {values.shape}: give one axis of samples, or two with the channels")
    if not values.size:
        raise ParameterError(f"{where} is empty (shape {values.shape}): leave it out")
    if values.ndim == 1:
        return values[None]
    n_short, n_long = sorted(values.shape)
    if n_short == n_long or n_short > MOST_CHANNELS:
        raise ParameterError(
            f"{where} has shape {values.shape}, of which neither axis can be told to be that of at most "
            f"{MOST_CHANNELS} channels: give several clips as a list, and other channels mixed down, with one axis"
        )
    return values if values.shape[0] == n_short else values.T


def _scaled(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return floats within -1 to 1, as FFmpeg makes them of PCM."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinity, and refused
        floats = np.ascontiguousarray(values, dtype=np.float32)
    full = _FULL_SCALE.get(values.dtype.name)
    if full is None:
        return floats
    return (floats - np.float32(full if values.dtype.kind == "u" else 0)) / np.float32(full)
