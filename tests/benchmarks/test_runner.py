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


LONG = """
from pathlib import Path
from benchmarks.runner import Step, run_steps
folder = Path({folder!r})
mark = lambda name: "open(%r, 'a').write('x')" % str(folder / name)
pid = "; import os; open(%r, 'w').write(str(os.getpid()))" % str(folder / "pid")
sleep = "; import time; time.sleep(0 if (%r in os.environ) else 600)" % "QUICK"
steps = [Step(name="one", words=["-c", mark("one")]), Step(name="two", words=["-c", mark("two") + pid + sleep])]
run_steps(steps, folder / "records", output=folder, jobs=2)
"""
"""A run whose second step takes ten minutes unless QUICK is in its environment."""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_stopped_run_leaves_nobody_and_goes_on_with_the_next_step(how, tmp_path):
    code, environment = LONG.format(folder=str(tmp_path)), os.environ | {"PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=-3)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    os.kill(process.pid, getattr(signal, how))
    process.communicate()
    wait_for(lambda: not is_alive(int((tmp_path / "pid").read_text())))
    subprocess.run([sys.executable, "-c", code], env=environment | {"QUICK": "1"}, check=True, capture_output=True)
    assert (tmp_path / "one").read_text() == "x"
    assert (tmp_path / "two").read_text() == "xx"
    assert json.loads((tmp_path / "records" / "two.json").read_text())["status"] == "done"


def wait_for(happens):
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False


def test_independent_steps_run_beside_each_other_and_those_that_are_measured_alone(tmp_path):
    def step(name, **changes):
        code = (
            f"import time; p = {str(tmp_path / 'log')!r}; open(p, 'a').write('+{name} '); time.sleep(0.6); "
            f"open(p, 'a').write('-{name} ')"
        )
        return Step(**{"name": name, "words": ["-c", code], "alone": False, **changes})

    steps = [step("a"), step("b"), step("c", after=["a", "b"]), step("d", alone=True)]
    records, _ = run(steps, tmp_path, jobs=2)
    assert [record["step"] for record in records] == ["a", "b", "c", "d"]
    told = (tmp_path / "log").read_text().split()
    assert set(told[:2]) == {"+a", "+b"}
    assert told[4:] in (["+c", "-c", "+d", "-d"], ["+d", "-d", "+c", "-c"])


def test_processor_time_is_told_with_that_of_children(tmp_path):
    burn = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.5: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    (record,), _ = run([Step(name="a", words=["-c", code])], tmp_path)
    assert 0.5 <= record["cpu_seconds"] <= record["seconds"] + 0.5


def test_a_shared_step_is_kept_for_other_suites_while_what_it_made_is_there(tmp_path):
    made = tmp_path / "store"
    made.touch()
    steps = [count_step(tmp_path, shared=True, makes=str(made))]
    for suite in ("quality", "questions"):
        run(steps, tmp_path / suite, shared=tmp_path / "shared")
    assert (tmp_path / "a").read_text() == "x"
    made.unlink()
    run(steps, tmp_path / "questions", shared=tmp_path / "shared")
    assert (tmp_path / "a").read_text() == "xx"
