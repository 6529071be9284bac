"""Samples in memory are what a decoder would give of their file, or one clear error."""

import gc
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx.audio.arrays import as_recording
from embedx.audio.clip_inputs import read_clips
from embedx.audio.clip_parts import as_listed, clip_parts, rows_of_repeated
from embedx.audio.decode import decode
from embedx.audio.memory_files import MemoryFiles
from embedx.errors import DecodeError, EmbedxError, ManifestError, ParameterError
from embedx.manifest import Manifest

NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 8_000)).astype(np.float32)


def decoded(clips, sampling_rate=None, rate=16_000):
    """What comes of each clip when its file in memory is decoded."""
    found = []
    for part in clip_parts(clips, sampling_rate):
        found += [decode(part.manifest.path_of(source), sample_rate=rate) for source in part.manifest]
    return found


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_an_array_is_what_decoding_its_file_gives(tmp_path, subtype, rate, n_channels):
    soundfile.write(tmp_path / "a.wav", NOISE[:n_channels].T, rate, subtype=subtype)
    kinds = {"PCM_16": "int16", "PCM_32": "int32", "FLOAT": "float32"}
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype=kinds.get(subtype, "float32"))
    (expected,), (found,) = decoded([str(tmp_path / "a.wav")]), decoded(samples, rate)
    assert np.array_equal(found, expected)
    if n_channels == 2:
        assert np.array_equal(decoded([samples.T], rate)[0], expected)  # channels first or last


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        (np.array([0, 64, 255], np.uint8), [-1, -0.5, 127 / 128]),
        (np.array([-(2**15), 2**14], np.int16), [-1, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0.25, -2.0], np.float64), [0.25, -2]),
        (np.array([0.25], np.float16), [0.25]),
    ],
)
def test_pcm_is_scaled_as_decoders_do(samples, value):
    assert as_recording(samples, 16_000).samples.tolist() == [value]


@pytest.mark.parametrize(
    ("samples", "rate", "says"),
    [
        (NOISE[0], None, "has no sampling rate"),
        (NOISE[0], 999, "sampling_rate=999: a whole number from 1000"),
        (NOISE[0], 10**9, "from 1000 to 10000000 is needed"),
        (NOISE[0], 16_000.5, "a whole number"),
        (NOISE[0], "16k", "a whole number"),
        (NOISE[0], True, "a whole number"),
        (NOISE[0], float("nan"), "a whole number"),
        (np.zeros((2, 3, 4)), 16_000, r"shape \(2, 3, 4\)"),
        (np.zeros(()), 16_000, r"shape \(\)"),
        (np.zeros((9, 16_000)), 16_000, "several clips as a list"),
        (np.zeros((2, 2)), 16_000, "neither axis"),
        (np.zeros(0), 16_000, "is empty"),
        (np.zeros((0, 2)), 16_000, "is empty"),
        (np.array([0.0, np.nan]), 16_000, "NaN or infinity"),
        (np.array([1e300]), 16_000, "NaN or infinity"),
        (np.array([1, 2]), 16_000, "int64 numbers"),
        (np.array([True]), 16_000, "bool numbers"),
        (np.array([1j]), 16_000, "complex128 numbers"),
    ],
)
def test_samples_that_are_none_are_one_clear_error(samples, rate, says):
    with pytest.raises(ParameterError, match=says) as caught:
        as_recording(samples, rate)
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_any_kind_are_rates():
    assert {as_recording(NOISE, rate).sample_rate for rate in (8_000.0, np.int32(8_000), np.float32(8_000))} == {8_000}


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "dog.wav", NOISE[0], 16_000, subtype="FLOAT")
    return tmp_path / "dog.wav"


def every_kind(wav):
    content = wav.read_bytes()
    return {
        "dog.wav": wav,
        "clip 1": (NOISE[0], 16_000),
        "clip 2": (16_000, NOISE[0]),
        "clip 3 (dog.wav)": {"path": "x/dog.wav", "array": NOISE[0].tolist(), "sampling_rate": 16_000},
        "clip 4 (dog.wav)": {"bytes": content, "path": "dog.wav"},
        "clip 5": io.BytesIO(content),
        "clip 6 (dog.wav)": wav.open("rb"),
        "clip 7": content,
        "clip 8": NOISE[0],
    }


def test_every_kind_of_clip_is_the_same_clip(wav):
    kinds = every_kind(wav)
    kinds |= {str(wav): {"bytes": None, "path": str(wav)}}
    for part in clip_parts(list(kinds.values()), 16_000):
        names = [part.called(source).uri for source in part.manifest]
        assert [Path(names[0]).name, *names[1:]] == list(kinds)
        for source in part.manifest:
            assert np.array_equal(decode(part.manifest.path_of(source)), NOISE[0])
        assert part.told(part.manifest[1], f"{part.manifest[1].uri} is bad") == "clip 1 is bad"
        assert (part.n_all, part.are_files) == (10, False)
    kinds["clip 6 (dog.wav)"].close()


