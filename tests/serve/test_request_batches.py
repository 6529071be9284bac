"""Requests wait, are computed together, and each gets its own answer."""

import threading

import pytest

from embedx.serve.request_batches import BatchWorker, QueueFullError


@pytest.fixture
def gate():
    return threading.Event()


@pytest.fixture
def worker(gate):
    sizes = []

    def answer(jobs):
        gate.wait(60)
        sizes.append(len(jobs))
        if "bad" in jobs:
            raise ValueError("bad")
        return [job.upper() for job in jobs]

    one = BatchWorker(answer, most_waiting=4, most_together=3)
    one.sizes = sizes
    yield one
    gate.set()
    one.close()


def begun(worker):
    """Submit a job and wait until the thread has taken it."""
    future = worker.submit("first")
    while worker.n_waiting:
        pass
    return future


def test_what_waits_is_computed_together(worker, gate):
    first = begun(worker)
    others = [worker.submit(name) for name in "abcd"]
    gate.set()
    assert [future.result(60) for future in (first, *others)] == ["FIRST", "A", "B", "C", "D"]
    assert worker.sizes == [1, 3, 1]


def test_more_than_may_wait_are_refused(worker, gate):
    begun(worker)
    for name in "abcd":
        worker.submit(name)
    with pytest.raises(QueueFullError, match="4 requests wait already"):
        worker.submit("e")


def test_what_was_given_up_is_not_computed(worker, gate):
    begun(worker)
    given_up, kept = worker.submit("a"), worker.submit("b")
    assert given_up.cancel()
    gate.set()
    assert kept.result(60) == "B"
    assert worker.sizes == [1, 1]


def test_an_error_is_told_to_those_it_concerns(worker, gate):
    first = begun(worker)
    bad = worker.submit("bad")
    gate.set()
    assert first.result(60) == "FIRST"
    with pytest.raises(ValueError, match="bad"):
        bad.result(60)
    assert worker.submit("next").result(60) == "NEXT"


def test_what_waits_is_answered_before_the_end(worker, gate):
    begun(worker)
    last = worker.submit("last")
    gate.set()
    worker.close()
    assert last.result(0) == "LAST"
    with pytest.raises(QueueFullError, match="being stopped"):
        worker.submit("late")
