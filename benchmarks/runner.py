"""Steps of a suite, each a process of its own: kept when finished, with its time and the peak of its memory."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tools.record import OUTPUT_VARIABLE

__all__ = ["NOT_RUN", "Step", "run_steps"]

LAUNCHER = Path(__file__).resolve().parent / "tools" / "measure_process.py"
NOT_RUN = 4
"""Exit status by which a step says that it has nothing to run on; the reason stands in its output."""
NOTHING_SPENT = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0.0}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One measurement.

    Parameters
    ----------
    name : str
        Unique in the suite, such as ``tiny/esc10/maeb``.
    words : sequence of str
        Arguments of the interpreter; ``{out}`` stands for the file that the step writes its JSON into.
    depends : mapping
        What the result depends on beside ``words``: the hash of an encoder's weights. A finished step is kept as
        long as both stay the same.
    reason : str
        Why it cannot run at all here; empty when it can.
    python : str
        The interpreter, where it is not this one.
    environment : mapping of str to str
        Added to the environment.
    after : sequence of str
        Names of steps that must have ended before.
    alone : bool
        Whether nothing else may run meanwhile: its seconds are what is measured.
    shared : bool
        Whether other suites have the same step and keep one record of it.
    makes : str
        A file that it leaves beside its record: without it the record is not kept.
    """

    name: str
    words: Sequence[str]
    depends: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()
    alone: bool = True
    shared: bool = False
    makes: str = ""

    @property
    def key(self) -> str:
        """Return what a kept result is recognised by."""
        told = json.dumps([list(self.words), self.depends, self.python], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def _print(line: str) -> None:
    print(line, flush=True)


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    *,
    output: Path,
    again: bool = False,
    jobs: int = 1,
    shared: Path | None = None,
    say: Callable[[str], None] = _print,
) -> list[dict[str, Any]]:
    """Run what is not finished yet and return one record a step.

    Parameters
    ----------
    steps : sequence of Step
        In order; a step that fails stops none of the others.
    folder : path
        Where records and logs are kept from run to run.
    output : path
        Where benchmarks that write a result of their own put it.
    again : bool
        Run finished steps anew.
    jobs : int
        How many steps may run at a time, those that are ``alone`` never beside another.
    shared : path, optional
        Where those of shared steps are kept instead.
    say : callable
        Told one line a step.

    Returns
    -------
    list of dict
        ``step``, ``status`` (``done``, ``not run`` or ``failed``), ``seconds``, ``cpu_seconds`` (with its
        children's), ``peak_mb`` (of its largest process), ``date``, ``result`` or ``reason``.
    """
    places = {step.name: ((shared or folder) if step.shared else folder) / _file_of(step) for step in steps}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
    kept = {step.name: None if again else _kept(places[step.name], step) for step in steps}
    records = {name: record for name, record in kept.items() if record is not None}
    for number, (name, record) in enumerate(records.items(), start=1):
        say(f"[{number}/{len(steps)}] {name}: {_told(record)} kept")
    running: dict[Future[dict[str, Any]], Step] = {}
    waiting = [step for step in steps if step.name not in records]
    with _Launcher(max(jobs, 1)) as launcher:
        while waiting or running:
            while (step := _next(waiting, running, jobs)) is not None:
                waiting.remove(step)
                say(f"[{len(records) + len(running) + 1}/{len(steps)}] {step.name} ...")
                running[launcher.start(step, places[step.name], output)] = step
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step, record = running.pop(future), future.result()
                places[step.name].write_text(json.dumps(record), encoding="utf-8")
                records[step.name] = record
                say(f"[{len(records)}/{len(steps)}] {step.name}: {_told(record)}")
    return [records[step.name] for step in steps]


def _file_of(step: Step) -> str:
    return f"{step.name.replace('/', '.')}.json"


def _next(waiting: Sequence[Step], running: Mapping[Any, Step], jobs: int) -> Step | None:
    """Return the first step that may start now."""
    if len(running) >= max(jobs, 1) or any(step.alone for step in running.values()):
        return None
    open_names = {step.name for step in (*waiting, *running.values())}
    ready = (step for step in waiting if not open_names.intersection(step.after))
    return next((step for step in ready if not (step.alone and running)), None)


def _kept(place: Path, step: Step) -> dict[str, Any] | None:
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_same = record.get("status") == "done" and record.get("key") == step.key
    return dict(record) if is_same and (not step.makes or os.path.exists(step.makes)) else None


def _told(record: dict[str, Any]) -> str:
    if record["status"] == "done":
        return f"{record['seconds']:.1f} s ({record['cpu_seconds']:.1f} of a core), {record['peak_mb']:.0f} MB"
    return f"{record['status']}: {record['reason']}"


class _Launcher:
    """Starts steps beside each other, and stops them all when the run is interrupted."""

    def __init__(self, jobs: int) -> None:
        self.pool = ThreadPoolExecutor(jobs)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.is_stopped = False

    def __enter__(self) -> _Launcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.is_stopped = True
            for process in tuple(self.processes):
                process.send_signal(signal.SIGINT)
        self.pool.shutdown(cancel_futures=True)

    def start(self, step: Step, place: Path, output: Path) -> Future[dict[str, Any]]:
        """Start a step; the future holds its record."""
        return self.pool.submit(self._run, step, place, output)

    def _run(self, step: Step, place: Path, output: Path) -> dict[str, Any]:
        facts = {"step": step.name, "key": step.key, "date": _now()}
        if step.reason:
            return {**facts, "status": "not run", "reason": step.reason, **NOTHING_SPENT}
        out, log = place.with_suffix(".out"), place.with_suffix(".log")
        out.unlink(missing_ok=True)
        words = [word.replace("{out}", str(out)) for word in step.words]
        environment = {OUTPUT_VARIABLE: str(output), **step.environment}
        status, spent = self._timed([step.python, *words], log, environment)
        facts |= spent
        result = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
        out.unlink(missing_ok=True)
        if status == NOT_RUN and isinstance(result, dict) and "not_run" in result:
            return {**facts, "status": "not run", "reason": result["not_run"]}
        if status:
            return {**facts, "status": "failed", "reason": f"exit {status}: {_last_line(log)} (log: {log.name})"}
        return {**facts, "status": "done", "result": result}

    def _timed(self, words: Sequence[str], log: Path, environment: dict[str, str]) -> tuple[int, dict[str, float]]:
        """Run a command; return its exit status, wall seconds, processor seconds and peak of memory in MB."""
        report = log.with_suffix(".report")
        report.unlink(missing_ok=True)
        launcher = [sys.executable, "-S", "-E", str(LAUNCHER), str(report), str(os.getpid())]
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [*launcher, *words], stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=os.environ | environment
            )
            self.processes.add(process)
            if self.is_stopped:
                process.send_signal(signal.SIGINT)
            process.wait()
            self.processes.discard(process)
        if not report.is_file():
            return process.returncode or 1, NOTHING_SPENT
        found = json.loads(report.read_text(encoding="utf-8"))
        report.unlink()
        return found["status"], {name: round(found[name], 2) for name in NOTHING_SPENT}


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
