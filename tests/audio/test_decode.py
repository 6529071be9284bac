"""Every trap of decoding, each on a file that the test makes."""

import subprocess
import sys
import wave

import av
import numpy as np
import pytest
import soundfile

from embedx.audio.decode import DecodeNotes, decode, decode_blocks
from embedx.errors import DecodeError

RATE = 16_000


def lag(found, expected):
    """Samples by which ``found`` is late."""
    n = min(len(found), len(expected))
    spectrum = np.fft.rfft(found[:n], 2 * n) * np.conj(np.fft.rfft(expected[:n], 2 * n))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    return shift if shift < n else shift - 2 * n


def noise(seconds, rate=48_000, seed=0):
    """Band-limited noise, so that codecs keep it."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.normal(0, 1, round(seconds * rate)))
    spectrum[np.fft.rfftfreq(round(seconds * rate), 1 / rate) > 3_000] = 0
    wave = np.fft.irfft(spectrum, round(seconds * rate))
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.fixture(params=["wav", "flac", "mp3", "m4a", "ogg", "opus", "webm"])
def kind(request):
    return request.param


def test_every_container_keeps_length_and_place(audio, tmp_path, kind):
    samples = noise(3.0)
    found = decode(audio.write(tmp_path / f"a.{kind}", samples))
    soundfile.write(tmp_path / "reference.wav", samples, 48_000, subtype="FLOAT")
    expected = decode(tmp_path / "reference.wav")
    assert len(expected) == 48_000
    assert abs(len(found) - len(expected)) <= (0 if kind in ("wav", "flac") else 0.03 * RATE)  # priming, flush
    assert abs(lag(found, expected)) <= 0.002 * RATE
    assert np.corrcoef(found[:40_000], expected[:40_000])[0, 1] > 0.95


@pytest.mark.parametrize("n_channels", [1, 2, 6, 8])
def test_channels_are_averaged_whatever_their_layout(audio, tmp_path, n_channels):
    rng = np.random.default_rng(n_channels)
    gains = rng.uniform(0.1, 0.9, n_channels)
    path = tmp_path / "a.wav"
    soundfile.write(path, audio.tone(0.5, rate=RATE)[:, None] * gains, RATE, subtype="FLOAT")
    assert np.allclose(decode(path), gains.mean() * audio.tone(0.5, rate=RATE), atol=1e-6)


def test_two_loud_channels_do_not_clip_and_antiphase_is_silent(audio, tmp_path):
    loud = audio.tone(0.5, rate=RATE, gain=0.99)
    same = audio.write(tmp_path / "same.wav", np.stack([loud, loud]), rate=RATE)
    anti = audio.write(tmp_path / "anti.wav", np.stack([loud, -loud]), rate=RATE)
    assert np.abs(decode(same)).max() == pytest.approx(0.99, abs=1e-3)
    assert np.abs(decode(anti)).max() < 1e-3


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_sample_rate_becomes_16_khz_to_the_sample(tmp_path, audio, rate):
    soundfile.write(tmp_path / "a.wav", audio.tone(1.5, rate=rate), rate, subtype="FLOAT")
    found = decode(tmp_path / "a.wav")
    assert abs(len(found) - 24_000) <= 1
    assert np.allclose(found[500:23_500], audio.tone(1.5, rate=RATE)[500:23_500], atol=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_has_the_same_scale(tmp_path, audio, subtype):
    soundfile.write(tmp_path / "a.wav", audio.tone(0.5, rate=RATE), RATE, subtype=subtype)
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.03}.get(subtype, 1e-4)
    assert np.allclose(decode(tmp_path / "a.wav"), audio.tone(0.5, rate=RATE), atol=tolerance)


def test_the_best_of_several_streams_in_a_video(tmp_path, audio):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        streams = [container.add_stream("aac", rate=48_000, layout="mono") for _ in range(2)]
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
        for stream, hertz in zip(streams, (440.0, 1_000.0), strict=True):
            samples = audio.tone(1.0, hertz=hertz)
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
                frame.sample_rate, frame.pts = 48_000, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    found = decode(path)
    assert abs(len(found) - RATE) < 0.05 * RATE
    spectrum = np.abs(np.fft.rfft(found[:RATE]))
    assert abs(int(np.argmax(spectrum)) - 440) < 5 or abs(int(np.argmax(spectrum)) - 1_000) < 5


@pytest.mark.parametrize("start", [0.25, 40.123])
def test_a_segment_is_a_piece_of_the_whole(audio, tmp_path, kind, start):
    path = audio.write(tmp_path / f"a.{kind}", noise(43.0))
    whole = decode(path)
    piece = decode(path, start_seconds=start, stop_seconds=start + 2.0)
    first = round(start * RATE)
    assert len(piece) == 2 * RATE
    assert abs(lag(piece, whole[first : first + 2 * RATE])) <= 0.03 * RATE
    if start < 30 or kind in ("wav", "flac", "m4a"):  # a seek may shift by part of a sample
        assert np.corrcoef(piece, whole[first : first + 2 * RATE])[0, 1] > (0.999 if start < 30 else 0.95)


def test_a_segment_beyond_the_end_says_where_the_end_is(audio, tmp_path):
    path = audio.write(tmp_path / "a.wav", noise(2.0))
    with pytest.raises(DecodeError, match=r"ends at 2\.000 s, before 5 s"):
        decode(path, start_seconds=5.0)
    assert len(decode(path, start_seconds=1.5, stop_seconds=9.0)) == RATE // 2


@pytest.mark.parametrize("start", [1e5, 1e10, 1e300])
def test_a_segment_further_away_than_any_file_is_long(audio, tmp_path, kind, start):
    path = audio.write(tmp_path / f"a.{kind}", noise(1.0))
    with pytest.raises(DecodeError, match=r"ends .*before 1"):
        decode(path, start_seconds=start)


def test_half_a_file_is_cut_off(audio, tmp_path, kind):
    path = audio.write(tmp_path / f"a.{kind}", noise(10.0))
    half = tmp_path / f"half.{kind}"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecodeError) as caught:
        decode(half)
    assert "half" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "form"), [("au", "AU"), ("caf", "CAF"), ("w64", "W64"), ("wav", "RF64")])
def test_half_a_file_of_a_rarer_container_is_cut_off(tmp_path, kind, form):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, noise(3.0), 16_000, format=form, subtype="PCM_16")
    assert len(decode(path)) > 0
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecodeError, match="cut off"):
        decode(path)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_size(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.0), 16_000, subtype="PCM_16")
    body = bytearray(path.read_bytes())
    at = body.index(b"data") + 4
    body[at : at + 4] = size.to_bytes(4, "little")
    n = len(decode(path))
    path.write_bytes(body)
    assert len(decode(path)) == n


def test_a_list_of_files_is_no_audio(tmp_path):
    soundfile.write(tmp_path / "secret.wav", noise(1.0), 16_000)
    (tmp_path / "a.wav").write_text("ffconcat version 1.0\nfile secret.wav\n")
    with pytest.raises(DecodeError, match=r"is a list of other files \(concat\)"):
        decode(tmp_path / "a.wav")


def test_a_variable_rate_mp3_without_a_header_is_whole(audio, tmp_path):
    quiet, loud = np.zeros(48_000 * 8, np.float32), noise(2.0)
    path = audio.write(tmp_path / "a.mp3", np.concatenate([quiet, loud]), options={"write_xing": "0"}, bit_rate=None)
    assert abs(len(decode(path)) - 10 * RATE) < 0.1 * RATE


def test_bad_packets_cost_only_themselves_until_there_are_many(audio, tmp_path):
    path = audio.write(tmp_path / "a.mp3", noise(20.0))
    body = bytearray(path.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 600] = b"\xff" * 600
    (tmp_path / "scratched.mp3").write_bytes(body)
    notes = DecodeNotes()
    n = sum(map(len, decode_blocks(tmp_path / "scratched.mp3", notes=notes)))
    assert abs(n - 20 * RATE) < 0.5 * RATE
    for start in range(2_000, len(body) - 2_000, 700):
        body[start : start + 650] = b"\x00" * 650
    (tmp_path / "ruin.mp3").write_bytes(body)
    with pytest.raises(DecodeError):
        decode(tmp_path / "ruin.mp3")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.wav", b"this is no audio at all, just words\n" * 50, "cannot be decoded"),
        ("empty.wav", b"", "is empty"),
        ("page.mp3", b"<!doctype html><html><body>404</body></html>" * 40, "page.mp3"),
        ("zeros.m4a", bytes(5_000), "cannot be decoded"),
    ],
)
def test_what_is_no_audio_is_refused_in_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=says) as caught:
        decode(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_header_that_says_one_sample_a_second(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.zeros(32_000), 1)
    with pytest.raises(DecodeError, match="1 samples a second: 1000 or more"):
        decode(tmp_path / "slow.wav")


def test_missing_and_folder(tmp_path):
    with pytest.raises(DecodeError, match="no such file"):
        decode(tmp_path / "none.wav")
    with pytest.raises(DecodeError, match="folder"):
        decode(tmp_path)


def test_a_video_without_sound(tmp_path):
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(video.encode(None))
    with pytest.raises(DecodeError, match="no audio stream"):
        decode(path)


@pytest.mark.slow
@pytest.mark.parametrize("hours", [2, pytest.param(10, marks=pytest.mark.full)])
def test_hours_stream_in_little_memory(tmp_path, hours):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8_000)
        for _ in range(60 * hours):
            file.writeframesraw(bytes(60 * 8_000))
    program = (
        "import sys; from embedx.audio.decode import decode_blocks\n"
        "n = sum(len(b) for b in decode_blocks(sys.argv[1]))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"  # not the parent's
        "print(n, peak.split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    n_samples, kilobytes = map(int, done.stdout.split())
    assert n_samples == 3_600 * hours * RATE
    assert kilobytes < 300_000
