"""The segments of a long recording are read one after the other, not each from the recording's start."""

import os

import numpy as np
import pytest

from embedx.audio import decode as module
from embedx.audio.decode import decode
from embedx.errors import DecodeError
from embedx.testing import make_tone, write_wav


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A minute of sound as mp3, in which nothing can be sought exactly, and all of its samples."""
    import av

    place = tmp_path_factory.mktemp("long") / "long.mp3"
    samples = make_tone(500, seconds=60, noise=0.3, sample_rate=16_000)
    with av.open(str(place), "w") as container:
        stream = container.add_stream("mp3", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 20_000).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return place, decode(place)


@pytest.fixture
def opened(monkeypatch):
    """How often a file was opened to be decoded."""
    if module._readings.last is not None:
        module._readings.last.close()
        module._readings.last = None
    real, places = module.av.open, []

    def count(place, *words, **named):
        places.append(place)
        return real(place, *words, **named)

    monkeypatch.setattr(module.av, "open", count)
    return places


def slices(recording, segments):
    place, whole = recording
    for start, stop in segments:
        piece = decode(place, start_seconds=start, stop_seconds=stop)
        assert np.array_equal(piece, whole[round(start * 16_000) : round(stop * 16_000)]), (start, stop)


def test_segments_in_order_open_the_file_once(recording, opened):
    slices(recording, [(start, start + 4) for start in range(0, 56, 4)])
    assert len(opened) == 1


def test_windows_that_overlap_open_it_once(recording, opened):
    slices(recording, [(start, start + 10) for start in np.arange(0, 50, 2.5)])
    assert len(opened) == 1


def test_segments_in_any_order_are_the_same(recording, opened):
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 55, 12)
    slices(recording, [(start, start + rng.uniform(0.1, 5)) for start in starts])


def test_a_segment_beyond_the_end_is_told_after_others(recording, opened):
    slices(recording, [(50, 55)])
    with pytest.raises(DecodeError, match="before 70 s"):
        decode(recording[0], start_seconds=70, stop_seconds=75)
    slices(recording, [(50, 55)])


def test_a_file_that_was_replaced_is_opened_anew(tmp_path, opened):
    place = tmp_path / "a.wav"
    for pitch in (300, 900):
        samples = make_tone(pitch, seconds=3, sample_rate=16_000)
        write_wav(str(tmp_path / "draft.wav"), samples)
        os.replace(tmp_path / "draft.wav", place)
        whole = decode(place)
        first = decode(place, start_seconds=0, stop_seconds=1)
        assert np.array_equal(first, whole[:16_000])


def test_a_reader_that_stops_early_leaves_nothing_half_read(recording, opened):
    blocks = module.decode_blocks(recording[0], start_seconds=10, stop_seconds=40)
    next(blocks)
    blocks.close()
    slices(recording, [(12, 14), (14, 16)])
