"""Steps of a suite, each a process of its own: kept when finished, with its time and the peak of its memory."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import OUTPUT_VARIABLE

__all__ = ["NOT_RUN", "Step", "run_steps"]

LAUNCHER = Path(__file__).resolve().parent / "measured.py"
NOT_RUN = 4
"""Exit status by which a step says that it has nothing to run on; the reason stands in its output."""


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
    """

    name: str
    words: Sequence[str]
    depends: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return what a kept result is recognised by."""
        told = json.dumps([list(self.words), self.depends, self.python], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    *,
    output: Path,
    again: bool = False,
    say: Callable[[str], None] = print,
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
    say : callable
        Told one line a step.

    Returns
    -------
    list of dict
        ``step``, ``status`` (``done``, ``not run`` or ``failed``), ``seconds``, ``peak_mb`` (of its largest
        process), ``date``, ``result`` or ``reason``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, step in enumerate(steps, start=1):
        place = folder / f"{step.name.replace('/', '.')}.json"
        record = None if again else _kept(place, step)
        told = "kept"
        if record is None:
            say(f"[{number}/{len(steps)}] {step.name} ...")
            record, told = _run(step, place, output), ""
            place.write_text(json.dumps(record), encoding="utf-8")
        say(f"[{number}/{len(steps)}] {step.name}: {' '.join(filter(None, (_told(record), told)))}")
        records.append(record)
    return records


def _kept(place: Path, step: Step) -> dict[str, Any] | None:
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_same = record.get("status") == "done" and record.get("key") == step.key
    return dict(record) if is_same else None


def _told(record: dict[str, Any]) -> str:
    if record["status"] == "done":
        return f"{record['seconds']:.1f} s, {record['peak_mb']:.0f} MB"
    return f"{record['status']}: {record['reason']}"


def _run(step: Step, place: Path, output: Path) -> dict[str, Any]:
    facts = {"step": step.name, "key": step.key, "date": _now()}
    if step.reason:
        return {**facts, "status": "not run", "reason": step.reason, "seconds": 0.0, "peak_mb": 0.0}
    out, log = place.with_suffix(".out"), place.with_suffix(".log")
    out.unlink(missing_ok=True)
    words = [word.replace("{out}", str(out)) for word in step.words]
    status, seconds, peak = _timed([step.python, *words], log, {OUTPUT_VARIABLE: str(output), **step.environment})
    facts |= {"seconds": round(seconds, 2), "peak_mb": round(peak, 1)}
    result = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    out.unlink(missing_ok=True)
    if status == NOT_RUN and isinstance(result, dict) and "not_run" in result:
        return {**facts, "status": "not run", "reason": result["not_run"]}
    if status:
        return {**facts, "status": "failed", "reason": f"exit {status}: {_last_line(log)} (log: {log.name})"}
    return {**facts, "status": "done", "result": result}


def _timed(words: Sequence[str], log: Path, environment: dict[str, str]) -> tuple[int, float, float]:
    """Run a command; return its exit status, its wall seconds and the peak of its memory in MB."""
    report = log.with_suffix(".report")
    report.unlink(missing_ok=True)
    launcher = [sys.executable, "-S", "-E", str(LAUNCHER), str(report)]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*launcher, *words], stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=os.environ | environment
        )
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if not report.is_file():
        return process.returncode or 1, 0.0, 0.0
    found = json.loads(report.read_text(encoding="utf-8"))
    report.unlink()
    return found["status"], found["seconds"], found["peak_mb"]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
