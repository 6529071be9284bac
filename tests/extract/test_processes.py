"""Worker processes of this machine: whatever kills one costs one clip, and nothing is left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx.errors import EmbedxWarning, EncoderError, RunnerError
from embedx.extract import worker_process
from embedx.extract.process_backend import run_units
from embedx.extract.unit_runner import plan_units
from embedx.manifest import Manifest
from embedx.store.rows import Embedded, Failure


def write(path, *, first=0.1, seconds=0.2, seed=0):
    samples = np.random.default_rng(seed).uniform(-0.1, 0.1, round(seconds * 16_000))
    samples[0] = first
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


@pytest.fixture(scope="session")
def crowd(tmp_path_factory):
    """Ninety clips: 82 good ones, and one of each kind that goes wrong. Returns folder and uri -> reason."""
    folder = tmp_path_factory.mktemp("crowd")
    for i in range(90):
        write(folder / f"{i:02}.wav", seconds=0.1 + 0.002 * i, seed=i)
    bad = {f"{i:02}.wav": "decode" for i in (5, 11, 40)}
    (folder / "05.wav").write_text("no audio, only words\n" * 40)
    whole = (folder / "11.wav").read_bytes()
    (folder / "11.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "40.wav").write_bytes(b"")
    (folder / "13.wav").rename(folder / "13-decoder.wav")
    write(folder / "20.wav", first=0.5)
    write(folder / "66.wav", first=0.6)
    write(folder / "67.wav", first=0.7)
    write(folder / "68.wav", first=0.8)
    return folder, {**bad, **dict.fromkeys(["13-decoder.wav", "20.wav", "66.wav", "67.wav", "68.wav"], "worker_died")}


def clips_of(folder):
    return Manifest.from_paths(sorted(path.name for path in folder.glob("*.wav")), root=folder)


@pytest.mark.kill
def test_what_is_bad_among_many_good_ones_costs_its_own_row(crowd, runners):
    folder, bad = crowd
    manifest, heard = clips_of(folder), []
    done = list(run_units(plan_units(manifest), runners.FakeRunner.over(folder), on_progress=heard.append))
    assert [unit.number for unit, _, _ in done] == [0, 1]
    results = [result for _, found, _ in done for result in found]
    assert [result.source for result in results] == list(manifest)
    failures = {result.source.uri: result for result in results if isinstance(result, Failure)}
    assert {uri: failure.reason for uri, failure in failures.items()} == bad
    for uri, says in (("20", "exit status 9"), ("66", "SIGSEGV"), ("67", "SIGKILL"), ("68", "device-side assert")):
        assert says in failures[f"{uri}.wav"].message
        assert failures[f"{uri}.wav"].stamp.size == (folder / f"{uri}.wav").stat().st_size
    assert sum(heard) == pytest.approx(0)  # everything that was reported of units under way was settled
    good = [source.uri for source in manifest if source.uri not in bad]
    with runners.FakeRunner.over(folder) as runner:
        runner.load()
        expected = runner(plan_units(Manifest.from_paths(good, root=folder), n_sources=99)[0])
    found = [result for result in results if isinstance(result, Embedded)]
    for mine, alone in zip(found, expected, strict=True):
        assert np.array_equal(mine.embeddings, alone.embeddings)
        assert np.array_equal(mine.control, alone.control)


@pytest.mark.kill
@pytest.mark.full
def test_what_is_bad_among_a_thousand(tmp_path, runners):
    for i in range(1_000):
        write(tmp_path / f"{i:04}.wav", first=0.5 if i == 500 else 0.1, seconds=0.1, seed=i)
    (tmp_path / "0003.wav").write_text("words")
    (tmp_path / "0700.wav").write_bytes((tmp_path / "0701.wav").read_bytes()[:2_000])
    (tmp_path / "0900.wav").rename(tmp_path / "0900-decoder.wav")
    units = plan_units(clips_of(tmp_path))
    results = [r for _, found, _ in run_units(units, runners.FakeRunner.over(tmp_path)) for r in found]
    assert len(results) == 1_000
    assert {r.source.uri: r.reason for r in results if isinstance(r, Failure)} == {
        "0003.wav": "decode",
        "0700.wav": "decode",
        "0500.wav": "worker_died",
        "0900-decoder.wav": "worker_died",
    }


def test_two_devices_are_two_processes_that_share_the_units(tmp_path, runners):
    for i in range(12):
        write(tmp_path / f"{i:02}.wav", seed=i)
    units = plan_units(clips_of(tmp_path), n_sources=2)
    runner = runners.NotingRunner.over(tmp_path, devices=("cpu", "cpu"), threads=2)
    done = list(run_units(units, runner, describe=lambda recipe, resources: {"threads": str(resources.threads)}))
    assert sorted(unit.number for unit, _, _ in done) == list(range(6))
    assert all(environment == {"threads": "1"} for _, _, environment in done)
    notes = [path.name.split("-") for path in tmp_path.glob("note-*")]
    assert len(notes) == 6
    assert len({process for _, process, _ in notes} - {str(os.getpid())}) == 2


def test_what_no_worker_can_do_is_raised_here(tmp_path, runners):
    write(tmp_path / "a.wav")
    units = plan_units(clips_of(tmp_path))
    with pytest.raises(EncoderError, match="another hash than the recipe"):
        list(run_units(units, runners.RefusingRunner.over(tmp_path)))
    with pytest.raises(RunnerError, match=r"died in a row .* exit status 3"):
        list(run_units(units, runners.StillbornRunner.over(tmp_path)))


def test_little_memory_halves_the_batch_with_one_warning_here(tmp_path, runners):
    for i in range(16):
        write(tmp_path / f"{i:02}.wav", seconds=1.0, seed=i)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ((_, results, _),) = run_units(plan_units(clips_of(tmp_path)), runners.NarrowRunner.over(tmp_path))
    assert all(isinstance(result, Embedded) for result in results)
    assert ["--batch-seconds" in str(w.message) for w in caught if w.category is EmbedxWarning] == [True]


@pytest.mark.kill
def test_debugging_shows_how_a_worker_ended(tmp_path, runners, monkeypatch, capfd):
    write(tmp_path / "raises.wav", first=0.8)
    write(tmp_path / "segfaults.wav", first=0.6)
    units = plan_units(clips_of(tmp_path), n_sources=1)
    list(run_units(units, runners.FakeRunner.over(tmp_path)))
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("EMBEDX_DEBUG", "1")
    list(run_units(units, runners.FakeRunner.over(tmp_path)))
    said = capfd.readouterr().err
    assert "RuntimeError: device-side assert triggered" in said
    assert "Fatal Python error: Segmentation fault" in said


@pytest.mark.kill
def test_a_fork_server_that_is_killed_costs_nothing_but_time(tmp_path, runners):
    for i in range(8):
        write(tmp_path / f"{i:02}.wav", seed=i)
    done = run_units(plan_units(clips_of(tmp_path), n_sources=2), runners.NotingRunner.over(tmp_path))
    results = list(next(done).results)
    os.kill(worker_process._fork_server._process.pid, signal.SIGKILL)
    results += [result for _, found, _ in done for result in found]
    assert len(results) == 8
    assert all(isinstance(result, Embedded) for result in results)


def test_another_setting_of_the_libraries_is_another_fork_server(monkeypatch):
    first = worker_process._living()
    assert worker_process._living() is first
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    other = worker_process._living()
    assert other is not first
    assert other.serves
    assert not first.serves


def below(pid):
    """Ids of all processes below one."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in (thread / "children").read_text().split()]
    return [*found, *(other for child in found for other in below(child))]


