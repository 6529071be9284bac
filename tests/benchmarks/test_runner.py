"""Finished steps are kept through kills, failures are rows, and time and memory are the step's own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.runner import Step, run_steps

WRITE = "import json, sys; json.dump({'value': 1}, open(sys.argv[1], 'w'))"


def count_step(folder, name="a", **changes):
    """A step that leaves a mark each time it runs."""
    code = f"open({str(folder / name)!r}, 'a').write('x'); {WRITE}"
    return Step(**{"name": name, "words": ["-c", code, "{out}"], **changes})


def run(steps, folder, **options):
    told = []
    return run_steps(steps, folder / "records", output=folder, say=told.append, **options), told


def test_a_finished_step_is_kept(tmp_path):
    steps = [count_step(tmp_path)]
    first, _ = run(steps, tmp_path)
    second, told = run(steps, tmp_path)
    assert first == second
    assert first[0]["result"] == {"value": 1}
    assert (tmp_path / "a").read_text() == "x"
    assert told[-1].endswith("kept")


@pytest.mark.parametrize("change", ["weights", "words", "again"])
def test_another_encoder_or_setting_runs_it_anew(tmp_path, change):
    run([count_step(tmp_path, depends={"weights": "1"})], tmp_path)
    step = count_step(tmp_path, depends={"weights": "2" if change == "weights" else "1"})
    if change == "words":
        step = Step(name="a", words=[*step.words, "--quick"], depends=step.depends)
    run([step], tmp_path, again=change == "again")
    assert (tmp_path / "a").read_text() == "xx"


def test_a_failure_is_told_and_stops_nothing(tmp_path):
    steps = [Step(name="bad", words=["-c", "raise SystemExit('no such thing')"]), count_step(tmp_path)]
    records, _ = run(steps, tmp_path)
    assert [r["status"] for r in records] == ["failed", "done"]
    assert "no such thing" in records[0]["reason"]
    run(steps, tmp_path)
    assert (tmp_path / "a").read_text() == "x"


def test_not_run_gives_its_reason_and_is_tried_again(tmp_path):
    code = "import json, sys; json.dump({'not_run': 'no data'}, open(sys.argv[1], 'w')); sys.exit(4)"
    steps = [Step(name="a", words=["-c", code, "{out}"]), Step(name="b", words=(), reason="no encoder")]
    records, _ = run(steps, tmp_path)
    assert [(r["status"], r["reason"]) for r in records] == [("not run", "no data"), ("not run", "no encoder")]
    records, _ = run([count_step(tmp_path), steps[1]], tmp_path)
    assert records[0]["status"] == "done"


def test_time_and_memory_are_those_of_the_step(tmp_path):
    small = Step(name="small", words=["-c", "pass"])
    large = Step(name="large", words=["-c", "import time; x = b'1' * 200_000_000; time.sleep(0.3)"])
    records, _ = run([small, large], tmp_path)
    assert records[1]["peak_mb"] - records[0]["peak_mb"] == pytest.approx(200, abs=60)
    assert records[1]["seconds"] >= 0.3


def test_the_memory_of_a_child_counts(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\"1\" * 150_000_000'], check=True)"
    records, _ = run([Step(name="parent", words=["-c", code])], tmp_path)
    assert records[0]["peak_mb"] > 150


def test_a_killed_run_goes_on_with_the_next_step(tmp_path):
    code = f"""
from pathlib import Path
from benchmarks.runner import Step, run_steps
folder = Path({str(tmp_path)!r})
mark = lambda name: "open(%r, 'a').write('x')" % str(folder / name)
steps = [Step(name="one", words=["-c", mark("one")]), Step(name="two", words=["-c", mark("two") + "; import time; "
    "time.sleep(0 if (%r in __import__('os').environ) else 600)" % "QUICK"])]
run_steps(steps, folder / "records", output=folder)
"""
    root = os.getcwd()
    environment = os.environ | {"PYTHONPATH": root}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "two").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-c", code], env=environment | {"QUICK": "1"}, check=True, capture_output=True)
    assert (tmp_path / "one").read_text() == "x"
    assert (tmp_path / "two").read_text() == "xx"
    assert json.loads((tmp_path / "records" / "two.json").read_text())["status"] == "done"
