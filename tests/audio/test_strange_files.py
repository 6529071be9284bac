"""Files that are whole but look cut off, and files that no decoder here can read."""

import av
import numpy as np
import pytest
import soundfile

from embedx.audio.decode import decode
from embedx.audio.decode_pool import DecodePool
from embedx.audio.loader import ClipEnd, ClipRequest, ClipWindow, load_clip
from embedx.errors import DecodeError
from embedx.recipe import Recipe

RATE = 16_000
RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="", layers=(0,))


def noise(seconds, rate=RATE):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def pages(body):
    """Positions of the pages of an ogg file."""
    found, at = [], body.find(b"OggS")
    while at >= 0:
        found.append(at)
        at = body.find(b"OggS", at + 4)
    return found


def ogg_checksum(page):
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 1 << 31 else 0)) & 0xFFFFFFFF
    return register


def without_end_mark(body):
    """Clear the flag of the last page, as a recorder that is stopped leaves it."""
    body, at = bytearray(body), pages(body)[-1]
    body[at + 5] &= ~4
    body[at + 22 : at + 26] = bytes(4)
    body[at + 22 : at + 26] = ogg_checksum(body[at:]).to_bytes(4, "little")
    return bytes(body)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_an_ogg_without_an_end_mark_is_whole_if_its_last_page_is(audio, tmp_path, kind):
    path = audio.write(tmp_path / f"a.{kind}", noise(6, 48_000))
    body = path.read_bytes()
    n = len(decode(path))
    path.write_bytes(without_end_mark(body))
    assert len(decode(path)) == pytest.approx(n, abs=0.05 * RATE)
    path.write_bytes(body[: pages(body)[-1]])  # the recorder died between two pages
    assert len(decode(path)) > 3 * RATE
    for n_bytes in (pages(body)[-1] + 10, pages(body)[-1] + 100, len(body) - 1):
        path.write_bytes(body[:n_bytes])
        with pytest.raises(DecodeError, match="cut off"):
            decode(path)


@pytest.fixture
def half_flac(tmp_path):
    """The first half of a FLAC's frames under the header of all of them; and the end of the last frame."""
    soundfile.write(tmp_path / "a.flac", noise(8), RATE)
    with av.open(str(tmp_path / "a.flac")) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
    last = packets[len(packets) // 2]
    path, end = tmp_path / "half.flac", last.pos + last.size
    path.write_bytes((tmp_path / "a.flac").read_bytes()[:end])
    return path, end


def test_a_flac_under_another_header_is_whole_if_its_last_frame_is(half_flac, tmp_path):
    path, _ = half_flac
    found = decode(path)
    assert np.array_equal(found, decode(tmp_path / "a.flac")[: len(found)])
    assert len(found) > 3 * RATE


@pytest.mark.parametrize("less", [1, 2, 500, 3_000])
def test_a_flac_that_ends_within_a_frame_is_cut_off(half_flac, less):
    path, end = half_flac
    path.write_bytes(path.read_bytes()[: end - less])
    with pytest.raises(DecodeError, match=r"cut off|damaged"):
        decode(path)


def test_an_mp4_of_which_the_last_packets_are_missing_is_cut_off(audio, tmp_path):
    path = audio.write(tmp_path / "a.m4a", noise(10, 48_000), options={"movflags": "faststart"})
    for share in (0.5, 0.9):
        (tmp_path / "b.m4a").write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])
        with pytest.raises(DecodeError, match=r"cut off|damaged"):
            decode(tmp_path / "b.m4a")


@pytest.fixture
def apac(audio, tmp_path):
    """An mp4 whose only track has a codec that nobody here knows."""
    path = audio.write(tmp_path / "apac.m4a", noise(1, 48_000))
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"free"))
    return path


@pytest.fixture
def no_bits(tmp_path):
    """A WAV of samples of no bits."""
    soundfile.write(tmp_path / "bits0.wav", noise(1), RATE, subtype="PCM_16")
    body = bytearray((tmp_path / "bits0.wav").read_bytes())
    body[34:36] = bytes(2)
    (tmp_path / "bits0.wav").write_bytes(body)
    return tmp_path / "bits0.wav"


def test_a_codec_without_a_decoder_is_named(apac):
    with pytest.raises(DecodeError, match=r"there is no decoder for its codec, apac .*: convert it") as caught:
        decode(apac)
    assert "\n" not in str(caught.value)


def test_a_wav_of_no_bits(no_bits):
    with pytest.raises(DecodeError, match="no decoder for its codec"):
        decode(no_bits)


def test_a_track_that_can_be_decoded_is_taken(audio, tmp_path):
    path = tmp_path / "two.mov"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=48_000, layout="stereo") for codec in ("aac", "pcm_s16le")]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(np.tile(audio.tone(2.0), (2, 1)), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"free"))
    found = decode(path)
    assert np.abs(np.fft.rfft(found[:RATE])).argmax() == 440


@pytest.mark.parametrize("n_workers", [0, 1])
def test_ten_files_without_a_decoder_do_not_end_the_run(apac, no_bits, tmp_path, n_workers):
    soundfile.write(tmp_path / "good.wav", noise(1), RATE)
    paths = [apac, no_bits] * 5 + [tmp_path / "good.wav"]
    requests = [ClipRequest.from_recipe(str(path), RECIPE) for path in paths]
    with DecodePool(n_workers) as pool:
        ends = {index: event for index, event in pool.load(requests) if isinstance(event, ClipEnd)}
    assert [ends[i].reason for i in range(11)] == ["decode"] * 10 + [""]


@pytest.mark.parametrize(
    "error", [AttributeError("no rate"), RuntimeError("two\nlines"), KeyError("x"), RecursionError()]
)
def test_whatever_a_library_raises_is_the_files_failure(tmp_path, monkeypatch, error):
    def raises(*args, **options):
        raise error

    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    monkeypatch.setattr("embedx.audio.loader.decode_blocks", raises)
    *_, end = load_clip(ClipRequest.from_recipe(str(tmp_path / "a.wav"), RECIPE))
    assert end.reason == "decode"
    assert type(error).__name__ in end.message
    assert "\n" not in end.message


@pytest.mark.parametrize("error", [OSError("gone"), DecodeError("stop"), RuntimeError("stop")])
def test_what_the_heartbeat_raises_is_not_the_files_failure(tmp_path, error):
    def beat():
        raise error

    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    with pytest.raises(type(error), match=str(error)):
        list(load_clip(ClipRequest.from_recipe(str(tmp_path / "a.wav"), RECIPE), heartbeat=beat))


def test_only_what_the_recipe_uses_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(60), RATE)
    beats = []
    request = ClipRequest.from_recipe(str(tmp_path / "a.wav"), RECIPE.replace(max_seconds=1.0))
    events = list(load_clip(request, heartbeat=lambda: beats.append(None)))
    assert sum(len(event.samples) for event in events if isinstance(event, ClipWindow)) == RATE
    n_hashed = -(-(tmp_path / "a.wav").stat().st_size // 2**18)
    assert len(beats) < n_hashed + 60
