"""``embedx download``: from a CSV of links to labelled clips that ``embedx extract`` reads."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedx.download.fetch import FetchOptions
    from embedx.download.job import DownloadReport
    from embedx.download.plan import LinkPlan
    from embedx.download.result_tables import Division

from embedx.cli.download_options import add_arguments
from embedx.cli.terminal import interrupted_means, show
from embedx.text import count, printable

__all__ = ["add_arguments", "run"]

_BYTES_PER_SECOND = 32_000  # 16 kHz mono, 16 bits; FLAC needs less

_NEEDS_RUNTIME = "YouTube needs one and yt-dlp's scripts for it, pip install 'embedx[youtube]'"


@interrupted_means("what was reported as done is kept: run the same command again to resume")
def run(args: argparse.Namespace) -> int:
    """Plan, then report or fetch."""
    from embedx.download.result_tables import Division
    from embedx.errors import ParameterError

    plan = _plan(args, {})
    if args.check:
        return _check(plan, args)
    if args.dry_run:
        return _dry_run(plan, args)
    if args.output is None:
        raise ParameterError("name the folder for the clips: embedx download CSV FOLDER (or --check to look only)")
    division = Division(args.group, args.valid_fraction, args.test_fraction, args.seed)
    options = _options(args, is_youtube=_has_youtube(plan))
    if args.repair_ids:
        plan = _plan(args, _repair(plan, args, options))
    return _download(plan, args, options, division)


def _plan(args: argparse.Namespace, repairs: dict[str, str]) -> LinkPlan:
    from embedx.download.plan import plan_links

    return plan_links(
        args.csv,
        url_column=args.url_column,
        label_column=args.label_column,
        start=args.start,
        seconds=args.seconds,
        clips_per_video=args.clips_per_video,
        conflicts=args.conflicts,
        allow_private=args.allow_private,
        repairs=repairs,
    )


def _check(plan: LinkPlan, args: argparse.Namespace) -> int:
    from embedx.download.id_repair import is_stripped
    from embedx.download.links import DAMAGE_CAUSES

    columns = f"links from {plan.columns['url']!r}, labels from {plan.columns.get('label')!r}"
    show(f"{plan.place}: {count(len(plan.rows), 'row')}; {columns}")
    show()
    show(f"  {len(plan.damaged):>6,} damaged, never requested")
    for cause, n in plan.causes.most_common():
        show(f"    {n:>6,} {cause}: {DAMAGE_CAUSES[cause]}")
    if is_stripped(plan):
        show("           None begins or ends with a letter of 'https://www.youtube.com/watch?v=': that address was")
        show("           taken away with str.strip(), which eats the id's own letters too (not so removeprefix)")
    show(f"  {len(plan.rows) - len(plan.damaged):>6,} whole")
    show(f"  {plan.n_unique:>6,} unique ({plan.n_repeats:,} repeats)")
    show(f"  {len(plan.conflicts):>6,} conflicts: one link, two labels ({_conflict_rule(args)})")
    for conflict in plan.conflicts[:5]:
        rows = ", ".join(f"{row.label!r} in row {row.number}" for row in conflict.rows)
        show(f"           {conflict.url}: {rows}")
    _print_classes(plan)
    _print_environment(plan, args)
    return 3 if plan.damaged or plan.conflicts else 0


def _conflict_rule(args: argparse.Namespace) -> str:
    return (
        "left out; --conflicts first keeps the first label" if args.conflicts == "drop" else "the first label is kept"
    )


def _print_classes(plan: LinkPlan) -> None:
    unique = {(row.link.url, row.start, row.stop): row for row in reversed(plan.rows) if row.link.damage is None}
    counts = {
        "rows": Counter(row.label for row in plan.rows),
        "damaged": Counter(row.label for row in plan.damaged),
        "unique": Counter(row.label for row in unique.values()),
        "clips": Counter(request.label for request in plan.requests),
    }
    show()
    show(f"  {'class':<20}" + "".join(f"{name:>9}" for name in counts))
    for label, _ in counts["rows"].most_common(40):
        show(f"  {label or '(none)':<20}" + "".join(f"{counter[label]:>9,}" for counter in counts.values()))


def _print_environment(plan: LinkPlan, args: argparse.Namespace) -> None:
    from embedx.download.prerequisites import find_js_runtime, free_bytes, has_solver

    n_clips = _n_wanted(plan, args)
    need = n_clips * (args.seconds or 300.0) * _BYTES_PER_SECOND
    free = free_bytes(args.output or ".")
    show()
    show(f"  disk: at most {need / 1e9:.2f} GB for {count(n_clips, 'clip')}, {free / 1e9:.1f} GB free")
    if _has_youtube(plan):
        runtime = find_js_runtime()
        found = f"{runtime.name} {runtime.version} ({runtime.path})" if runtime else "none"
        show(f"  JavaScript runtime: {found}{'' if runtime and has_solver() else f': {_NEEDS_RUNTIME}'}")


def _has_youtube(plan: LinkPlan) -> bool:
    return any(request.row.link.host == "www.youtube.com" for request in plan.requests)


def _n_wanted(plan: LinkPlan, args: argparse.Namespace) -> int:
    counts = Counter(request.label for request in plan.requests)
    return sum(min(args.per_class or n, n) for n in counts.values())


def _dry_run(plan: LinkPlan, args: argparse.Namespace) -> int:
    from embedx.download.links import public_url
    from embedx.download.row_sampling import draw_order

    for label, requests in draw_order(plan.requests, seed=args.seed).items():
        for request in requests[: args.per_class]:
            fields = (
                request.key,
                label or "",
                public_url(request.url),
                str(request.start),
                str(request.seconds or "all"),
            )
            show("\t".join(map(printable, fields)))
    return 0


def _options(args: argparse.Namespace, *, is_youtube: bool) -> FetchOptions:
    from embedx.download.fetch import FetchOptions
    from embedx.download.prerequisites import find_js_runtime, has_solver, read_cookies

    cookies = read_cookies(args.cookies) if args.cookies else None  # bad input is refused before anything is said
    runtime = find_js_runtime()
    if is_youtube and not (runtime and has_solver()):
        show(f"embedx: warning: no JavaScript runtime with scripts: {_NEEDS_RUNTIME}", file=sys.stderr)
    return FetchOptions(
        cookies=cookies,
        proxy=args.proxy,
        timeout_seconds=args.timeout_seconds,
        deadline_seconds=args.deadline_seconds,
        max_bytes=args.max_bytes,
        max_duration_seconds=args.max_duration_seconds,
        allow_private=args.allow_private,
        js_runtimes={runtime.name: {"path": runtime.path}} if runtime else {},
    )


def _repair(plan: LinkPlan, args: argparse.Namespace, options: FetchOptions) -> dict[str, str]:
    from embedx.cli.progress import ProgressBar
    from embedx.download.fetch import Fetcher
    from embedx.download.id_repair import repair_rows
    from embedx.download.rate_limit import Hosts

    hosts = Hosts(pause_seconds=args.pause_seconds)
    with ProgressBar("repair", unit="ids") as bar:
        return repair_rows(plan, Path(args.output), search=Fetcher(options).search, hosts=hosts, progress=bar)


def _download(plan: LinkPlan, args: argparse.Namespace, options: FetchOptions, division: Division) -> int:
    from embedx.cli.progress import ProgressBar
    from embedx.download.api import download_plan
    from embedx.download.rate_limit import Hosts

    with ProgressBar("download", unit="clips") as bar:
        report = download_plan(
            plan,
            args.output,
            options,
            division=division,
            hosts=Hosts(pause_seconds=args.pause_seconds),
            per_class=args.per_class,
            jobs=args.jobs,
            retry_status=args.retry_status,
            progress=bar,
        )
    _print_report(report)
    return _exit_code(report, is_drawn=args.per_class is not None)


def _print_report(report: DownloadReport) -> None:
    from embedx.download.status import STATUSES

    labels = sorted({label for counts in report.table.values() for label in counts})[:8]
    show(f"{'status':<16}{'rows':>8}" + "".join(f"{(label or '(none)')[:14]:>15}" for label in labels))
    for word, counts in report.table.items():
        numbers = "".join(f"{counts.get(label, 0):>15,}" for label in labels)
        show(f"{word:<16}{sum(counts.values()):>8,}{numbers}")
    cost = f"{report.bytes_fetched / 1e6:.1f} MB fetched in {report.seconds:.0f} s"
    show()
    show(f"{count(report.n_new, 'new clip')}, {cost} -> {report.output}/manifest.csv")
    for word in report.table:
        if STATUSES[word].advice:
            show(f"  {word}: {STATUSES[word].advice}")
    for host, word in report.stopped.items():
        show(f"embedx: {host} was stopped ({word}): wait a few hours, then run the same command again", file=sys.stderr)


def _exit_code(report: DownloadReport, *, is_drawn: bool) -> int:
    if is_drawn and report.is_complete:
        return 0
    if report.stopped:
        return 4
    return 3 if is_drawn or set(report.table) - {"ok"} else 0
