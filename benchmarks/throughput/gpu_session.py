"""All that a GPU is wanted for, in one call of under ten minutes on a machine that is empty and has no network.

    python -m benchmarks.throughput.gpu_session --out FOLDER                          # on the GPU
    python -m benchmarks.throughput.gpu_session --out FOLDER --device cpu --small     # does every step start?

Steps come in the order of their value and each writes what it found as soon as it is there; ``session.json`` says after
each how it ended. A step that does not fit into what is left of the time is left out and said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.tools.record import OUTPUT_VARIABLE
from embedx.files import replace_file

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "embedx" / "assets" / "sample" / "audio"

Run = Callable[[Sequence[str], Mapping[str, str], Path, float], int | None]


@dataclass(frozen=True)
class Step:
    """One process of the session."""

    name: str
    words: Sequence[str]
    most_seconds: float
    least_seconds: float = 20.0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Report:
    """How a step ended."""

    name: str
    status: str
    seconds: float


def plan_session(*, audio: Path, device: str, small: bool) -> list[Step]:
    """Return the steps, the most valuable first."""
    on_gpu = device.startswith("cuda")
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu and (slow or not slow)"]
    required = {"EMBEDX_REQUIRE_GPU": "1"} if on_gpu else {}
    others = [f"tests/{name}" for name in ("extract", "heads", "finetune")]
    speed = ["-m", "benchmarks.throughput.gpu", "--audio", str(audio), "--device", device]
    speed += ["--small", "--rounds", "1"] if small else ["--rounds", "2", "--clips", "200"]
    steps = [
        Step("exactness tests", [*tests, "-x", "tests/encoders"], 150, environment=required),
        Step("speed", speed, 240),
        Step("other tests", [*tests, *others], 120, environment=required),
    ]
    training = ["--small", "--steps", "2", "--rounds", "1"] if small else ["--steps", "20", "--batch-size", "16"]
    steps.append(Step("fine-tuning speed", ["-m", "benchmarks.finetune.throughput", *training], 90))
    quality = ["--epochs", "1", "--per-class", "5", "--max-seconds", "1"] if small else []
    steps.append(Step("fine-tuning quality", ["-m", "benchmarks.finetune.quality", "sample", *quality], 120))
    return steps if on_gpu else [replace(step, most_seconds=float("inf")) for step in steps]  # no call to fit into


def run_session(
    steps: Sequence[Step], out: Path, *, seconds: float, run: Run, clock: Callable[[], float] = time.monotonic
) -> list[Report]:
    """Run what fits into the time, and write down after each step how it ended.

    Parameters
    ----------
    steps : sequence of Step
        In the order in which they are wanted.
    out : Path
        Where results, one log a step and ``session.json`` go.
    seconds : float
        For all of them together.
    run : callable
        ``run(words, environment, log, seconds)`` gives an exit status, or None when the time was up.
    clock : callable
        Seconds that have passed.
    """
    started, reports = clock(), []
    for step in steps:
        begun = clock()
        left = seconds - (begun - started)
        if left < step.least_seconds:
            reports.append(Report(step.name, "left out: no time", 0.0))
        else:
            log = out / f"{step.name.replace(' ', '-')}.log"
            status = run(step.words, step.environment, log, min(step.most_seconds, left))
            reports.append(Report(step.name, _in_words(status), round(clock() - begun, 1)))
        with replace_file(out / "session.json") as file:
            json.dump([asdict(report) for report in reports], file, indent=1)
    return reports


def _in_words(status: int | None) -> str:
    if status is None:
        return "ended: its time was up"
    return "done" if status == 0 else f"failed: exit status {status}"


def run_process(words: Sequence[str], environment: Mapping[str, str], log: Path, seconds: float) -> int | None:
    """Run Python with these words; what it prints goes into the log."""
    with log.open("w", encoding="utf-8") as file:
        try:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, OUTPUT_VARIABLE: str(log.parent), "PYTHONUNBUFFERED": "1", **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
    return done.returncode


def main(words: Sequence[str] | None = None) -> int:
    """Run the session and print a line a step; 0 when every step was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results and logs")
    parser.add_argument("--audio", type=Path, default=SAMPLE, help="folder with recordings (default: the sample)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="few clips and steps: only to see everything run")
    parser.add_argument("--seconds", type=float, default=570.0)
    args = parser.parse_args(words)
    args.out.mkdir(parents=True, exist_ok=True)
    steps = plan_session(audio=args.audio.resolve(), device=args.device, small=args.small)
    reports = run_session(steps, args.out.resolve(), seconds=args.seconds, run=run_process)
    for report in reports:
        print(f"{report.name}: {report.status}, {report.seconds:g} s")
    return 0 if all(report.status == "done" for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
