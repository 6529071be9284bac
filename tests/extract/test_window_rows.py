"""A recording of any length becomes rows of windows, in order: each window alone, or pooled out of chunks."""

import subprocess
import sys
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.audio.windows import WindowPlan, cut_windows, plan_chunks, plan_spans
from embedx.errors import ParameterError, SourceError
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.extract.window_rows import WindowRowsEncoder
from embedx.manifest import Source
from embedx.recipe import Resources
from embedx.testing import make_tone, write_wav

HERE = Resources(workers=0, device="cpu")

plans = st.builds(WindowPlan, st.integers(1, 30), st.integers(1, 40), st.integers(1, 30))


@given(st.integers(1, 400), plans)
def test_spans_are_where_windows_are_cut(n_samples, plan):
    cut = cut_windows([np.empty(n_samples, np.float32)], plan)
    assert plan_spans(n_samples, plan) == tuple((start, start + len(w)) for start, w in cut)


@given(st.integers(1, 600), plans, st.integers(1, 120))
@settings(max_examples=500)
def test_chunks_hold_every_window_once(n_samples, plan, more):
    """Whatever the lengths: the windows of all chunks are those of the recording."""
    chunks = plan_chunks(plan, plan.window_samples + more)
    assert chunks.window_samples <= plan.window_samples + more
    found = []
    for number, (start, samples) in enumerate(cut_windows([np.empty(n_samples, np.float32)], chunks)):
        spans = plan_spans(len(samples), plan, is_first=number == 0)
        found += [(start + a, start + b) for a, b in spans]
    assert tuple(found) == plan_spans(n_samples, plan)


@pytest.fixture(scope="module")
def recipe():
    return RecipePlan({"layers": (0, 2)}, encoder="tiny").recipe


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.wav"
    parts = [make_tone(hertz, seconds=2.3, noise=0.05, seed=i) for i, hertz in enumerate((300, 900, 1800))]
    write_wav(str(path), np.concatenate(parts))
    return path


def read(recipe, path, **options):
    with WindowRowsEncoder(recipe, **{"resources": HERE, **options}) as encoder:
        rows = list(encoder.rows(str(path)))
    names = ("start_seconds", "end_seconds", "inputs")
    return tuple(np.concatenate([getattr(part, name) for part in rows]) for name in names)


def test_windows_alone_are_what_pieces_of_the_file_give(recipe, recording):
    starts, ends, inputs = read(recipe, recording, window_seconds=1.0, hop_seconds=0.7)
    pieces = [Source(recording.name, start_seconds=a, stop_seconds=b) for a, b in zip(starts, ends, strict=True)]
    info = RecipePlan({}, recorded=recipe).info
    with UnitRunner(recipe, info, HERE, recording.parent) as runner:
        results = runner(plan_units(pieces)[0])
    expected = np.stack([result.embeddings[0].ravel() for result in results])
    np.testing.assert_allclose(inputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ends - starts, 1.0, atol=1e-9)
    assert starts[-1] + 0.7 > 6.9 - 1.0


