"""Scores of events are those of sed_eval, on the same files."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import ParameterError
from embedx.timeline import Segment, score_events, score_segments

KNOWN = Path(__file__).with_name("sed_eval.json")
"""Recordings, and what sed_eval 0.2.1 says of them: written by `by_sed_eval.py` beside it."""


def as_segments(rows):
    return [Segment(*row) for row in rows]


@pytest.mark.parametrize("case", json.loads(KNOWN.read_text()), ids=lambda case: case["name"])
def test_scores_are_those_of_sed_eval(case):
    pairs = [(as_segments(truth), as_segments(found)) for truth, found in case["recordings"]]
    share = case["offset_share"]
    ours = {
        "segments": score_segments(pairs, resolution=case["resolution"]),
        "events": score_events(pairs, collar=case["collar"], offset_share=share),
    }
    for kind, theirs in case["scores"].items():
        assert_same(ours[kind]["overall"], theirs["overall"])
        assert ours[kind]["by_class"].keys() == theirs["by_class"].keys()
        for label, values in theirs["by_class"].items():
            assert_same(ours[kind]["by_class"][label], values)
        assert_same(ours[kind]["class_mean"], theirs["class_mean"])


def assert_same(ours, theirs):
    for name, value in theirs.items():
        if value is None:
            assert ours[name] is None, name
        else:
            assert ours[name] == pytest.approx(value, abs=1e-9), name


@st.composite
def recordings(draw):
    """Truth and findings of some recordings, overlapping as they like."""
    event = st.tuples(st.integers(0, 300), st.integers(1, 80), st.sampled_from("abc"))
    part = st.lists(event, max_size=8).map(lambda some: [Segment(a / 10, (a + n) / 10, c) for a, n, c in some])
    return draw(st.lists(st.tuples(part, part), min_size=1, max_size=3))


@given(recordings())
@settings(max_examples=200, deadline=None)
def test_what_holds_of_any_scores(pairs):
    for scores in (score_segments(pairs, resolution=0.5), score_events(pairs)):
        for of in (scores["overall"], *scores["by_class"].values()):
            assert 0 <= of["n_right"] <= min(of["n_true"], of["n_found"])
            assert of["f1"] is None or 0 <= of["f1"] <= 1
            if of["n_true"]:
                parts = of.get("substitutions", 0) + of["deletions"] + of["insertions"]
                assert of["error_rate"] == pytest.approx(parts)
        turned = [(found, truth) for truth, found in pairs]
        assert score_segments(turned)["overall"]["f1"] == score_segments(pairs)["overall"]["f1"]


@given(recordings())
@settings(max_examples=100, deadline=None)
def test_the_truth_itself_is_perfect(pairs):
    same = [(truth, truth) for truth, _ in pairs]
    if not any(truth for truth, _ in same):
        assert score_events(same)["overall"]["f1"] is None
        return
    for scores in (score_segments(same), score_events(same, collar=0.0, offset_share=0.0)):
        assert scores["overall"]["f1"] == 1
        assert scores["overall"]["error_rate"] == 0
        assert scores["class_mean"]["f1"] == 1


def test_as_many_events_as_possible_are_matched():
    """A greedy match would give the first found event to the first true one, and leave the second without."""
    truth = [Segment(1.0, 2.0, "a"), Segment(1.15, 2.15, "a")]
    found = [Segment(1.1, 2.1, "a"), Segment(0.9, 1.9, "a")]
    assert score_events([(truth, found)], collar=0.11)["overall"]["n_right"] == 2


def test_overlapping_events_by_hand():
    """A dog from 0 to 4 under rain from 2 to 6; found: the dog, rain two seconds late, and a siren of nothing."""
    truth = [Segment(0.0, 4.0, "dog"), Segment(2.0, 6.0, "rain")]
    found = [Segment(0.0, 4.0, "dog"), Segment(4.0, 6.0, "rain"), Segment(2.0, 3.0, "siren")]
    pieces = score_segments([(truth, found)])
    # Pieces of 1 s: true dog 4, rain 4; found dog 4, rain 2, siren 1. Rain lacks in two, siren in one of them.
    assert pieces["overall"] == {
        "f1": 12 / 15,
        "precision": 6 / 7,
        "recall": 6 / 8,
        "error_rate": 2 / 8,
        "substitutions": 1 / 8,
        "deletions": 1 / 8,
        "insertions": 0.0,
        "n_true": 8,
        "n_found": 7,
        "n_right": 6,
    }
    events = score_events([(truth, found)], offset_share=None)["overall"]  # the siren has the onset of the rain
    assert [events[name] for name in ("n_right", "substitutions", "deletions", "insertions")] == [1, 0.5, 0.0, 0.5]
    strict = score_events([(truth, found)])["overall"]  # and not its offset
    assert [strict[name] for name in ("n_right", "substitutions", "deletions", "insertions")] == [1, 0.0, 0.5, 1.0]


def test_nothing_there_and_nothing_found():
    for scores in (score_segments([]), score_events([]), score_events([([], [])])):
        assert scores["overall"]["f1"] is None
        assert scores["overall"]["error_rate"] is None
        assert scores["by_class"] == {}
    missed = score_events([([Segment(0.0, 1.0, "a")], [])])["overall"]
    assert (missed["recall"], missed["precision"], missed["error_rate"]) == (0.0, None, 1.0)


def test_ten_hours_of_events_are_scored_in_a_moment():
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(0, 36_000, 20_000))
    truth = [Segment(t, t + 1.0, "abcdef"[i % 6]) for i, t in enumerate(onsets.tolist())]
    found = [Segment(s.onset_seconds + 0.1, s.offset_seconds, s.label) for s in truth]
    started = time.process_time()
    scores = score_events([(truth, found)])
    assert scores["overall"]["f1"] == 1
    assert time.process_time() - started < 60  # every pair would be 400 million


@pytest.mark.parametrize(("function", "options"), [(score_segments, {"resolution": 0}), (score_events, {"collar": -1})])
def test_parameters_that_are_none(function, options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        function([], **options)
