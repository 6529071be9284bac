"""Processes that neither work nor die: stopped, in a deadlock, in the middle of a message."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx.errors import RunnerError
from embedx.extract import process_backend, worker_process
from embedx.extract.process_backend import run_units
from embedx.extract.unit_runner import Runner, plan_units
from embedx.extract.worker_messages import read_message
from embedx.extract.worker_process import WorkerProcess
from embedx.manifest import Manifest
from embedx.recipe import Recipe, Resources
from embedx.store.rows import Embedded, Failure


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


class EmptyRunner(Runner):
    """Is ready at once."""


@pytest.fixture
def stopped():
    """A worker process that is stopped."""
    process = WorkerProcess()
    process.send(EmptyRunner())
    assert read_message(process.connection) == ("ready", {})
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
def test_a_stopped_worker_dies_with_its_fork_server(stopped):
    os.kill(worker_process._fork_server._process.pid, signal.SIGKILL)
    wait_for("", stopped.pid)
    assert stopped.end() is None


@pytest.mark.kill
def test_a_fork_server_that_does_not_answer_is_replaced(stopped, monkeypatch):
    monkeypatch.setattr(worker_process, "KILL_SECONDS", 0.5)
    silent = worker_process._fork_server
    os.kill(silent._process.pid, signal.SIGSTOP)
    assert stopped.end() is None
    wait_for("", stopped.pid)
    assert not silent.serves
    assert worker_process._living().serves


def write(path, *, first=0.1):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 4_000)
    samples[0] = first
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def clips_of(folder):
    return Manifest.from_paths(sorted(path.name for path in folder.glob("*.wav")), root=folder)


def run(folder, runner, **options):
    """Results of all clips of a folder by name."""
    done = run_units(plan_units(clips_of(folder)), runner.over(folder, **options))
    return {result.source.uri: result for _, results, _ in done for result in results}


@pytest.mark.kill
def test_an_encoder_that_is_stopped_or_blocks_for_ever_costs_its_clip(tmp_path, runners):
    for name, first in (("fine", 0.1), ("stops", 0.9), ("blocks", 1.0)):
        write(tmp_path / f"{name}.wav", first=first)
    seconds = 3 * max(1, round(os.getloadavg()[0] / (os.cpu_count() or 1)))  # a decoder starts in less
    results = run(tmp_path, runners.FakeRunner, silence_timeout_seconds=seconds)
    assert isinstance(results.pop("fine.wav"), Embedded)
    assert len(results) == 2
    for failure in results.values():
        assert failure.reason == "worker_died"
        assert f"no sign of life for {seconds} s (--silence-timeout-seconds" in failure.message


@pytest.mark.kill
def test_a_message_that_ends_in_the_middle_is_the_end(tmp_path, runners, monkeypatch):
    monkeypatch.setattr(worker_process, "_PIECE_SECONDS", 1)
    write(tmp_path / "a.wav")
    (failure,) = run(tmp_path, runners.MumblingRunner).values()
    assert isinstance(failure, Failure)
    assert "in the middle of a message" in failure.message


def test_a_decoder_that_is_slow_but_gets_on_is_waited_for(tmp_path, runners):
    for name in ("fast", "slow"):
        write(tmp_path / f"{name}.wav")
    results = run(tmp_path, runners.PatientRunner, silence_timeout_seconds=4)  # the slow one takes 8 s
    assert all(isinstance(result, Embedded) for result in results.values())


def test_weights_that_are_never_loaded_are_an_error(tmp_path, runners):
    write(tmp_path / "a.wav")
    with pytest.raises(RunnerError, match=r"encoder process on cpu was not ready after 1\.5 s"):
        run(tmp_path, runners.LingeringRunner, silence_timeout_seconds=0.5)


@pytest.mark.kill
def test_while_nobody_listens_nobody_is_silent(tmp_path, runners):
    for i in range(4):
        write(tmp_path / f"{i}.wav")
    units = plan_units(clips_of(tmp_path), n_sources=1)
    done = run_units(units, runners.NotingRunner.over(tmp_path, silence_timeout_seconds=3))
    next(done)
    (note,) = tmp_path.glob("note-*-0")
    worker = int(note.name.split("-")[1])
    os.kill(worker, signal.SIGSTOP)
    time.sleep(5)  # as when a store is slow to take what came
    os.kill(worker, signal.SIGCONT)
    assert len(list(done)) == 3
    assert len({path.name.split("-")[1] for path in tmp_path.glob("note-*")}) == 1, "the same worker to the end"


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_a_run_ends_at_once_while_its_worker_hangs(tmp_path, number):
    write(tmp_path / "a.wav", first=0.9)
    program = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import local_runners\n"
        "from embedx.extract import process_backend, worker_process\n"
        "from embedx.extract.unit_runner import Runner, plan_units\n"
        "from embedx.manifest import Manifest\n"
        "class Told(process_backend.WorkerProcess):\n"
        "    def __init__(self, modules):\n"
        "        super().__init__(modules)\n"
        "        print(self.pid, flush=True)\n"
        "process_backend.WorkerProcess = Told\n"
        "folder = Path(sys.argv[1])\n"
        "units = plan_units(Manifest.from_paths(['a.wav'], root=folder))\n"
        "list(process_backend.run_units(units, local_runners.FakeRunner.over(folder)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    worker = int(process.stdout.readline())
    wait_for("T", worker)
    started = time.monotonic()
    process.send_signal(number)
    process.wait(timeout=60)
    process.stdout.close()
    wait_for("", worker)
    assert time.monotonic() - started < 3 * max(1.0, os.getloadavg()[0])


@pytest.mark.parametrize(
    ("window_seconds", "options", "seconds"),
    [
        (10.0, {}, 800.0),
        (600.0, {}, 12_600.0),
        (10.0, {"compile": True}, 2_000.0),
        (600.0, {"silence_timeout_seconds": 45.5}, 45.5),
    ],
)
def test_the_limit_leaves_room_for_honest_work(window_seconds, options, seconds):
    recipe = Recipe(encoder="x", revision="local", weights_sha256="0", layers=(0,), window_seconds=window_seconds)
    assert process_backend._silence_seconds(recipe, Resources(**options)) == seconds
