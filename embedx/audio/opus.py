"""Compact audio for pages: Ogg Opus in memory."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from embedx.errors import ParameterError

__all__ = ["encode_opus"]


def encode_opus(samples: NDArray[np.float32], *, sample_rate: int = 16_000, bit_rate: int = 16_000) -> bytes:
    """Return a clip as a small Ogg Opus file: about 2 kB a second of speech-band mono.

    Parameters
    ----------
    samples : ndarray of shape (n,), float32
        Mono, between -1 and 1.
    sample_rate : int
        Hertz; one of 8000, 12000, 16000, 24000, 48000 (RFC 6716).
    bit_rate : int
        Bits a second.

    Raises
    ------
    ParameterError
        No samples, or a sample rate that Opus does not know.

    Examples
    --------
    >>> encode_opus(np.zeros(16000, dtype=np.float32))[:4]
    b'OggS'
    """
    if not len(samples) or sample_rate not in (8000, 12000, 16000, 24000, 48000):
        raise ParameterError(f"{len(samples)} samples at {sample_rate} Hz: Opus takes 8, 12, 16, 24 or 48 kHz")
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    out = io.BytesIO()
    with av.open(out, mode="w", format="ogg") as container:
        stream = container.add_stream(
            "libopus", rate=sample_rate, layout="mono", options={"vbr": "on", "compression_level": "3"}
        )
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
