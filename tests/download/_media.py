"""Real media files, made by the tests: known noise in every container."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

SOURCE_RATE = 48_000

# name: (suffix, muxer, codec, bit rate, muxer options)
CONTAINERS = {
    "m4a": (".m4a", "mp4", "aac", 192_000, {}),
    "fmp4": (".m4a", "mp4", "aac", 192_000, {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}),
    "webm": (".webm", "webm", "libopus", 160_000, {}),
    "mka": (".mka", "matroska", "aac", 192_000, {}),
    "mp3": (".mp3", "mp3", "libmp3lame", 192_000, {}),
    "ogg": (".ogg", "", "vorbis", None, {}),  # by soundfile: PyAV's wheels have no Vorbis encoder
    "flac": (".flac", "flac", "flac", None, {}),
    "wav": (".wav", "wav", "pcm_s16le", None, {}),
}


def noise(seconds: float, *, seed: int = 0, rate: int = SOURCE_RATE) -> np.ndarray:
    """Return band-limited noise (below 4 kHz) that every codec keeps well enough to be found again."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    spectrum = np.fft.rfft(rng.normal(size=n))
    frequency = np.fft.rfftfreq(n, 1 / rate)
    spectrum[(frequency < 100) | (frequency > 4000)] = 0
    wave = np.fft.irfft(spectrum, n)
    return (0.2 * wave / np.abs(wave).std() / 2).astype(np.float32)


def write_media(path: Path, *streams: np.ndarray, kind: str, rate: int = SOURCE_RATE, layout: str = "stereo") -> Path:
    """Encode one or more audio streams, each of shape (channels, samples), into one container."""
    _, muxer, codec, bit_rate, options = CONTAINERS[kind]
    if kind == "ogg":
        return _write_vorbis(path, *streams, rate=rate)
    with av.open(str(path), "w", format=muxer, options=options) as out:
        tracks = [_track(out, codec, bit_rate, rate, layout) for _ in streams]
        for track, wave in zip(tracks, streams, strict=True):
            _encode(out, track, wave, rate, layout)
    return path


def _write_vorbis(path: Path, wave: np.ndarray, *, rate: int) -> Path:
    with soundfile.SoundFile(path, "w", rate, wave.shape[0], format="OGG", subtype="VORBIS") as out:
        for begin in range(0, wave.shape[1], rate):
            out.write(wave[:, begin : begin + rate].T)
    return path


def _track(out, codec, bit_rate, rate, layout):
    track = out.add_stream(codec, rate=rate, layout=layout)
    if bit_rate:
        track.bit_rate = bit_rate
    return track


def _encode(out, track, wave, rate, layout):
    name = track.codec_context.format.name if track.codec_context.format else track.codec.audio_formats[0].name
    resampler = av.AudioResampler(name, layout, rate, frame_size=track.codec_context.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave, dtype=np.float32), "fltp", layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(track.encode(piece))
    out.mux(track.encode(None))


def write_long(path: Path, *, kind: str, seconds: float) -> Path:
    """Write hours in a second: the packets of a minute, muxed again and again with later times."""
    minute = path.with_name(f"minute-{path.name}")
    wave = noise(60.0, seed=9)
    write_media(minute, np.stack([wave, wave]), kind=kind)
    _, muxer, _, _, options = CONTAINERS[kind]
    with av.open(str(minute)) as source, av.open(str(path), "w", format=muxer, options=options) as out:
        given = source.streams.audio[0]
        taken = out.add_stream_from_template(given)
        packets = [(bytes(packet), packet.duration) for packet in source.demux(given) if packet.dts is not None]
        time = 0
        while time * given.time_base < seconds:
            for data, duration in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = taken, given.time_base
                packet.pts = packet.dts = time
                packet.duration = duration
                packet.is_keyframe = True
                time += duration
                out.mux(packet)
    minute.unlink()
    return path