def test_one_pass_of_windows_as_long_as_a_chunk_is_the_windows_alone(recipe, recording):
    short = recipe.replace(window_seconds=2.0, hop_seconds=2.0)
    alone = read(short, recording, window_seconds=2.0, hop_seconds=1.0)
    pooled = read(short, recording, window_seconds=2.0, hop_seconds=1.0, one_pass=True)
    for one, other in zip(alone, pooled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pooling", ["mean", "mean+std", "max"])
def test_one_pass_pools_the_frames_of_each_window(recipe, recording, pooling):
    """The frames are those of the chunk that the window lies in; as many as the window alone would have."""
    from embedx.audio.decode import decode
    from embedx.encoders.frame_pooling import pool_layer
    from embedx.encoders.resolve import load_encoder

    whole = recipe.replace(pooling=pooling, compute_dtype="float32")
    starts, ends, inputs = read(whole, recording, window_seconds=1.0, hop_seconds=0.5, one_pass=True)
    encoder = load_encoder(RecipePlan({}, recorded=whole).info, layers=whole.layers, device="cpu")
    frames = encoder.encode([decode(recording)])
    for start, end, row in zip(starts, ends, inputs, strict=True):
        first, n = round(start * 50), round((end - start) * 50) - 1
        layers = [pool_layer(layer[:, first : first + n], pooling=pooling)[0].numpy() for layer in frames.layers]
        np.testing.assert_allclose(row, np.concatenate(layers), rtol=1e-4, atol=1e-5)


def test_log_mel_statistics_are_those_of_each_window(recipe, recording):
    options = {"window_seconds": 1.0, "hop_seconds": 0.5, "control": True}
    alone, pooled = (read(recipe, recording, one_pass=one_pass, **options)[2] for one_pass in (False, True))
    assert alone.shape[1] == 128
    np.testing.assert_array_equal(alone, pooled)


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0, 1.01, 2.49, 10.0, 10.02])
def test_recordings_of_any_length(recipe, tmp_path, seconds, one_pass):
    path = tmp_path / "one.wav"
    write_wav(str(path), make_tone(440, seconds=seconds))
    starts, ends, inputs = read(recipe, path, window_seconds=1.0, hop_seconds=0.25, one_pass=one_pass)
    assert starts[0] == 0
    assert len(starts) == len(inputs) == len(ends)
    assert (np.diff(starts) > 0).all()
    assert ends[-1] > seconds - 1.0
    assert np.isfinite(inputs).all()


def test_the_order_is_that_of_time_whatever_is_done_first(recipe, recording):
    one, four = (
        read(recipe, recording, window_seconds=0.5, hop_seconds=0.1, resources=Resources(device="cpu", threads=n))
        for n in (1, 4)
    )
    for a, b in zip(one, four, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_part_of_a_file_keeps_the_times_of_the_file(recipe, recording):
    with WindowRowsEncoder(recipe, window_seconds=1.0, hop_seconds=1.0, resources=HERE) as encoder:
        (rows,) = encoder.rows(str(recording), 2.0, 5.0)
    assert rows.start_seconds.tolist() == [2.0, 3.0, 4.0]
    assert rows.end_seconds.tolist() == [3.0, 4.0, 5.0]


def test_what_cannot_be_read_names_the_file_and_the_next_one_is_read(recipe, recording, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio at all")
    short = tmp_path / "short.wav"
    write_wav(str(short), make_tone(440, seconds=0.01))
    with WindowRowsEncoder(recipe, window_seconds=1.0, hop_seconds=1.0, resources=HERE) as encoder:
        for path, told in ((bad, "bad.wav"), (tmp_path / "no.wav", "no such file"), (short, "less than one frame")):
            with pytest.raises(SourceError, match=told):
                list(encoder.rows(str(path)))
        assert sum(len(rows.inputs) for rows in encoder.rows(str(recording))) == 6


@pytest.mark.parametrize(("seconds", "told"), [(11.0, "at most 10"), (0.01, "at least 0.025")])
def test_windows_that_do_not_suit_the_encoder(recipe, seconds, told):
    with pytest.raises(ParameterError, match=told):
        WindowRowsEncoder(recipe, window_seconds=seconds, hop_seconds=1.0, resources=HERE)


PROGRAM = """
import sys
from embedx.extract.planning import RecipePlan
from embedx.extract.window_rows import WindowRowsEncoder
recipe = RecipePlan({"layers": (0,)}, encoder="tiny").recipe
with WindowRowsEncoder(recipe, window_seconds=5.0, hop_seconds=5.0, control=True) as encoder:
    n = sum(len(rows.inputs) for rows in encoder.rows(sys.argv[1]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(n, peak.split()[1])
"""


def windows_and_kilobytes(folder, minutes):
    path = folder / f"{minutes}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(16_000)
        for _ in range(minutes):
            file.writeframesraw(bytes(60 * 16_000))
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.parametrize("minutes", [20, pytest.param(600, marks=pytest.mark.full)])
def test_hours_stream_in_bounded_memory(tmp_path, minutes):
    """The samples of 20 minutes alone are 77 MB, those of ten hours 2.3 GB; a minute's run is what all else takes."""
    n, kilobytes = windows_and_kilobytes(tmp_path, minutes)
    _, least = windows_and_kilobytes(tmp_path, 1)
    assert n == minutes * 12
    assert kilobytes - least < 70_000
