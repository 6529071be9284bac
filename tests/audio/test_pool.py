"""Decoding workers: what a file does to its worker costs that file alone."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx.audio.decode_pool import DecodePool
from embedx.audio.loader import ClipEnd, ClipRequest, ClipStamp, ClipWindow
from embedx.errors import RunnerError
from embedx.recipe import Recipe

NO_THREAD = "can't start new thread"
RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="", layers=(0,))


def request(path, **changes):
    return ClipRequest.from_recipe(str(path), RECIPE.replace(**changes))


def collect(events):
    """Return windows and end of every clip."""
    windows, ends = {}, {}
    for index, event in events:
        if isinstance(event, ClipWindow):
            windows.setdefault(index, []).append(event)
        elif isinstance(event, ClipEnd):
            assert index not in ends
            ends[index] = event
        else:
            assert isinstance(event, ClipStamp)
            assert index not in ends
    return windows, ends


@pytest.fixture
def clips(tmp_path):
    """Eight short clips and, fourth, one that takes long to decode."""
    paths = []
    for i in range(8):
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], np.random.default_rng(i).normal(0, 0.1, 8_000 * (i + 1)), 16_000)
    with wave.open(str(paths[3]), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8_000)
        for _ in range(120):
            file.writeframesraw(bytes(60 * 8_000))
    return paths


def holders(path):
    """Return the children of this process that have a file open."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                found += [int(entry.name) for fd in (entry / "fd").iterdir() if os.readlink(fd) == str(path)]
    return found


@contextlib.contextmanager
def signalling(path, number):
    """Send a signal to every worker that opens a file, as often as it happens."""
    over = threading.Event()

    def watch():
        while not over.wait(0.005):
            for pid in holders(path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_workers_give_what_this_process_gives(clips, n_workers):
    chosen = [path for i, path in enumerate(clips) if i != 3]
    with DecodePool(n_workers) as pool:
        windows, ends = collect(pool.load([request(path, window_seconds=1.0, hop_seconds=0.5) for path in chosen]))
    assert all(end == ClipEnd() for end in ends.values())
    for index, path in enumerate(chosen):
        samples, _ = soundfile.read(path, dtype="float32")
        for window in windows[index]:
            first = round(window.start_seconds * 16_000)
            assert np.allclose(window.samples, samples[first : first + len(window.samples)], atol=1e-6)


@pytest.mark.kill
def test_a_file_that_kills_its_worker_is_one_failure(clips):
    with DecodePool(2) as pool, signalling(clips[3], signal.SIGKILL):
        _, ends = collect(pool.load([request(path) for path in clips]))
    assert {i: end.reason for i, end in ends.items()} == {i: "worker_died" if i == 3 else "" for i in range(8)}
    assert "died 2 times" in ends[3].message


@pytest.mark.kill
def test_a_decoder_that_hangs_is_ended(clips):
    started = time.monotonic()
    with DecodePool(2, timeout_seconds=5.0) as pool, signalling(clips[3], signal.SIGSTOP):
        _, ends = collect(pool.load([request(path) for path in clips]))
    assert {i for i, end in ends.items() if end.reason} == {3}
    assert "no sign of life" in ends[3].message
    assert time.monotonic() - started < 60


def test_what_waits_is_bounded(clips, monkeypatch):
    monkeypatch.setattr("embedx.audio.decoded_buffer._BUDGET_SAMPLES", 200_000)
    with DecodePool(2) as pool:
        events = pool.load([request(clips[3])] * 2)
        next(iter(events))
        time.sleep(1.0)
        assert pool._loads[0]._n_samples < 200_000 + 3 * 160_000


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with DecodePool(1) as pool:
        _, ends = collect(pool.load([request(tmp_path / "pipe.wav"), request(tmp_path / "none.wav")]))
    assert (ends[0].reason, ends[1].reason) == ("decode", "missing")


@pytest.mark.kill
def test_no_worker_outlives_its_parent(clips):
    program = (
        "import sys, time\n"
        "from embedx.audio.decode_pool import DecodePool\n"
        "from embedx.audio.loader import ClipRequest\n"
        "pool = DecodePool(2)\n"
        "events = pool.load([ClipRequest.from_json(sys.argv[1])] * 4)\n"
        "next(iter(events))\n"
        "print(*[s._worker._process.pid for s in pool._threads if s._worker], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, request(clips[3]).to_json()], stdout=subprocess.PIPE, text=True
    )
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert pids
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_limit_on_processes_or_threads_is_one_error_at_once(clips, monkeypatch):
    def refuse(*words, **options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch, DecodePool(2) as pool:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(RunnerError, match=r"a decoding process cannot be started: .*ulimit -u.*--workers"):
            collect(pool.load([request(clips[0])]))
    with monkeypatch.context() as patch, DecodePool(2) as pool:
        patch.setattr(threading, "_start_new_thread", lambda *_: (_ for _ in ()).throw(RuntimeError(NO_THREAD)))
        with pytest.raises(RunnerError, match="ulimit -u"):
            pool.load([request(clips[0])])
