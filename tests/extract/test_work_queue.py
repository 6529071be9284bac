"""Who is to blame: the bookkeeping alone, with made-up workers that die as hypothesis likes."""

import random
from collections import Counter, namedtuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import RunnerError
from embedx.extract.unit_runner import plan_units
from embedx.extract.work_queue import WorkQueue
from embedx.manifest import Source

Fine = namedtuple("Fine", ["source", "reason"], defaults=["fine"])


def play(units, *, killers=(), n_workers=2, seed=0, lose_share=0.0, together=(), n_deaths=None, n_at_a_time=None):
    """Play with workers that die over killers; returns the units done, deaths, and how often each clip was begun.

    Workers compute ``n_at_a_time`` clips at a time and report them; None reports none.
    """
    rng = random.Random(seed)
    work = WorkQueue(units, n_deaths_allowed=n_deaths or 4 * n_workers + 4)
    held = {worker: [] for worker in range(n_workers)}
    done, begun, n_died = [], Counter(), 0
    while not work.is_done:
        for items in held.values():
            while len(items) < 2 and not (items and items[0].alone):
                item = work.take(idle=not items)
                if item is None:
                    break
                items.append(item)
        items = held[rng.choice([worker for worker in held if held[worker]])]
        if rng.random() < lose_share:
            while items:
                work.give_back(items.pop())
            continue
        item = items.pop(0)
        sources = item.unit.sources
        bad = next((i for i, source in enumerate(sources) if source.uri in killers), None)
        if bad is None and together and set(together) <= {source.uri for source in sources}:
            bad = max(i for i, source in enumerate(sources) if source.uri in together)
        if bad is None:
            begun.update(source.uri for source in sources)
            done.append(work.finish(item, [Fine(source) for source in sources]))
            continue
        assert not (item.alone and items), "a suspect was not alone"
        n_died += 1
        while items:
            work.give_back(items.pop())
        last = len(sources) if n_at_a_time is None else bad - bad % n_at_a_time + n_at_a_time
        begun.update(source.uri for source in sources[:last])
        computing = {source.key for source in sources[last - n_at_a_time : last]} if n_at_a_time else ()
        done.append(work.died(item, "exit code 7", computing=computing))
    return [unit for unit in done if unit is not None], n_died, begun


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
    st.sampled_from([None, 1, 3]),
)
def test_every_clip_comes_once_and_only_killers_are_blamed(
    n_clips, n_sources, n_workers, bad, seed, lose_share, n_at_a_time
):
    units = cut(n_clips, n_sources)
    killers = {f"{i}.wav" for i in bad if i < n_clips}
    limits = {"n_deaths": 100}  # killers in a row, each a unit, are many deaths: the limit has a test of its own
    chance = {"n_workers": n_workers, "seed": seed, "lose_share": lose_share, "n_at_a_time": n_at_a_time}
    done, *_ = play(units, killers=killers, **chance, **limits)
    assert sorted(unit.number for unit, _, _ in done) == list(range(len(units)))
    for unit, results, _ in done:
        original = next(other for other in units if other.number == unit.number)
        assert [result.source for result in results] == list(original.sources)
    assert {uri for uri, reason in reasons(done).items() if reason == "worker_died"} == killers


def test_one_killer_among_64_costs_three_deaths():
    done, n_deaths, begun = play(cut(640, 64), killers={"70.wav"}, n_workers=1)
    assert reasons(done)["70.wav"] == "worker_died"
    assert (n_deaths, begun["70.wav"]) == (3, 3)
    assert sum(begun.values()) == 640 - 64 + 129, "the unit, each of its clips alone, and the killer once more"


def test_where_workers_say_what_they_begin_only_that_is_under_suspicion():
    done, n_deaths, begun = play(cut(640, 64), killers={"70.wav"}, n_workers=1, n_at_a_time=4)
    assert reasons(done)["70.wav"] == "worker_died"
    assert n_deaths == 3
    assert sum(begun.values()) == 640 - 64 + 8 + 5 + 60, "8 until it dies, 4 alone and one twice, 60 in one piece"


def test_clips_that_only_die_together_are_kept_apart():
    done, *_ = play(cut(8, 8), together={"1.wav", "6.wav"})
    assert set(reasons(done).values()) == {"fine"}
    assert len(reasons(done)) == 8


def test_when_everything_dies_it_ends():
    units = cut(1000, 10)
    with pytest.raises(RunnerError, match=r"9 workers died in a row .* exit code 7"):
        play(units, killers={source.uri for unit in units for source in unit.sources}, n_workers=1)


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("n_at_a_time", [None, 4, 16])
@pytest.mark.parametrize("first", [0, 16, 48])
def test_many_killers_in_a_row_are_blamed_each(first, n_at_a_time, n_workers):
    killers = {f"{i}.wav" for i in range(first, first + 16)}
    for seed in range(10):
        done, *_ = play(
            cut(64, 16), killers=killers, n_workers=n_workers, seed=seed, n_at_a_time=n_at_a_time, lose_share=0.1
        )
        assert {uri for uri, reason in reasons(done).items() if reason == "worker_died"} == killers
        assert len(reasons(done)) == 64


def test_when_everything_dies_from_some_clip_on_it_ends():
    killers = {f"{i}.wav" for i in range(100, 1000)}

    class Broken(set):
        def __contains__(self, uri):  # once the machine is broken, nothing is fine any more
            self.is_broken |= uri in killers
            return self.is_broken

        is_broken = False

    with pytest.raises(RunnerError, match=r"9 workers died in a row .* exit code 7"):
        play(cut(1000, 10), killers=Broken(), n_workers=1)


def test_a_blamed_clip_carries_the_stamp_of_its_file(tmp_path):
    (tmp_path / "0.wav").write_bytes(b"abc")
    work = WorkQueue(cut(1, 1), n_deaths_allowed=9, root=tmp_path)
    done = None
    while done is None:
        done = work.died(work.take(idle=True), "signal 11")
    failure = done.results[0]
    assert failure.stamp.size == 3
    assert failure.stamp.sha256.hex().startswith("ba7816bf")
    assert "signal 11" in failure.message
