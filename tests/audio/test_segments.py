"""A segment is the slice of the full read, sample for sample, whatever the container and codec."""

import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from embedx.audio.decode import decode, decode_blocks
from embedx.audio.streams import DecodeNotes
from embedx.audio.time_line import can_seek
from embedx.errors import DecodeError

RATE = 16_000
SECONDS = 36


def cases(table):
    """Ending, FFmpeg's codec, sample rate and channels of every case."""
    rows = [row.split() for row in table.replace("\n", "/").split("/") if row.strip()]
    return [pytest.param(kind, codec, int(rate), int(n), id=f"{kind}-{codec}-{rate}") for kind, codec, rate, n in rows]


SOUGHT = cases(
    """
    wav pcm_u8 8000 1 / wav pcm_s16le 16000 1 / wav pcm_s16le 44100 2 / wav pcm_s24le 22050 2
    wav pcm_s32le 8000 1 / wav pcm_f32le 11025 1 / wav pcm_f64le 8000 3 / wav pcm_mulaw 8000 1
    wav pcm_alaw 8000 2 / w64 pcm_s16le 12000 1 / aiff pcm_s16be 22050 1 / aiff pcm_s24be 8000 2
    au pcm_s16be 8000 1 / caf pcm_s16be 11025 2 / flac flac 8000 1 / flac flac 44100 2
    """
)
READ_FROM_START = cases(
    """
    wav pcm_s16le 16001 1 / wav adpcm_ima_wav 22050 2 / wav adpcm_ms 8000 1 / wav g726 8000 1
    mp3 libmp3lame 16000 1 / m4a aac 16000 1 / aac aac 16000 1 / oga flac 8000 1 / wma wmav2 16000 2
    ac3 ac3 32000 1
    """
)
RARER = cases(
    """
    m4a alac 8000 1 / opus libopus 16000 1 / webm libopus 16000 1 / wma wmav1 16000 1 / eac3 eac3 32000 1
    rm real_144 8000 1 / mp2 mp2 16000 1 / ts aac 16000 1 / wav adpcm_yamaha 8000 1 / wav g723_1 8000 1
    caf adpcm_ima_qt 8000 1 / caf alac 8000 1 / mka aac 16000 1 / mka flac 8000 1 / mka pcm_s16le 8000 1
    mka libmp3lame 16000 1 / avi libmp3lame 16000 1 / avi pcm_s16le 8000 1 / flv aac 22050 1
    flv nellymoser 8000 1 / mov pcm_s16be 8000 1 / mov adpcm_ima_qt 8000 1 / 3gp aac 16000 1
    mpg mp2 32000 1 / ts mp2 32000 1 / ts ac3 32000 1 / nut pcm_s16le 8000 1 / tta tta 8000 1
    wv wavpack 8000 1 / g722 g722 16000 1 / voc pcm_u8 8000 1 / sox pcm_s32le 8000 1
    """
)


def noise(n):
    return np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32)


def write(path, codec, rate, n_channels):
    """Write noise with FFmpeg; low bits make no two seconds alike."""
    layout = {1: "mono", 2: "stereo", 3: "2.1"}[n_channels]
    samples = np.stack([noise(SECONDS * rate) * (1 - 0.3 * i) for i in range(n_channels)])
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = {"g723_1": 6_300}.get(codec, 64_000)
            for start in range(0, SECONDS * rate, rate):
                part = np.ascontiguousarray(samples[:, start : start + rate])
                frame = av.AudioFrame.from_ndarray(part, "fltp", layout)
                frame.sample_rate, frame.pts = rate, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg does not write {codec} in {path.suffix}: {error}")
    return path


SEGMENTS = ((0.1234, 0.9), (12.5, 14.0), (30.0, 31.0), (31.00007, 33.3), (34.0, 36.0), (33.0, None))


