"""Processes that neither work nor die: stopped, in a deadlock, in the middle of a message."""

import contextlib
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedx.extract import nursery
from embedx.extract.nursery import WorkerProcess


def state(pid):
    """One letter, as in /proc; empty for a process that is gone or that nobody has reaped."""
    with contextlib.suppress(OSError):
        letter = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return "" if letter == "Z" else letter
    return ""


def wait_for(letter, pid):
    """Until a process has a state, not for ever."""
    deadline = time.monotonic() + 20
    while state(pid) != letter and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state(pid) == letter


@pytest.fixture
def stopped():
    """A worker process that is stopped."""
    process = WorkerProcess()
    process.send(SimpleNamespace())
    assert process.connection.recv() == ("ready",)
    os.kill(process.pid, signal.SIGSTOP)
    wait_for("T", process.pid)
    yield process
    process.end()


@pytest.mark.kill
def test_a_stopped_worker_is_ended_at_once(stopped):
    started = time.monotonic()
    assert stopped.end() == -signal.SIGKILL
    assert time.monotonic() - started < 5
    assert not state(stopped.pid)


@pytest.mark.kill
def test_a_stopped_worker_dies_with_its_zygote(stopped):
    os.kill(nursery._zygote._process.pid, signal.SIGKILL)
    wait_for("", stopped.pid)
    assert stopped.end() is None


@pytest.mark.kill
def test_a_zygote_that_does_not_answer_is_replaced(stopped, monkeypatch):
    monkeypatch.setattr(nursery, "KILL_SECONDS", 0.5)
    silent = nursery._zygote
    os.kill(silent._process.pid, signal.SIGSTOP)
    assert stopped.end() is None
    wait_for("", stopped.pid)
    assert not silent.serves
    assert nursery._living().serves
