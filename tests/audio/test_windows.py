"""Windows: which samples, however the stream is cut into blocks; what each adds; where reading starts."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from embedx.audio.batching import bucket_by_length
from embedx.audio.loader import ClipEnd, ClipRequest, ClipWindow, load_clip, parse_offset
from embedx.audio.windows import WindowPlan, added_seconds, cut_windows
from embedx.errors import ParameterError
from embedx.recipe import Recipe

RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="", layers=(0,))


def expected_windows(n, plan):
    """The rule, said differently."""
    bounds, start = [], 0
    while True:
        stop = min(start + plan.window_samples, n)
        if stop - start == plan.window_samples or start == 0 or stop - start >= plan.min_tail_samples:
            bounds.append((start, stop))
        if stop >= n or start + plan.hop_samples >= n:
            return bounds if n else []
        start += plan.hop_samples


@given(
    st.integers(0, 500),
    st.integers(1, 60),
    st.integers(1, 90),
    st.integers(1, 60),
    st.lists(st.integers(1, 97), max_size=9),
)
def test_windows_hold_the_right_samples_however_the_stream_is_cut(n, window, hop, tail, cuts):
    plan = WindowPlan(window, hop, min(tail, window))
    samples = np.arange(n, dtype=np.float32)
    edges = np.cumsum(cuts)
    blocks = [block for block in np.split(samples, edges[edges < n]) if len(block)]
    found = list(cut_windows(blocks, plan))
    assert [(start, start + len(part)) for start, part in found] == expected_windows(n, plan)
    for start, part in found:
        assert np.array_equal(part, samples[start : start + len(part)])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), min_size=1, max_size=20))
def test_added_seconds_sum_to_what_the_windows_cover(pairs):
    starts = np.sort([start for start, _ in pairs])
    ends = starts + np.array([length for _, length in pairs])
    covered, reached = 0.0, -np.inf
    for start, end in zip(starts, ends, strict=True):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    added = added_seconds(starts, ends)
    assert (added >= 0).all()
    assert added.sum() == pytest.approx(covered)


@given(st.lists(st.integers(1, 100), max_size=50), st.integers(1, 300))
def test_buckets_hold_everything_once_within_the_budget(lengths, budget):
    batches = bucket_by_length(lengths, budget_samples=budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)


@pytest.fixture
def ramp(tmp_path):
    """Ten seconds whose samples tell their place."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.linspace(0, 0.9, 160_000), 16_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("options", "segment", "bounds"),
    [
        ({}, {}, (0.0, 10.0)),
        ({"max_seconds": 3.0}, {}, (0.0, 3.0)),
        ({"max_seconds": 3.0, "offset": "middle"}, {}, (3.5, 6.5)),
        ({"max_seconds": 30.0, "offset": "middle"}, {}, (0.0, 10.0)),
        ({"offset": "2.5"}, {}, (2.5, 10.0)),
        ({"offset": "1", "max_seconds": 2.0}, {"start_seconds": 4.0, "stop_seconds": 9.0}, (5.0, 7.0)),
        ({"offset": "middle", "max_seconds": 1.0}, {"start_seconds": 4.0, "stop_seconds": 9.0}, (6.0, 7.0)),
    ],
)
def test_offset_and_max_seconds_choose_the_part(ramp, options, segment, bounds):
    events = list(load_clip(ClipRequest.from_recipe(str(ramp), RECIPE.replace(**options), **segment)))
    (window,) = [event for event in events if isinstance(event, ClipWindow)]
    assert events[-1] == ClipEnd()
    assert window.start_seconds == bounds[0]
    assert len(window.samples) == round((bounds[1] - bounds[0]) * 16_000)
    assert window.samples[0] == pytest.approx(bounds[0] / 10 * 0.9, abs=1e-5)


def test_long_steps_give_signs_of_life(ramp):
    heartbeats = []
    events = load_clip(ClipRequest.from_recipe(str(ramp), RECIPE), heartbeat=lambda: heartbeats.append(None))
    next(events)
    n_hashed = len(heartbeats)
    assert n_hashed >= ramp.stat().st_size // 2**18, "a huge file on a slow disk is hashed before it is decoded"
    next(events)
    assert len(heartbeats) > n_hashed, "a long window on a slow disk"


def test_an_offset_beyond_the_end_is_a_failure_not_an_error(ramp):
    *_, end = load_clip(ClipRequest.from_recipe(str(ramp), RECIPE.replace(offset="60")))
    assert end.reason == "decode"
    assert "before 60 s" in end.message


@pytest.mark.parametrize("offset", ["end", "-1", "nan", "inf", ""])
def test_offsets_that_mean_nothing_are_refused(offset):
    with pytest.raises(ParameterError, match="offset"):
        parse_offset(offset)
