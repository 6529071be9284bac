"""Draw the tables of README.md from the measurements in benchmarks/results.

    python -m benchmarks.render            # rewrite README.md
    python -m benchmarks.render --check    # fail if README.md does not show what was measured

A table stands between ``<!-- table: FILE NAME -->`` and ``<!-- end -->``; FILE is a JSON file in
benchmarks/results without its ending, NAME one of the tables in it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
_PLACE = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def draw(record: dict[str, Any], name: str) -> str:
    """Return one table of a result as Markdown, with its note and where it was measured."""
    table = record["tables"][name]
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    drawn = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in lines]
    machine, versions = record["machine"], record["versions"]
    where = f"{machine['cores']} cores of {machine['cpu']}" + (f", {machine['gpu']}" if machine["gpu"] else "")
    told = f"Measured {record['date'][:10]} on {where}, torch {versions.get('torch', '?')}."
    note = f"{table['note']} {told}".strip()
    return "\n".join([*drawn, "", f"<sub>{note}</sub>", ""])


def fill(text: str) -> str:
    """Return README's text with every table drawn anew."""

    def one(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / f"{match[2]}.json").read_text(encoding="utf-8"))
        return f"{match[1]}{draw(record, match[3])}{match[4]}"

    return _PLACE.sub(one, text)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def main() -> int:
    """Rewrite README, or say that it is out of date."""
    old = README.read_text(encoding="utf-8")
    new = fill(old)
    if "--check" in sys.argv[1:]:
        print(
            "README.md shows what was measured"
            if old == new
            else "README.md is out of date: python -m benchmarks.render"
        )
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
