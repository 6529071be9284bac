"""Seconds out of every container: at the right place, of the right length, at the right loudness, for few bytes."""

import numpy as np
import pytest
from scipy import signal

from embedx.download.status import StatusError

pytestmark = pytest.mark.download

KINDS = ("m4a", "fmp4", "webm", "mka", "mp3", "ogg", "flac", "wav")


def offset_ms(got, wave, start):
    """Where the samples really lie, in milliseconds from where they were asked for."""
    reference = signal.resample_poly(wave, 1, 3).astype(np.float32)
    reference = np.concatenate([np.zeros(1600, np.float32), reference, np.zeros(1600, np.float32)])
    begin = round(start * 16_000)
    window = reference[begin : begin + len(got) + 3200]
    match = signal.correlate(window, got, mode="valid", method="fft")
    best = int(match.argmax())
    likeness = np.corrcoef(window[best : best + len(got)], got)[0, 1]
    return (best - 1600) / 16, likeness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0.0, 17.3, "middle"])
def test_offset_and_length(kind, start, site, files, wave, fetch):
    url = site.add(f"/{files[kind].name}", file=files[kind])
    section = fetch(url, start=start, seconds=4.0).section
    assert len(section.samples) == 4 * 16_000
    off, likeness = offset_ms(section.samples, wave, section.start_seconds)
    assert abs(off) <= 30
    assert likeness > 0.85
    assert section.start_seconds == pytest.approx(18.0 if start == "middle" else start, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_past_the_end_and_over_it(kind, site, files, fetch):
    url = site.add(f"/{files[kind].name}", file=files[kind])
    with pytest.raises(StatusError) as caught:
        fetch(url, start=50.0)
    assert caught.value.reason == "past_end"
    short = fetch(url, start=38.5).section
    assert len(short.samples) / 16_000 == pytest.approx(1.5, abs=0.1)


def test_the_whole_file(site, files, fetch):
    url = site.add("/a.webm", file=files["webm"])
    assert len(fetch(url, seconds=None).section.samples) / 16_000 == pytest.approx(40.0, abs=0.05)


def test_a_tone_keeps_its_level(tmp_path, media, site, fetch):
    """Same sound on both channels: the mean is that sound, not 3 dB more; left alone is half of it."""
    wave = media.noise(10.0, seed=3)
    both = media.write_media(tmp_path / "both.flac", np.stack([wave, wave]), kind="flac")
    left = media.write_media(tmp_path / "left.flac", np.stack([wave, 0 * wave]), kind="flac")
    loud = fetch(site.add("/both.flac", file=both)).section.rms
    half = fetch(site.add("/left.flac", file=left)).section.rms
    inside = wave[round(3.0 * 48_000) : round(7.0 * 48_000)]
    assert loud == pytest.approx(float(np.sqrt(np.mean(inside**2))), rel=0.01)
    assert half == pytest.approx(loud / 2, rel=0.01)


def test_six_channels_are_averaged(tmp_path, media, site, fetch):
    wave = media.noise(10.0, seed=4)
    six = media.write_media(tmp_path / "six.flac", np.stack([wave] * 6), kind="flac", layout="5.1")
    inside = wave[round(3.0 * 48_000) : round(7.0 * 48_000)]
    assert fetch(site.add("/six.flac", file=six)).section.rms == pytest.approx(
        float(np.sqrt(np.mean(inside**2))), rel=0.01
    )


def test_channels_that_cancel_are_flagged(tmp_path, media, site, fetch):
    wave = media.noise(10.0, seed=5)
    path = media.write_media(tmp_path / "anti.flac", np.stack([wave, -wave]), kind="flac")
    section = fetch(site.add("/anti.flac", file=path)).section
    assert section.is_cancelled
    assert section.is_silent
    silence = media.write_media(tmp_path / "silence.flac", np.zeros((2, 480_000), np.float32), kind="flac")
    section = fetch(site.add("/silence.flac", file=silence)).section
    assert section.is_silent
    assert not section.is_cancelled


def test_of_two_audio_streams_one_is_taken(tmp_path, media, site, fetch):
    waves = [media.noise(10.0, seed=seed) for seed in (6, 7)]
    path = media.write_media(tmp_path / "two.mp4", *(np.stack([wave, wave]) for wave in waves), kind="m4a")
    section = fetch(site.add("/two.mp4", file=path)).section
    likeness = [offset_ms(section.samples, wave, 3.0)[1] for wave in waves]
    assert max(likeness) > 0.9
    assert min(likeness) < 0.1


def long_wav(path, seconds):
    """An 11-hour WAV that takes no room: a header, a hole, half a minute of noise, a hole."""
    import struct

    n = int(seconds * 16_000) * 2
    noise = (np.random.default_rng(0).normal(size=30 * 16_000) * 3000).astype("<i2").tobytes()
    with open(path, "wb") as out:
        out.write(
            b"RIFF" + struct.pack("<I", 36 + n) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
        )
        out.write(b"data" + struct.pack("<I", n))
        out.seek(44 + (n // 2 - len(noise) // 2))
        out.write(noise)
        out.truncate(44 + n)
    return path


def test_hours_cost_little(tmp_path, site, fetch):
    path = long_wav(tmp_path / "long.wav", 11 * 3600.0)
    url = site.add("/long.wav", file=path)
    fetched = fetch(url, seconds=30.0)
    assert fetched.section.duration_seconds == pytest.approx(11 * 3600.0)
    assert fetched.section.rms > 0.05
    assert sum(one.n_bytes for one in site.seen) < 0.02 * path.stat().st_size
    assert fetched.facts["bytes_fetched"] == site.n_bytes("/long.wav") - 65_536  # less yt-dlp's own look


@pytest.mark.parametrize("kind", ["webm", "fmp4", "m4a", "mp3"])
def test_long_files_with_real_codecs(kind, tmp_path, media, site, fetch):
    """An hour of repeated packets: the bytes fetched are bounded by the index, not by the length."""
    path = media.write_long(tmp_path / f"long{media.CONTAINERS[kind][0]}", kind=kind, seconds=3600.0)
    url = site.add(f"/{path.name}", file=path)
    section = fetch(url, seconds=30.0).section
    assert len(section.samples) == 30 * 16_000
    share = site.n_bytes(f"/{path.name}") / path.stat().st_size
    assert share < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_is_not_taken_for_a_whole_one(kind, tmp_path, site, files, fetch):
    """The second half is missing at the source: the section there fails; none comes out shorter unsaid."""
    whole = files[kind].read_bytes()
    half = tmp_path / f"half{files[kind].suffix}"
    half.write_bytes(whole[: len(whole) // 2])
    url = site.add(f"/{half.name}", file=half)
    with pytest.raises(StatusError) as caught:
        fetch(url, start=30.0)
    assert caught.value.reason in ("truncated", "corrupt", "past_end")


@pytest.mark.parametrize("kind", ["webm", "mka", "mp3", "ogg", "flac", "m4a", "fmp4"])
def test_damaged_packets_are_counted_or_refused(kind, tmp_path, site, files, wave, fetch):
    """Noise over 3 percent of the bytes in the middle: counted and of full length, or refused; never a splice."""
    data = bytearray(files[kind].read_bytes())
    rng = np.random.default_rng(0)
    begin = len(data) // 2
    data[begin : begin + len(data) * 3 // 100] = rng.bytes(len(data) * 3 // 100)
    path = tmp_path / f"bad{files[kind].suffix}"
    path.write_bytes(data)
    url = site.add(f"/{path.name}", file=path)
    try:
        section = fetch(url, seconds=8.0).section
    except StatusError as error:
        word = error.reason
    else:
        word = "ok"
        assert len(section.samples) == 8 * 16_000
        for begins in (0, 7):
            piece = section.samples[begins * 16_000 : (begins + 1) * 16_000]
            off, likeness = offset_ms(piece, wave, section.start_seconds + begins)
            assert likeness < 0.5 or abs(off) <= 30
    assert word in ("ok", "corrupt", "truncated", "past_end")


def test_an_mp3_whose_duration_is_a_guess(tmp_path, media, site, wave, fetch):
    """No header and a bit rate that rises: the guess is far too long, so what is there is taken, and nothing else."""
    pieces = []
    for kind_rate, part in ((32_000, wave[: 10 * 48_000]), (192_000, wave[10 * 48_000 : 40 * 48_000])):
        path = tmp_path / f"{kind_rate}.mp3"
        facts = (".mp3", "mp3", "libmp3lame", kind_rate, {"write_xing": "0", "id3v2_version": "0"})
        media.CONTAINERS["bare"] = facts
        pieces.append(media.write_media(path, np.stack([part, part]), kind="bare").read_bytes())
    path = tmp_path / "rising.mp3"
    path.write_bytes(b"".join(pieces))
    for place in (site.add("/rising.mp3", file=path), path):
        section = fetch(place, start=5.0).section
        assert len(section.samples) == 64_000
        assert section.duration_seconds > 60
        with pytest.raises(StatusError) as caught:
            fetch(place, start=100.0)
        assert caught.value.reason == "past_end"
