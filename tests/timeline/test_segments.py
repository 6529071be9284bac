"""Probabilities become segments: what holds for any of them, and what the options do."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedx.errors import ParameterError
from embedx.timeline import SegmentOptions, TimeLine, find_segments
from embedx.timeline.segments import window_cells

CLASSES = ("a", "b", "c")


@st.composite
def material(draw):
    """Windows at any length and distance, their probabilities, and options."""
    n = draw(st.integers(0, 40))
    window, hop = draw(st.sampled_from([(2.0, 0.5), (1.0, 1.0), (1.0, 1.5), (0.3, 0.1)]))
    starts = np.arange(n) * hop
    ends = starts + window
    if n and draw(st.booleans()):
        ends[-1] -= window / 3  # the last one is often shorter
    proba = draw(arrays(np.float64, (n, 3), elements=st.floats(0, 1)))
    high = draw(st.floats(0, 1))
    numbers = {
        "high": high,
        "low": draw(st.floats(0, 1)) * high,
        "smooth_seconds": draw(st.sampled_from([0.0, 1.0, 3.0])),
        "merge_seconds": draw(st.sampled_from([0.0, 0.6, 2.0])),
        "min_seconds": draw(st.sampled_from([0.0, 0.7, 2.0])),
    }
    return proba, starts, ends, SegmentOptions(**numbers)


@given(material())
@settings(max_examples=300, deadline=None)
def test_what_holds_for_every_segment(given_material):
    proba, starts, ends, options = given_material
    found = find_segments(proba, starts, ends, CLASSES, options)
    assert list(found) == sorted(found, key=lambda segment: segment.onset_seconds)
    for segment in found:
        assert starts[0] <= segment.onset_seconds < segment.offset_seconds <= ends.max()
        assert segment.peak_probability >= options.high
        assert 0 <= segment.mean_probability <= segment.peak_probability <= 1
        assert segment.seconds >= options.min_seconds - 1e-6
    for name in CLASSES:
        own = [segment for segment in found if segment.label == name]
        gaps = [b.onset_seconds - a.offset_seconds for a, b in itertools.pairwise(own)]
        assert all(gap >= 0 for gap in gaps)
        assert all(gap > options.merge_seconds - 1e-6 for gap in gaps if options.merge_seconds)


@given(material())
@settings(max_examples=100, deadline=None)
def test_a_higher_threshold_finds_a_part_of_what_a_lower_one_finds(given_material):
    proba, starts, ends, options = given_material
    strict = SegmentOptions(high=(1 + options.high) / 2, low=options.low, smooth_seconds=options.smooth_seconds)
    loose = SegmentOptions(high=options.high, low=options.low, smooth_seconds=options.smooth_seconds)
    assert set(find_segments(proba, starts, ends, CLASSES, strict)) <= set(
        find_segments(proba, starts, ends, CLASSES, loose)
    )


@given(material())
@settings(max_examples=100, deadline=None)
def test_one_threshold_marks_just_the_windows_above_it(given_material):
    proba, starts, ends, options = given_material
    found = find_segments(proba, starts, ends, CLASSES, SegmentOptions(high=options.high, low=options.high))
    left, right = window_cells(starts, ends) if len(starts) else (starts, ends)
    for column, name in enumerate(CLASSES):
        covered = np.zeros(len(starts), bool)
        for segment in found:
            if segment.label == name:
                covered |= (left >= segment.onset_seconds) & (right <= segment.offset_seconds)
        np.testing.assert_array_equal(covered, proba[:, column] >= options.high)


@given(material())
@settings(max_examples=50, deadline=None)
def test_a_class_does_not_know_of_the_others(given_material):
    proba, starts, ends, options = given_material
    together = find_segments(proba, starts, ends, CLASSES, options)
    alone = [find_segments(proba[:, i : i + 1], starts, ends, (name,), options) for i, name in enumerate(CLASSES)]
    assert set(together) == {segment for some in alone for segment in some}


@given(st.integers(1, 50), st.sampled_from([(2.0, 0.5), (1.0, 1.0), (1.0, 2.0)]))
def test_cells_cover_the_windows_without_overlap(n, timing):
    window, hop = timing
    starts = np.arange(n) * hop
    left, right = window_cells(starts, starts + window)
    assert left[0] == 0
    assert right[-1] == starts[-1] + window
    assert (right > left).all()
    assert (left[1:] >= right[:-1]).all()
    if hop <= window:
        np.testing.assert_array_equal(left[1:], right[:-1])


def test_hysteresis_keeps_a_segment_that_dips():
    starts = np.arange(5.0)
    proba = np.array([[0.9], [0.4], [0.9], [0.2], [0.45]])
    spans = [(s.onset_seconds, s.offset_seconds) for s in find_segments(proba, starts, starts + 1, ["a"])]
    assert spans == [(0.0, 3.0)]
    strict = SegmentOptions(low=0.5)
    assert len(find_segments(proba, starts, starts + 1, ["a"], strict)) == 2
    closed = SegmentOptions(low=0.5, merge_seconds=1.0)
    merged = find_segments(proba, starts, starts + 1, ["a"], closed)
    assert [(s.onset_seconds, s.offset_seconds) for s in merged] == [(0.0, 3.0)]
    assert merged[0].mean_probability == pytest.approx(2.2 / 3)


def test_a_window_that_is_longer_than_an_event_still_finds_where_it_is():
    """An event from 10 to 16 s, windows of 2 s: probability grows with the share of the window that it fills."""
    starts = np.arange(0, 30, 0.5)
    share = np.clip(np.minimum(starts + 2, 16) - np.maximum(starts, 10), 0, 2) / 2
    (found,) = find_segments(share[:, None], starts, starts + 2, ["a"], SegmentOptions(low=0.5))
    assert found.onset_seconds == pytest.approx(10, abs=0.25)
    assert found.offset_seconds == pytest.approx(16, abs=0.25)


def test_smoothing_takes_away_a_single_odd_window():
    starts = np.arange(9) * 0.5
    proba = np.full((9, 1), 0.9)
    proba[4] = 0.1
    assert len(find_segments(proba, starts, starts + 2, ["a"])) == 2
    assert len(find_segments(proba, starts, starts + 2, ["a"], SegmentOptions(smooth_seconds=1.5))) == 1


def test_options_of_single_classes():
    starts = np.arange(3.0)
    proba = np.array([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]])
    options = SegmentOptions(by_class={"a": {"high": 0.7}, "b": {"min_seconds": 2.0, "low": 0.3}})
    found = find_segments(proba, starts, starts + 1, ["a", "b"], options)
    assert [(s.label, s.seconds) for s in found] == [("b", 3.0)]
    assert not find_segments(proba, starts, starts + 1, ["a", "b"], SegmentOptions(leave_out=("a", "b")))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"high": 1.5}, "high=1.5"),
        ({"low": 0.6}, "low=0.6 lies above high=0.5"),
        ({"min_seconds": -1}, "min_seconds=-1"),
        ({"smooth_seconds": float("nan")}, "smooth_seconds=nan"),
        ({"by_class": {"dog": {"low": 0.9}}}, "low=0.9 of 'dog'"),
        ({"by_class": {"dog": {"hihg": 0.9}}}, "did you mean 'high'"),
    ],
)
def test_options_that_are_none(options, told):
    with pytest.raises(ParameterError, match=told):
        SegmentOptions(**options)


def test_what_cannot_be_segmented_is_refused():
    one = np.zeros(1), np.ones(1)
    with pytest.raises(ParameterError, match="did you mean 'dog'"):
        find_segments(np.ones((1, 1)), *one, ["dog"], SegmentOptions(leave_out=("dgo",)))
    with pytest.raises(ParameterError, match="finite"):
        find_segments(np.full((1, 1), np.nan), *one, ["dog"])
    with pytest.raises(ParameterError, match="shape"):
        find_segments(np.ones((2, 1)), *one, ["dog"])


def test_a_time_line_finds_other_segments_without_another_computation():
    starts = np.arange(4.0)
    line = TimeLine(
        path="a.wav",
        classes=("a", "b"),
        start_seconds=starts,
        end_seconds=starts + 1,
        proba=np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]]),
    )
    assert [s.label for s in line.segments] == ["a", "b"]
    assert line.labels.tolist() == ["a", "a", "b", "b"]
    assert line.with_options(SegmentOptions(high=0.95, low=0.0)).segments == ()
    assert "4 windows, 2 segments" in repr(line)
    assert "<table" in line._repr_html_()
    assert line.seconds == 4.0
