"""Who is to blame: the bookkeeping alone, with made-up workers that die as hypothesis likes."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import RunnerError
from embedx.extract.leases import LeaseBook
from embedx.extract.unit import plan_units
from embedx.manifest import Source
from embedx.store.rows import NO_STAMP, Failure


def run_book(units, *, killers=(), n_workers=2, seed=0, lose_share=0.0, together=(), n_deaths=None):
    """Play the book with workers that die over killers; returns the units done, and how often each clip was begun."""
    rng = random.Random(seed)
    book = LeaseBook(units, n_deaths_allowed=n_deaths or 4 * n_workers + 4)
    held = {worker: [] for worker in range(n_workers)}
    done, begun = [], Counter()
    while not book.is_done:
        for leases in held.values():
            while len(leases) < 2 and not (leases and leases[0].alone):
                lease = book.take(idle=not leases)
                if lease is None:
                    break
                leases.append(lease)
        leases = held[rng.choice([worker for worker in held if held[worker]])]
        if rng.random() < lose_share:
            while leases:
                book.give_back(leases.pop())
            continue
        lease = leases.pop(0)
        names = [source.uri for source in lease.unit.sources]
        begun.update(names)
        if set(names) & set(killers) or (together and set(together) <= set(names)):
            assert not (lease.alone and leases), "a suspect was not alone"
            while leases:
                book.give_back(leases.pop())
            done.append(book.died(lease, "exit code 7"))
        else:
            done.append(book.finish(lease, [Failure(source, NO_STAMP, "fine", "") for source in lease.unit.sources]))
    return [unit for unit in done if unit is not None], begun


def cut(n_clips, n_sources):
    return plan_units([Source(f"{i}.wav") for i in range(n_clips)], n_sources=n_sources)


def reasons(done):
    return {result.source.uri: result.reason for _, results, _ in done for result in results}


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(1, 4),
    st.sets(st.integers(0, 39), max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3]),
)
def test_every_clip_comes_once_and_only_killers_are_blamed(n_clips, n_sources, n_workers, bad, seed, lose_share):
    units = cut(n_clips, n_sources)
    killers = {f"{i}.wav" for i in bad if i < n_clips}
    limits = {"n_deaths": 100}  # three killers in a row, each a unit, are 12 deaths: the limit has a test of its own
    done, _ = run_book(units, killers=killers, n_workers=n_workers, seed=seed, lose_share=lose_share, **limits)
    assert sorted(unit.number for unit, _, _ in done) == list(range(len(units)))
    for unit, results, _ in done:
        original = next(other for other in units if other.number == unit.number)
        assert [result.source for result in results] == list(original.sources)
    assert {uri for uri, reason in reasons(done).items() if reason == "worker_died"} == killers


def test_one_killer_among_64_costs_little():
    done, begun = run_book(cut(640, 64), killers={"70.wav"}, n_workers=1)
    assert reasons(done)["70.wav"] == "worker_died"
    assert begun["70.wav"] == 9  # in company, alone in its unit, 32, 16, 8, 4, 2, and twice by itself
    assert sum(begun.values()) <= 640 + 64 * 4
    assert begun["400.wav"] == 1


def test_clips_that_only_die_together_are_kept_apart():
    done, _ = run_book(cut(8, 8), together={"1.wav", "6.wav"})
    assert set(reasons(done).values()) == {"fine"}
    assert len(reasons(done)) == 8


def test_when_everything_dies_it_ends():
    units = cut(1000, 10)
    with pytest.raises(RunnerError, match=r"9 workers died in a row .* exit code 7"):
        run_book(units, killers={source.uri for unit in units for source in unit.sources}, n_workers=1)


def test_a_blamed_clip_carries_the_stamp_of_its_file(tmp_path):
    (tmp_path / "0.wav").write_bytes(b"abc")
    book = LeaseBook(cut(1, 1), n_deaths_allowed=9, root=tmp_path)
    done = None
    while done is None:
        done = book.died(book.take(idle=True), "signal 11")
    failure = done.results[0]
    assert failure.stamp.size == 3
    assert failure.stamp.sha256.hex().startswith("ba7816bf")
    assert "signal 11" in failure.message
