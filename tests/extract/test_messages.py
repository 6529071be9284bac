"""Words between an encoder worker and its driver."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

from embedx.extract.worker_messages import read_message, write_message
from embedx.manifest import Source
from embedx.store.rows import NO_STAMP, Embedded


@pytest.mark.parametrize("n_rows", [0, 1, 400])
def test_what_is_said_is_heard(n_rows):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_rows, 13, 768)).astype(np.float32)
    control = rng.normal(size=(n_rows, 128)).astype(np.float32)
    times = np.arange(float(n_rows))
    theirs, ours = multiprocessing.Pipe()
    said = ("done", [Embedded(Source("a.wav"), NO_STAMP, values, control, times, times + 1)] * 2)
    speaker = threading.Thread(target=write_message, args=(theirs, said))
    speaker.start()
    kind, results = read_message(ours)
    speaker.join()
    assert kind == "done"
    for result in results:
        assert np.array_equal(result.embeddings, values)
        assert np.array_equal(result.control, control)
        assert result.embeddings.flags.writeable
        assert np.array_equal(result.end_seconds, times + 1)


def test_rows_that_end_in_the_middle_are_none(monkeypatch):
    monkeypatch.setattr(os, "write", lambda handle, view: len(view))
    theirs, ours = multiprocessing.Pipe()
    rows, other = np.zeros((400, 13, 768), np.float32), np.zeros(0)
    write_message(theirs, ("done", [Embedded(Source("a.wav"), NO_STAMP, rows, other, other, other)]))
    theirs.close()
    with pytest.raises(EOFError):
        read_message(ours)
