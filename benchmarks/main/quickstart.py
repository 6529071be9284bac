"""Measure the main job as a user runs it, and write benchmarks/results/quickstart.json.

    python -m benchmarks.main.quickstart

Runs ``embedx quickstart`` in an empty folder as a process of its own, and takes the table from the
comparison.json that it wrote.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tools.record import table, write_result

COLUMNS = ["head", "accuracy, %", "95 % interval", "balanced accuracy, %", "macro F1, %", "log-loss", "fit, s"]


def main() -> None:
    """Run, read, write."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "embedx", "quickstart"], cwd=folder, capture_output=True, text=True, check=True
        )
        seconds = time.monotonic() - started
        results = Path(folder) / "embedx-quickstart" / "results" / "comparison.json"
        record = json.loads(results.read_text(encoding="utf-8"))
    rows = [head_row(row) for row in record["rows"]]
    note = (
        "152 recordings, four classes of 38 (guessing: 25 %), five official folds, encoder `tiny` "
        f"(it never heard these classes). `embedx quickstart` took {seconds:.0f} s in all."
    )
    path = write_result(
        "quickstart",
        tables={"heads": table(COLUMNS, rows, note=note)},
        seconds=round(seconds, 1),
        verdict=record["verdict"],
        output=done.stdout.splitlines(),
    )
    print(f"wrote {path}")


def head_row(row: dict[str, Any]) -> list[Any]:
    scores, interval = row["scores"], row["intervals"].get("accuracy")
    bounds = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "-"
    fit = sum(fold["seconds_fit"] for fold in row["folds"])
    percents = [f"{100 * scores[name]:.1f}" for name in ("accuracy", "balanced_accuracy", "macro_f1")]
    return [row["title"], percents[0], bounds, *percents[1:], f"{scores['log_loss']:.3f}", f"{fit:.1f}"]


if __name__ == "__main__":
    main()
