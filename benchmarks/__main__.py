"""Run the benchmarks, draw their tables, compare two results.

python -m benchmarks run --quick                                  # what a newcomer can measure in minutes
python -m benchmarks run --suite quality --encoder tiny,base-random --data DATA --full
python -m benchmarks render [--check | FILE.json ...]
python -m benchmarks compare old.json new.json
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.encoders import describe_unknown
from benchmarks.options import DEFAULT_ENCODERS, Options
from benchmarks.quality.report import quality_result, step_measures, steps_table
from benchmarks.quality.tasks import NotRun, read_tasks
from benchmarks.questions.answers import questions_result
from benchmarks.runner import run_steps
from benchmarks.suites import DEFAULT, SUITES, plan_suite
from benchmarks.tools import regression, render
from benchmarks.tools.record import OUTPUT_VARIABLE, write_result

DATA_VARIABLE = "EMBEDX_BENCHMARK_DATA"


def main(words: list[str] | None = None) -> int:
    """Dispatch; return 0 done, 2 bad usage, 3 done but some steps failed, 130 interrupted."""
    words = sys.argv[1:] if words is None else words
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command == "render":
        return render.main(rest)
    if command == "compare":
        return regression.main(rest)
    if command == "run":
        return run(rest)
    print(f"python -m benchmarks {command}: give run, render or compare\n\n{__doc__}", file=sys.stderr)
    return 2


def run(words: list[str]) -> int:
    """Run suites, write their results and print their tables."""
    args = _parse(words)
    if isinstance(args, str):
        print(args, file=sys.stderr)
        return 2
    output = args.output.resolve()
    os.environ[OUTPUT_VARIABLE] = str(output)
    options = Options(
        encoders=args.encoder,
        data=args.data.resolve() if args.data else None,
        work=args.work.resolve(),
        output=output,
        quick=not args.full,
        tasks=args.tasks,
    )
    started, failed = time.monotonic(), 0
    try:
        for name in args.suite:
            failed += _run_suite(name, options, again=args.again, jobs=args.jobs)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where it stopped", file=sys.stderr)
        return 130
    print(f"{', '.join(args.suite)}: {time.monotonic() - started:.0f} s, results in {output}")
    return 3 if failed else 0


def _parse(words: list[str]) -> argparse.Namespace | str:
    parser = argparse.ArgumentParser(prog="python -m benchmarks run", description="Run suites; finished steps are kept")
    parser.add_argument("--suite", default=",".join(DEFAULT), help=f"of {', '.join(SUITES)} (default: %(default)s)")
    parser.add_argument(
        "--encoder",
        default=",".join(DEFAULT_ENCODERS),
        help="tiny, tiny-random, base-random, folders or hub ids (default: %(default)s)",
    )
    parser.add_argument("--tasks", default="", help="only these, with commas")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get(DATA_VARIABLE),
        help=f"folder with the tasks' folders (default: ${DATA_VARIABLE})",
    )
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"), help="what is kept from run to run")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder of the JSON")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="minutes on two cores (the default)")
    size.add_argument("--full", action="store_true", help="what README shows")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="steps at a time, timed ones apart (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="run finished steps anew")
    args = parser.parse_args(words)
    args.data = Path(args.data) if args.data else None
    args.suite = [name for name in args.suite.split(",") if name]
    args.tasks = [name for name in args.tasks.split(",") if name]
    args.encoder = [name for name in args.encoder.split(",") if name]
    wrong = next(_problems(args), None)
    return args if wrong is None else f"python -m benchmarks run: {wrong}"


def _problems(args: argparse.Namespace) -> Iterator[str]:
    """Yield what is wrong with the words, each in one line."""
    named = {"suite": (args.suite, SUITES), "task": (args.tasks, read_tasks())}
    for what, (names, known) in named.items():
        yield from (f"unknown {what} {name!r}: give one of {', '.join(known)}" for name in names if name not in known)
    unknown = filter(None, map(describe_unknown, args.encoder))
    yield from (f"unknown {told}" for told in unknown)
    for what in ("suite", "encoder"):
        if not getattr(args, what):
            yield f"--{what} is empty: name at least one"
    if args.data and not args.data.is_dir():
        yield f"--data {args.data}: no such folder"
    if args.jobs < 1:
        yield f"--jobs {args.jobs}: give 1 or more"
    for what in ("work", "output"):
        try:
            getattr(args, what).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield f"--{what} {getattr(args, what)}: no folder can be made there ({error.strerror}); give another"


def _run_suite(name: str, options: Options, *, again: bool, jobs: int) -> int:
    print(f"== {name}, {'quick' if options.quick else 'full'}")
    try:
        steps = plan_suite(name, options)
    except NotRun as reason:
        print(f"not run: {reason}")
        return 0
    size = "quick" if options.quick else "full"
    before = {path: path.stat().st_mtime_ns for path in options.output.glob("*.json")}
    folders = {"folder": options.work / size / name, "shared": options.work / "shared", "output": options.output}
    records = run_steps(steps, **folders, again=again, jobs=jobs)
    path = _write(name, records, options)
    fresh = [p for p in sorted(options.output.glob("*.json")) if before.get(p) != p.stat().st_mtime_ns]
    for one in fresh if path is None else [path, *(p for p in fresh if p != path)]:
        print(render.show(one))
    for figure in render.write_figures(options.output, options.output / "figures"):
        print(f"figure: {figure}")
    return sum(record["status"] == "failed" for record in records)


def _write(name: str, records: list[dict[str, Any]], options: Options) -> Path | None:
    """Write what a suite's records become; engines that write results of their own have done so already."""
    asked = {"encoders": list(options.encoders), "quick": options.quick, "tasks": list(options.tasks)}
    if name == "quality":
        return write_result(name, **quality_result(records, options.chosen_tasks(), quick=options.quick), asked=asked)
    if name == "questions":
        return write_result(name, **questions_result(records, options.output), asked=asked)
    if name == "peers":
        from benchmarks.peers.plan import peers_result

        return write_result(name, **peers_result(records), asked=asked)
    measures, drawn = step_measures(records), {"steps": steps_table(records)}
    return write_result(f"suite-{name}", tables=drawn, measures=measures, records=records, asked=asked)


if __name__ == "__main__":
    sys.exit(main())
