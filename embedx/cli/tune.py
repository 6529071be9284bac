"""``embedx tune``: look for good parameters; run it in several processes on one study to go faster."""

from __future__ import annotations

import argparse
import json

from embedx.cli.output_paths import write_json
from embedx.cli.terminal import show
from embedx.cli.tracking_options import add_tracking_argument, tracked
from embedx.cli.training_options import add_data_arguments, add_tuning_arguments, read_parts, run_tuning

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data_arguments(parser)
    add_tuning_arguments(parser)
    add_tracking_argument(parser)
    parser.add_argument("--json", metavar="FILE", help="write the best parameters and every trial")


def run(args: argparse.Namespace) -> int:
    """Tune and print the best trials."""
    from embedx.heads.catalog import get_head
    from embedx.tracking import log_data, log_tuning

    get_head(args.head)
    with tracked(args, "tune") as trackers:
        train, _ = read_parts(args)
        log_data(trackers, train)
        tuned = run_tuning(args, train, trackers)
        log_tuning(trackers, tuned)
    sign = 1 if tuned.metric == "log_loss" else -1
    complete = [trial for trial in tuned.history if trial["state"] == "complete"]
    for trial in sorted(complete, key=lambda t: (sign * t["value"], t["number"]))[:5]:
        show(f"  trial {trial['number']:>4}: {trial['value']:.4f}  {json.dumps(trial['params'])}")
    if args.json:
        record = {"head": args.head, "metric": tuned.metric, "value": tuned.value, "params": tuned.params}
        write_json(args.json, {**record, "trials": tuned.history})
    return 0
