"""Copies of one recording on both sides of a cut are found, whatever groups and parts say."""

import numpy as np
import pytest

from embedx.evaluation.duplicate_leakage import describe_copies, find_copied
from embedx.manifest import Source


def make(*clips):
    """Clips as (content, start, stop); content 0 is unknown."""
    sources = [Source(f"{i}.wav", start_seconds=start, stop_seconds=stop) for i, (_, start, stop) in enumerate(clips)]
    hashes = np.zeros((len(clips), 32), np.uint8)
    hashes[:, 0] = [content for content, *_ in clips]
    return sources, hashes


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ([(1, 0.0, None), (1, 0.0, None)], [1]),
        ([(1, 0.0, None), (2, 0.0, None)], []),
        ([(0, 0.0, None), (0, 0.0, None)], []),
        ([(1, 0.0, 5.0), (1, 5.0, 9.0)], []),
        ([(1, 0.0, 5.0), (1, 4.9, 9.0)], [1]),
        ([(1, 3.0, 4.0), (1, 0.0, None)], [1]),
    ],
)
def test_the_same_bytes_from_times_that_overlap(clips, expected):
    assert find_copied([([0], [1])], *make(*clips)).tolist() == expected


def test_a_long_segment_is_not_hidden_by_short_ones_that_begin_later():
    clips = make((1, 0.0, 9.0), (1, 1.0, 2.0), (1, 8.0, 8.5), (1, 9.0, 9.5))
    assert find_copied([([0, 1], [2, 3])], *clips).tolist() == [2]


def test_overlaps_are_those_that_are_counted_one_by_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start = rng.uniform(0, 20, 60).round(1)
        stop = start + rng.uniform(0.1, 4, 60).round(1)
        content = rng.integers(0, 4, 60)
        train, test = np.arange(0, 60, 2), np.arange(1, 60, 2)
        sources, hashes = make(*zip(content.tolist(), start.tolist(), stop.tolist(), strict=True))
        expected = [
            i
            for i in test
            if any(content[i] and content[i] == content[j] and start[j] < stop[i] and start[i] < stop[j] for j in train)
        ]
        assert find_copied([(train, test)], sources, hashes).tolist() == expected


def test_it_is_said_in_words():
    assert describe_copies(0) == ""
    assert describe_copies(1).startswith("1 tested clip is a copy of one that is learned from")
    assert describe_copies(1200).startswith("1,200 tested clips are copies")


def test_a_hundred_thousand_segments_cost_no_more_than_sorting_them():
    n = 100_000
    sources = [Source(f"{i // 4}.wav", start_seconds=float(i % 4), stop_seconds=i % 4 + 1.5) for i in range(n)]
    hashes = np.zeros((n, 32), np.uint8)
    hashes[:, :8] = np.repeat(np.arange(1, n // 4 + 1), 4).astype("<i8").view(np.uint8).reshape(n, 8)
    found = find_copied([(np.arange(0, n, 2), np.arange(1, n, 2))], sources, hashes)
    assert len(found) == n // 2
