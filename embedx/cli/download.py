"""``embedx download``: from a CSV of links to labelled clips that ``embedx extract`` reads."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("csv", help="CSV with a column of links (URLs, bare YouTube ids, or local files) and a label")
    parser.add_argument("output", nargs="?", help="folder for the clips; not needed with --check")
    parser.add_argument("--check", action="store_true", help="report rows, classes and damage; request nothing")
    parser.add_argument("--url-column", help="column of links (guessed from the usual names)")
    parser.add_argument("--label-column", help="column of labels (guessed from the usual names)")
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="length of a clip, or 'all' (default 30)")
    parser.add_argument("--start", type=_start, default="middle", help="seconds, 'middle' or 'random' (default middle)")
    parser.add_argument("--per-class", type=_count, help="so many clips a class, drawn until they succeed")
    parser.add_argument("--clips-per-video", type=_count, default=1, help="clips of every video, spread evenly")
    parser.add_argument("--valid-fraction", type=_fraction, default=0.0, help="share of every class for validation")
    parser.add_argument("--test-fraction", type=_fraction, default=0.0, help="share of every class for testing")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and the splits")
    parser.add_argument("--conflicts", choices=("drop", "first"), default="drop", help="clips with two labels")
    parser.add_argument("--jobs", type=_count, default=4, help="clips at a time, one a host (default 4)")
    parser.add_argument("--allow-private", action="store_true", help="also reach this machine and private networks")


def run(args: argparse.Namespace) -> int:
    """Plan, then report or fetch."""
    from embedx.download.plan import plan_links
    from embedx.errors import ParameterError

    plan = plan_links(
        args.csv,
        url_column=args.url_column,
        label_column=args.label_column,
        start=args.start,
        seconds=args.seconds,
        clips_per_video=args.clips_per_video,
        conflicts=args.conflicts,
        allow_private=args.allow_private,
    )
    if args.check:
        return _check(plan)
    if args.output is None:
        raise ParameterError("name the folder for the clips: embedx download CSV FOLDER (or --check to look only)")
    return _download(plan, args)


def _check(plan: Any) -> int:
    from embedx.download.links import DAMAGE_CAUSES

    n_whole = len(plan.rows) - len(plan.damaged)
    print(
        f"{plan.place}: {len(plan.rows):,} rows; links from {plan.columns['url']!r}, labels from {plan.columns.get('label')!r}"
    )
    print(f"  damaged    {len(plan.damaged):>6,}  never requested")
    for cause, n in plan.causes.most_common():
        print(f"             {n:>6,}  {cause}: {DAMAGE_CAUSES[cause]}")
    print(f"  whole      {n_whole:>6,}")
    print(
        f"  unique     {plan.n_unique:>6,}  ({plan.n_repeats} repeats, {len(plan.conflicts)} with conflicting labels)"
    )
    unique = {row.link.url: row for row in reversed(plan.rows) if row.link.damage is None}
    counts = {
        "rows": Counter(row.label for row in plan.rows),
        "damaged": Counter(row.label for row in plan.damaged),
        "unique": Counter(row.label for row in unique.values()),
        "to fetch": Counter(ask.label for ask in plan.asks),
    }
    print(f"\n  {'class':<20}" + "".join(f"{name:>10}" for name in counts))
    for label, _ in counts["rows"].most_common():
        print(f"  {label or '(none)':<20}" + "".join(f"{counter[label]:>10,}" for counter in counts.values()))
    return 3 if plan.damaged or plan.conflicts else 0


def _download(plan: Any, args: argparse.Namespace) -> int:
    from embedx.cli.progress import ProgressBar
    from embedx.download.fetch import Fetcher, FetchOptions
    from embedx.download.job import download

    options = FetchOptions(allow_private=args.allow_private)
    with ProgressBar("download", unit="clips") as bar:
        report = download(
            plan,
            args.output,
            make_fetcher=lambda is_stopped: Fetcher(options, is_stopped=is_stopped),
            per_class=args.per_class,
            jobs=args.jobs,
            valid_fraction=args.valid_fraction,
            test_fraction=args.test_fraction,
            seed=args.seed,
            progress=bar,
        )
    for word, labels in report.table.items():
        print(
            f"{word:<15} {sum(labels.values()):>6,}  "
            + ", ".join(f"{label or '(none)'} {n}" for label, n in labels.items())
        )
    if report.stopped:
        return 4
    failed = set(report.table) - {"ok"}
    if args.per_class is not None:
        return 0 if report.is_complete else 3
    return 3 if failed else 0


def _seconds(text: str) -> float | None:
    if text == "all":
        return None
    value = float(text)
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text} is no length in seconds (more than 0, or 'all')")
    return value


def _start(text: str) -> float | str:
    if text in ("middle", "random"):
        return text
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is no start (seconds from 0, 'middle' or 'random')")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to below 1")
    return value
