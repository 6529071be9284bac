"""Real audio files, written by the tests with the codecs that users have."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

CODECS = {
    "wav": ("pcm_s16le", "s16"),
    "flac": ("flac", "s16"),
    "mp3": ("libmp3lame", "fltp"),
    "m4a": ("aac", "fltp"),
    "opus": ("libopus", "flt"),
    "webm": ("libopus", "flt"),
}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(seconds, *, rate=48_000, hertz=440.0, gain=0.5):
    """A sine of shape (n,), float32."""
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _encode(container, stream, samples, rate, sample_format):
    frames = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=LAYOUTS[len(samples)])
    frames.sample_rate, frames.time_base, frames.pts = rate, Fraction(1, rate), 0
    resampler = av.AudioResampler(sample_format, LAYOUTS[len(samples)], rate, frame_size=stream.frame_size or 1024)
    for frame in [*resampler.resample(frames), *resampler.resample(None)]:
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_audio(path, samples, *, rate=48_000, codec=None, sample_format=None, options=None, bit_rate=None):
    """Write samples of shape (n,) or (channels, n) with FFmpeg's encoders; returns the path."""
    samples = np.atleast_2d(np.asarray(samples, np.float32))
    if path.suffix == ".ogg":
        with soundfile.SoundFile(path, "w", rate, len(samples), format="OGG", subtype="VORBIS") as file:
            for start in range(0, samples.shape[1], rate):  # one long write overflows libsndfile's stack
                file.write(samples.T[start : start + rate])
        return path
    usual = CODECS[path.suffix[1:]]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec or usual[0], rate=rate)
        stream.layout, stream.format = LAYOUTS[len(samples)], sample_format or usual[1]
        if bit_rate:
            stream.bit_rate = bit_rate
        _encode(container, stream, samples, rate, sample_format or usual[1])
    return path


@pytest.fixture(scope="session")
def audio():
    """``audio.write(path, samples, ...)`` and ``audio.tone(seconds, ...)``."""

    class Audio:
        write = staticmethod(write_audio)
        tone = staticmethod(tone)
        codecs = CODECS

    return Audio
