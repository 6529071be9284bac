"""One time line: where sound lies in a file with gaps, holes, late starts and clocks that were set anew."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from embedx.audio.decode import decode
from embedx.errors import DecodeError

RATE = 16_000


def tones(seconds, rate=48_000):
    """Second k is a tone of 300 + 20 k Hz."""
    hertz = 300 + 20 * np.repeat(np.arange(seconds), rate)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / rate)).astype(np.float32)


def second_of(samples):
    """Which second of `tones` this is."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return round((np.argmax(spectrum) * RATE / len(samples) - 300) / 20)


def write_stamped(path, codec, samples, stamp, *, rate=48_000, sample_format="fltp", video=False):
    """Encode samples; ``stamp`` says at which second a packet of this second is to be played (None: left out)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono", format=sample_format)
        if video:
            write_picture(container)
        packets = []
        for start in range(0, len(samples), rate):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + rate], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            seconds = float(packet.pts * packet.time_base)
            wanted = stamp(seconds)
            if wanted is not None:
                shift = round((wanted - seconds) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                container.mux(packet)
    return path


def write_picture(container):
    """Put one picture at second 0."""
    video = container.add_stream("mpeg4", rate=10)
    video.width = video.height = 32
    video.pix_fmt = "yuv420p"
    for _ in range(3):
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
    container.mux(video.encode(None))


def hole(path, begin=0.48, end=0.54, fill=b"\0"):
    """Overwrite a part of a file."""
    body = bytearray(path.read_bytes())
    first, last = round(begin * len(body)), round(end * len(body))
    body[first:last] = (fill * (last - first))[: last - first]
    path.write_bytes(body)
    return path


def pause(seconds):
    """At second 5 the recorder was paused."""
    return lambda at: at if at < 5 else at + seconds


GAPPED = [("webm", "libopus", "flt"), ("mka", "flac", "s16"), ("mp4", "aac", "fltp"), ("ogg", "libopus", "flt"),
          ("ts", "mp2", "s16"), ("nut", "pcm_s16le", "s16")]  # fmt: skip


@pytest.mark.parametrize(("kind", "codec", "sample_format"), GAPPED)
def test_a_pause_is_silence_in_the_whole_and_in_every_segment(tmp_path, kind, codec, sample_format):
    path = write_stamped(tmp_path / f"a.{kind}", codec, tones(30), pause(9.9), sample_format=sample_format)
    whole = decode(path)
    assert len(whole) == pytest.approx(39.9 * RATE, abs=0.1 * RATE)
    assert np.abs(whole[round(5.2 * RATE) : round(14.7 * RATE)]).max() < 1e-3
    for begin, second in ((2.0, 2), (16.0, 6), (29.0, 19), (31.0, 21), (38.0, 28)):
        piece = decode(path, start_seconds=begin + 0.1, stop_seconds=begin + 0.7)
        assert second_of(piece) == second, begin
        first = round((begin + 0.1) * RATE)
        assert np.array_equal(piece, whole[first : first + len(piece)])
    inside = decode(path, start_seconds=7.0, stop_seconds=8.0)
    assert len(inside) == RATE
    assert not inside.any()


@pytest.mark.parametrize("jitter", [0.0005, 0.02, 0.08])
def test_stamps_that_jitter_put_no_silence_in(tmp_path, jitter):
    rng = np.random.default_rng(0)
    path = write_stamped(
        tmp_path / "a.mka", "flac", tones(6), lambda at: at + rng.uniform(0, jitter), sample_format="s16"
    )
    plain = write_stamped(tmp_path / "b.mka", "flac", tones(6), lambda at: at, sample_format="s16")
    assert np.array_equal(decode(path), decode(plain))


@pytest.mark.parametrize("gap", [0.09, 0.15])
def test_the_tolerance_is_a_tenth_of_a_second(tmp_path, gap):
    path = write_stamped(tmp_path / "a.mka", "flac", tones(10), pause(gap), sample_format="s16")
    assert len(decode(path)) == pytest.approx((10 + (gap > 0.1) * gap) * RATE, abs=0.002 * RATE)


def test_many_small_losses_do_not_add_up(tmp_path):
    def every_tenth_is_lost(at):
        return None if round(at * 10) % 10 == 5 else at

    path = write_stamped(tmp_path / "a.webm", "libopus", tones(30), every_tenth_is_lost, sample_format="flt")
    assert len(decode(path)) == pytest.approx(30 * RATE, abs=0.11 * RATE)
    assert second_of(decode(path, start_seconds=28.7, stop_seconds=29.0)) == 28


def test_two_recordings_in_one_file_follow_each_other(tmp_path):
    path = write_stamped(tmp_path / "a.ts", "mp2", tones(4), lambda at: at, sample_format="s16")
    length = len(decode(path))
    path.write_bytes(path.read_bytes() * 3)
    assert len(decode(path)) == pytest.approx(3 * length, abs=0.15 * RATE)


def test_a_clock_that_is_set_anew_in_an_mpeg_stream(tmp_path):
    path = write_stamped(tmp_path / "a.ts", "mp2", tones(10), pause(4_000), sample_format="s16")
    assert len(decode(path)) == pytest.approx(10 * RATE, abs=0.1 * RATE)


def test_a_jump_of_hours_is_refused_by_name(tmp_path):
    path = write_stamped(tmp_path / "a.mka", "flac", tones(10), pause(20_000), sample_format="s16")
    with pytest.raises(DecodeError, match=r"time stamps jump by 20000 s at 5\."):
        decode(path)
    assert len(decode(path, stop_seconds=4.0)) == 4 * RATE


def test_the_pictures_of_a_film_begin_before_its_sound(tmp_path):
    late = write_stamped(tmp_path / "a.mkv", "flac", tones(8), lambda at: at + 3, sample_format="s16", video=True)
    assert len(decode(late)) == pytest.approx(11 * RATE, abs=0.01 * RATE)
    assert second_of(decode(late, start_seconds=5.1, stop_seconds=5.9)) == 2
    alone = write_stamped(tmp_path / "b.mka", "flac", tones(8), lambda at: at + 3, sample_format="s16")
    assert len(decode(alone)) == 8 * RATE


def test_silence_of_unsigned_samples_is_silent(tmp_path):
    path = write_stamped(tmp_path / "a.nut", "pcm_u8", tones(8, 8_000), pause(2), rate=8_000, sample_format="u8")
    assert np.abs(decode(path, start_seconds=5.5, stop_seconds=6.5)).max() < 0.01


HOLED = [("ogg", None), ("opus", None), ("webm", None), ("mp3", None), ("aac", "aac"), ("mka", "aac"), ("m4a", None),
         ("flac", None), ("ts", "mp2"), ("ac3", "ac3"), ("eac3", "eac3"), ("oga", "flac")]  # fmt: skip


@pytest.mark.parametrize("fill", [b"\0", bytes(range(256))])
@pytest.mark.parametrize(("kind", "codec"), HOLED)
def test_a_lost_middle_is_damage(audio, tmp_path, kind, codec, fill):
    path = tmp_path / f"a.{kind}"
    noisy = tones(25) + np.random.default_rng(0).normal(0, 0.02, 25 * 48_000).astype(np.float32)
    if codec is None:
        audio.write(path, noisy)
    else:
        write_stamped(
            path, codec, noisy, lambda at: at, sample_format="fltp" if codec != "mp2" and codec != "flac" else "s16"
        )
    length = len(decode(path))
    assert length == pytest.approx(25 * RATE, abs=0.1 * RATE)
    hole(path, fill=fill)
    with pytest.raises(DecodeError, match="damaged"):
        decode(path)
    assert len(decode(path, stop_seconds=8.0)) == 8 * RATE


@pytest.mark.parametrize("kind", ["webm", "ogg", "flac"])
def test_after_a_hole_the_time_is_still_right(audio, tmp_path, kind):
    path = hole(audio.write(tmp_path / f"a.{kind}", tones(25)))
    assert second_of(decode(path, start_seconds=20.2, stop_seconds=20.8)) == 20


def test_joined_mp3_files_have_tags_between_them(audio, tmp_path):
    first = audio.write(tmp_path / "a.mp3", tones(5)).read_bytes()
    tag = b"ID3\x04\0\0" + bytes([0, 4, 0, 0]) + bytes(4 << 14)
    (tmp_path / "two.mp3").write_bytes(first + tag + first)
    assert len(decode(tmp_path / "two.mp3")) == pytest.approx(10 * RATE, abs=0.15 * RATE)


def test_a_rate_and_channels_that_change_in_mid_stream(audio, tmp_path):
    parts = [audio.write(tmp_path / f"{i}.mp3", np.tile(tones(3, rate), (channels, 1)), rate=rate,
                         options={"write_xing": "0", "id3v2_version": "0"}).read_bytes()
             for i, (rate, channels) in enumerate([(48_000, 1), (44_100, 2), (32_000, 1)])]  # fmt: skip
    (tmp_path / "all.mp3").write_bytes(b"".join(parts))
    whole = decode(tmp_path / "all.mp3")
    assert len(whole) == pytest.approx(9 * RATE, abs=0.2 * RATE)
    assert second_of(whole[round(7.4 * RATE) : 8 * RATE]) == 1
    piece = decode(tmp_path / "all.mp3", start_seconds=2.5, stop_seconds=7.5)
    assert np.array_equal(piece, whole[round(2.5 * RATE) : round(7.5 * RATE)])


def test_wav_header_that_lies_about_bytes_a_second(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(40, RATE), RATE, subtype="PCM_16")
    whole = decode(path)
    body = bytearray(path.read_bytes())
    for rate in (1, 8_000, 64_000, 0xFFFFFFFF):
        body[28:32] = rate.to_bytes(4, "little")
        path.write_bytes(body)
        piece = decode(path, start_seconds=33.1, stop_seconds=33.9)
        assert np.array_equal(piece, whole[round(33.1 * RATE) : round(33.9 * RATE)]), rate