def require_equal_slices(path, segments=()):
    whole = decode(path)
    end = len(whole) / RATE
    assert end == pytest.approx(SECONDS, abs=0.15)
    for begin, stop in segments or (*SEGMENTS, (35.5, end + 5)):
        piece = decode(path, start_seconds=begin, stop_seconds=stop)
        expected = whole[round(begin * RATE) : None if stop is None else round(stop * RATE)]
        assert np.array_equal(piece, expected), (begin, stop, len(piece), len(expected))
    with pytest.raises(DecodeError, match=rf"ends at {end:.3f} s, before {end + 0.5:g} s"):
        decode(path, start_seconds=end + 0.5)


def is_sought(path):
    with av.open(str(path)) as container:
        return can_seek(container, container.streams.audio[0], 33.0, RATE)


@pytest.mark.parametrize(("kind", "codec", "rate", "n_channels"), SOUGHT)
def test_where_a_seek_is_sure_it_gives_the_slice(tmp_path, kind, codec, rate, n_channels):
    path = write(tmp_path / f"a.{kind}", codec, rate, n_channels)
    assert is_sought(path)
    require_equal_slices(path)
    notes = DecodeNotes()
    list(decode_blocks(path, start_seconds=33.0, stop_seconds=34.0, notes=notes))
    whole = DecodeNotes()
    list(decode_blocks(path, notes=whole))
    assert notes.n_packets < 0.3 * whole.n_packets, "a segment near the end does not read everything before it"


@pytest.mark.parametrize(("kind", "codec", "rate", "n_channels"), READ_FROM_START)
def test_where_it_is_not_the_file_is_read_from_its_start(tmp_path, kind, codec, rate, n_channels):
    path = write(tmp_path / f"a.{kind}", codec, rate, n_channels)
    assert not is_sought(path)
    require_equal_slices(path, [(0.1234, 0.9), (31.00007, 33.3), (35.5, None)])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "codec", "rate", "n_channels"), RARER)
def test_rarer_files(tmp_path, kind, codec, rate, n_channels):
    require_equal_slices(write(tmp_path / f"a.{kind}", codec, rate, n_channels))


def test_a_wav_of_64_bits(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(SECONDS * 8_000), 8_000, format="RF64", subtype="PCM_16")
    assert is_sought(tmp_path / "a.wav")
    require_equal_slices(tmp_path / "a.wav")


@pytest.mark.parametrize("options", [{}, {"write_xing": "0"}])
def test_an_mp3_of_variable_rate(audio, tmp_path, options):
    quiet = noise(SECONDS * RATE) * np.repeat([0.0, 1.0] * (SECONDS // 2), RATE).astype(np.float32)
    path = audio.write(tmp_path / "a.mp3", quiet, rate=RATE, options=options)
    require_equal_slices(path)


def test_a_segment_without_any_length_is_empty(tmp_path):
    path = write(tmp_path / "a.flac", "flac", 8_000, 1)
    assert len(decode(path, start_seconds=33.0, stop_seconds=33.0)) == 0
    assert len(decode(path, start_seconds=3.0, stop_seconds=3.00001)) == 0


def test_a_flac_that_begins_in_the_middle_of_another(tmp_path):
    path = write(tmp_path / "a.flac", "flac", 8_000, 1)
    whole = decode(path)
    with av.open(str(path)) as source, av.open(str(tmp_path / "cut.flac"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size and packet.pts >= 2 * 8_000:
                packet.stream = stream
                target.mux(packet)
    cut = decode(tmp_path / "cut.flac")
    assert np.array_equal(cut[1_000:], whole[len(whole) - len(cut) + 1_000 :])
    piece = decode(tmp_path / "cut.flac", start_seconds=31.5, stop_seconds=32.5)
    assert np.array_equal(piece, cut[round(31.5 * RATE) : round(32.5 * RATE)])


@pytest.mark.slow
def test_a_late_segment_of_an_hour_takes_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(3600 * 8_000, np.float32), 8_000, subtype="MS_ADPCM")
    program = (
        "import sys; from embedx.audio.decode import decode\n"
        "assert len(decode(sys.argv[1], start_seconds=3500.0, stop_seconds=3501.0)) == 16000\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250_000
