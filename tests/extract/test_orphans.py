"""No process is left behind when the one that started it is killed, wherever both are at."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest


def marked(mark):
    """Ids of the processes that carry a mark in their environment and still run (a zombie does not)."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if mark.encode() in (entry / "environ").read_bytes():
                found += [int(entry.name)] * ((entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z")
    return found


@pytest.fixture(scope="module")
def long_folder(tone_folder, tmp_path_factory):
    """As many links to short clips as keep an encoder busy for a while."""
    folder = tmp_path_factory.mktemp("many") / "clips"
    folder.mkdir()
    clips = sorted(tone_folder.rglob("*.wav"))
    for i in range(1_000):
        (folder / f"{i:03}.wav").symlink_to(clips[i % len(clips)])
    return folder


def kill_at_random(folder, output, seed):
    """Start an extraction, stop one of its processes or none, kill the first one; all must be gone in a moment."""
    chance, mark = random.Random(seed), uuid.uuid4().hex
    command = [sys.executable, "-m", "embedx", "extract", str(folder), "-o", str(output), "--encoder", "tiny"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "EMBEDX_TEST_MARK": mark})
    n_wanted = chance.choice([1, 2, 3, 4, 5])  # the fork server, the encoder and its decoders come one by one
    deadline = time.monotonic() + 120
    while len(marked(mark)) < n_wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.5))
    children = [pid for pid in marked(mark) if pid != process.pid]
    if children and chance.random() < 0.5:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(children), signal.SIGSTOP)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 2 * max(1.0, os.getloadavg()[0])
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = marked(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"seed {seed}: {len(left)} of {n_wanted} or more are left"


@pytest.mark.kill
@pytest.mark.parametrize("seed", range(4))
def test_nobody_outlives_a_parent_that_is_killed_at_a_random_moment(long_folder, tmp_path, seed):
    kill_at_random(long_folder, tmp_path / "emb.h5", seed)


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [*range(100, 104), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(104, 150))]
)
def test_nobody_outlives_a_parent_in_fifty_rounds(long_folder, tmp_path, seed):
    kill_at_random(long_folder, tmp_path / "emb.h5", seed)


@pytest.mark.kill
def test_what_a_thread_that_has_ended_has_started_lives_on():
    """The kernel takes a thread for the parent; the fork server outlives whoever asked for it first."""
    from concurrent.futures import ThreadPoolExecutor

    from embedx.extract.worker_process import WorkerProcess

    with ThreadPoolExecutor(1) as pool:
        process = pool.submit(WorkerProcess).result()
    time.sleep(0.5)
    assert process.connection.closed is False
    assert Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    process.end()
