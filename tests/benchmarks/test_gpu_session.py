"""The session on a rented GPU loses nothing: every step starts, each result is written at once, time is kept."""

import json

import pytest

from benchmarks.throughput.gpu_session import Step, main, plan_session, run_session


class Clock:
    """Seconds that pass when a step says so."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def session(tmp_path, takes, *, seconds):
    """Run steps that take so long of the fake clock; a step is ended when its time is up."""
    clock, given, written = Clock(), [], []

    def run(words, environment, log, limit):
        given.append((words[0], limit))
        written.append(json.loads((tmp_path / "session.json").read_text()) if given[1:] else [])
        clock.now += min(takes[words[0]], limit)
        return None if takes[words[0]] > limit else 0

    steps = [Step(name, [name], most_seconds=100) for name in takes]
    return run_session(steps, tmp_path, seconds=seconds, run=run, clock=clock), given, written


def test_each_step_gets_its_limit_or_what_is_left(tmp_path):
    reports, given, _ = session(tmp_path, {"a": 90, "b": 500, "c": 10, "d": 40, "e": 5}, seconds=240)
    assert given == [("a", 100), ("b", 100), ("c", 50), ("d", 40)]
    statuses = [report.status for report in reports]
    assert statuses == ["done", "ended: its time was up", "done", "done", "left out: no time"]


def test_how_a_step_ended_is_written_before_the_next_begins(tmp_path):
    reports, _, written = session(tmp_path, {"a": 1, "b": 2, "c": 3}, seconds=240)
    assert [len(one) for one in written] == [0, 1, 2]
    assert [one["name"] for one in json.loads((tmp_path / "session.json").read_text())] == ["a", "b", "c"]
    assert [report.seconds for report in reports] == [1, 2, 3]


def test_the_plan_fits_a_call_of_ten_minutes(tmp_path):
    steps = plan_session(audio=tmp_path, device="cuda", small=False)
    assert steps[0].environment == {"EMBEDX_REQUIRE_GPU": "1"}
    assert sum(step.least_seconds for step in steps) < 570


@pytest.mark.full
def test_every_step_starts_on_a_cpu(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--device", "cpu", "--small", "--seconds", "2400"]) == 0, [
        path.read_text()[-2_000:] for path in tmp_path.glob("*.log")
    ]
    assert capsys.readouterr().out.count(": done") == 5
    speed = json.loads((tmp_path / "throughput-gpu.json").read_text())
    assert speed["small"]
    assert {"mix_of_1_to_15_s", "by_precision", "exactness", "attention", "profile"} <= set(speed)