def alive(pids):
    """Those that still run (a zombie that nobody has reaped does not)."""
    found = []
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(pid)
        except OSError:
            continue
    return found


IMPATIENT = (
    "from embedx.cli import entry, progress\n"
    "progress.ProgressBar.__init__.__kwdefaults__['every_seconds'] = 0.1\n"
    "entry()\n"
)


@pytest.fixture(scope="session")
def long_job(tmp_path_factory):
    """A folder of 600 clips that take tiny a while."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "clips").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 10)
    soundfile.write(folder / "clips" / "000.wav", noise, 16_000)
    for i in range(1, 600):
        (folder / "clips" / f"{i:03}.wav").hardlink_to(folder / "clips" / "000.wav")
    return folder


def start(folder, store):
    """Start an extraction; returns the process once 64 clips are reported as done, and all processes below it."""
    words = ["extract", "clips", "-o", str(store), "--encoder", "tiny", "--compute-dtype", "float32"]
    command = [sys.executable, "-c", IMPATIENT, *words]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, bufsize=1)
    for line in process.stderr:
        found = re.search(r"extract: (\d+)/600 clips, .* left, speed .*x real time, failed 0", line)
        if found and int(found[1]) >= 64:
            break
    helpers = below(process.pid)
    assert len(helpers) >= 4, "fork server, encoder and two decoders"
    return process, helpers, words


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_ends_within_three_seconds_and_the_next_goes_on(long_job, tmp_path, run_embedx, number):
    process, helpers, words = start(long_job, tmp_path / "emb.h5")
    started = time.monotonic()
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    seconds = time.monotonic() - started
    assert seconds < 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # 3 s on a machine of its own
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert_gone(helpers)
    few = tmp_path / "few.csv"
    few.write_text("path\n" + "".join(f"{long_job}/clips/{i:03}.wav\n" for i in range(80)))
    done = run_embedx("extract", few, *words[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"(\d+) (clips )?(were )?done before", done.stdout)[1]) >= 64


@pytest.mark.kill
def test_a_killed_run_leaves_no_process(long_job, tmp_path):
    process, helpers, _ = start(long_job, tmp_path / "emb.h5")
    process.kill()
    process.wait()
    process.stderr.close()
    assert_gone(helpers)


def assert_gone(pids):
    """Within a moment that is longer on a crowded machine."""
    deadline = time.monotonic() + 3 * max(1.0, os.getloadavg()[0])
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pids)


@pytest.mark.full
def test_ten_hours_are_embedded_in_less_than_two_gigabytes(tmp_path, runners):
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8_000)
        for _ in range(600):
            file.writeframesraw(np.random.default_rng(0).integers(100, 156, 60 * 8_000, np.uint8).tobytes())
    peaks = {}

    def look(_):
        for pid in below(os.getpid()):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peaks[pid] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    runner = runners.WideRunner.over(tmp_path, threads=2)  # one lane alone kept its memory in order
    ((_, (result,), _),) = run_units(plan_units(clips_of(tmp_path)), runner, on_progress=look)
    assert result.embeddings.shape == (3_600, 13, 768)
    # The kernel's own peaks miss nothing, but what a worker shares with its fork server counts twice.
    assert sum(peaks.values()) < 1_500_000, f"kB of fork server, worker, decoder, a quarter below 2 GB: {peaks}"