def test_an_open_file_is_left_where_it_was(wav):
    file = io.BytesIO(b"head" + wav.read_bytes())
    file.seek(4)
    for _ in range(2):
        assert np.array_equal(decoded(file)[0], NOISE[0])


def test_what_torch_holds():
    torch = pytest.importorskip("torch")
    weights = torch.from_numpy(NOISE).requires_grad_()
    assert np.array_equal(decoded(weights, 16_000)[0], decoded(NOISE, 16_000)[0])


def test_torchcodec_decoders(wav):
    try:
        from torchcodec.decoders import AudioDecoder

        decoder = AudioDecoder(str(wav))
    except (ImportError, RuntimeError, OSError):
        pytest.skip("needs torchcodec and FFmpeg's libraries")
    assert np.array_equal(decoded(decoder)[0], NOISE[0])
    assert np.array_equal(decoded([decoder.get_all_samples()])[0], NOISE[0])

    class Broken:
        def get_all_samples(self):
            raise RuntimeError("no frames\nat all")

    with pytest.raises(DecodeError, match="clip 0 cannot be decoded by Broken: no frames"):
        decoded([Broken()])


def test_columns_of_data_frames(wav):
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.DataFrame({"path": [str(wav)] * 2, "samples": [NOISE[0]] * 2}, index=[5, 7])
    for column in (frame["path"], frame[["path"]], frame["path"].to_numpy(), frame[["path"]].to_numpy()):
        (part,) = clip_parts(column)
        assert part.are_files
        assert rows_of_repeated(column) == [0, 0]
    assert len(decoded(frame["samples"], 16_000)) == 2
    with pytest.raises(ParameterError, match="give the one with the clips"):
        decoded(frame)
    with pytest.raises(ParameterError, match="clip 1 is a float"):
        decoded(pandas.Series([str(wav), float("nan")]))


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        (None, "is a NoneType"),
        (3, "is a int"),
        ({"audio": 1}, "the keys"),
        ({1, 2}, "is a set"),
        ([1, 2], "clip 0 is a int"),
        ([None], "clip 0 is a NoneType"),
        ([0.1, 0.2], "clip 0 is a float"),
        ([[0.1, 0.2]], "clip 0 is a list"),
        ([NOISE[0], NOISE[0]], "clip 0 has no sampling rate"),
        ([(NOISE[0], 16_000), (NOISE[0] * np.nan, 16_000)], "clip 1 holds NaN"),
        ([{"array": [0.1], "path": "a"}], r"clip 0 \(a\) has no sampling rate"),
        ([{"path": None, "bytes": None}], "clip 0 is a mapping of 'path', 'bytes'"),
        (io.StringIO("RIFF"), "open it in binary"),
    ],
)
def test_what_is_no_clip_is_one_clear_error(clips, says):
    with pytest.raises(ParameterError, match=says) as caught:
        list(read_clips(clips))
    assert "\n" not in str(caught.value)


def test_one_path_is_refused_as_ever():
    with pytest.raises(ManifestError, match=r"is the one path 'a\.wav'"):
        list(clip_parts("a.wav"))


def test_iterators_are_listed_and_manifests_are_taken_as_they_are(wav):
    assert as_listed(iter([wav])) == [wav]
    file = io.BytesIO(b"x")
    assert as_listed(file) is file
    manifest = Manifest.from_paths([wav])
    (part,) = clip_parts(manifest)
    assert part.manifest is manifest
    assert rows_of_repeated(manifest) is None


def test_many_clips_come_in_parts_and_leave_nothing_open():
    import os

    before = len(os.listdir("/proc/self/fd"))
    parts = [(part.n_before, len(part.manifest)) for part in clip_parts([NOISE[0][:800]] * 130, 16_000)]
    assert parts == [(0, 64), (64, 64), (128, 2)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_files_in_memory_are_gone_after_an_error():
    files = MemoryFiles([b"x"])
    with pytest.raises(TypeError):
        MemoryFiles([b"x", "text"])
    files.close()
    assert not Path(files.paths[0]).exists()


def test_errors_are_embedx_s_own():
    for clips in (object(), [object()], [lambda: 1]):
        with pytest.raises(EmbedxError):
            list(read_clips(clips))


def test_clips_that_are_given_up_half_way_are_let_go_without_a_warning():
    parts = clip_parts([NOISE[0][:800]] * 3, 16_000)
    path = next(parts).manifest.sources[0].uri
    circle = [parts]
    circle.append(circle)  # as the traceback of an error holds them
    del parts, circle
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert not [one for one in told if issubclass(one.category, ResourceWarning)]
    assert not Path(path).exists()
