"""Draw the tables of README.md, docs/benchmarks and the bundled encoder's README from benchmarks/results.

    python -m benchmarks render            # rewrite them
    python -m benchmarks render --check    # fail if they do not show what was measured
    python -m benchmarks render FILE.json  # print the tables of any result

A table stands between ``<!-- table: FILE NAME -->`` and ``<!-- end -->``; FILE is a JSON file in
benchmarks/results without its ending, NAME one of the tables in it. ``<!-- figures: FILE -->`` to ``<!-- end -->``
holds all figures of a result.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tools.figures import draw_figure
from benchmarks.tools.record import RESULTS

README = Path(__file__).resolve().parents[2] / "README.md"
DOCS = README.parent / "docs" / "benchmarks"
PAGES = (README, *sorted(DOCS.glob("*.md")), README.parent / "embedx" / "assets" / "tiny" / "README.md")
_FIGURES = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PLACE = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def draw(record: dict[str, Any], name: str) -> str:
    """Return one table of a result as Markdown, with its note and where it was measured."""
    table = record["tables"][name]
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    drawn = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in lines]
    machine, versions = record["machine"], record["versions"]
    where = f"{machine['cores']} cores of {machine['cpu']}" + (f", {machine['gpu']}" if machine["gpu"] else "")
    told = f"Measured {record['date'][:10]} on {where}, torch {versions.get('torch', '?')}."
    note = f"{table['note']}{_beside(record, table)} {told}".strip()
    return "\n".join([*drawn, "", f"<sub>{note}</sub>", ""])


def _beside(record: dict[str, Any], table: dict[str, Any]) -> str:
    """Say so where seconds were taken while more than the measured ran: a load beyond the cores tells."""
    is_timed = any(re.search(r"seconds|, s$", column) for column in table["columns"])
    is_crowded = record.get("load", 0) > record["machine"]["cores"] + 0.5
    return " Other work ran beside it: seconds are upper bounds." if is_timed and is_crowded else ""


def fill(text: str) -> str:
    """Return a page's text with every table drawn anew."""

    def one(match: re.Match[str]) -> str:
        place = RESULTS / f"{match[2]}.json"
        if not place.is_file():
            return f"{match[1]}Not measured yet: there is no `benchmarks/results/{match[2]}.json`.\n{match[4]}"
        return f"{match[1]}{draw(json.loads(place.read_text(encoding='utf-8')), match[3])}{match[4]}"

    return _FIGURES.sub(_list_figures, _PLACE.sub(one, text))


def _list_figures(match: re.Match[str]) -> str:
    place = RESULTS / f"{match[2]}.json"
    figures = json.loads(place.read_text(encoding="utf-8"))["figures"] if place.is_file() else {}
    lines = [f"![{one['title']}](figures/{match[2]}-{name}.svg)" for name, one in sorted(figures.items())]
    return "\n".join([match[1].rstrip(), *(lines or ["Not drawn yet."]), match[3]])


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def draw_figures(folder: Path = RESULTS, target: Path = DOCS / "figures") -> dict[Path, str]:
    """Return every figure that the results in a folder describe, as SVG, by the file that it belongs into."""
    drawn = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for name, figure in record.get("figures", {}).items():
            drawn[target / f"{record['benchmark']}-{name}.svg"] = draw_figure(figure)
    return drawn


def write_figures(folder: Path, target: Path) -> list[Path]:
    """Write the figures that are not drawn yet or have changed; return them."""
    stale = [(path, text) for path, text in draw_figures(folder, target).items() if not _says(path, text)]
    for path, text in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [path for path, _ in stale]


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def show(path: Path) -> str:
    """Return all tables of one result, each under its name."""
    record = json.loads(path.read_text(encoding="utf-8"))
    return "\n".join(f"{record['benchmark']}: {name}\n\n{draw(record, name)}" for name in record["tables"])


def main(words: Sequence[str] | None = None) -> int:
    """Rewrite the pages, say that they are out of date, or print results."""
    words = sys.argv[1:] if words is None else words
    if files := [Path(word) for word in words if word.endswith(".json")]:
        for path in files:
            print(show(path))
        return 0
    stale = [page for page in PAGES if fill(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    if "--check" in words:
        stale += [path for path, text in draw_figures().items() if not _says(path, text)]
        names = ", ".join(str(page.relative_to(README.parent)) for page in stale)
        print(f"out of date: {names}: python -m benchmarks render" if stale else "the pages show what was measured")
        return int(bool(stale))
    for page in stale:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
    write_figures(RESULTS, DOCS / "figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
