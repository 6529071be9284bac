"""Compare heads on a store as a user does, and keep the table: benchmarks/results/NAME.json.

    embedx extract esc10/clips.csv -o esc10.h5 --encoder tiny
    python -m benchmarks.main.report esc10 esc10.h5 --folds split --output results/

The report lies in ``--output``; README's picture is a screenshot of it.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.main.quickstart import COLUMNS, head_row
from benchmarks.tools.record import table, write_result


def main() -> None:
    """Run ``embedx compare`` as a process of its own and read what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("store")
    parser.add_argument("--folds", default="split")
    parser.add_argument("--heads", default="logreg,lgbm,mlp")
    parser.add_argument("--note", default="")
    parser.add_argument("--output", default="results")
    args = parser.parse_args()
    words = [args.store, "--heads", args.heads, "--folds", args.folds, "--jobs", "2", "-o", args.output]
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "embedx", "compare", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    record = json.loads((Path(args.output) / "comparison.json").read_text(encoding="utf-8"))
    rows = [head_row(row) for row in record["rows"]]
    note = f"{args.note} `embedx compare` took {seconds:.0f} s.".strip()
    path = write_result(
        args.name, tables={"heads": table(COLUMNS, rows, note=note)}, verdict=record["verdict"], facts=record["facts"]
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
