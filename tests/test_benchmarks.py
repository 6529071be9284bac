"""README shows what was measured, and nothing names a place that only the developers have."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.tools import record, render
from benchmarks.tools.record import RESULTS

ROOT = Path(__file__).resolve().parent.parent


DRAWN = re.compile(r"<!-- (?:table|figures): .*?<!-- end -->", re.DOTALL)
CODE = re.compile(r"```.*?```|^    .*?$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
MEASURED = re.compile(
    r"\b\d[\d.,]*\s?(?:%|s|ms|us|min|minutes?|h|hours?|seconds?|[kMGT]B|MiB|GiB|x|times|points|rows/s|TFLOP/s)(?!\w)"
)
FACTS = {
    "25 %": "a guess among the sample's four classes",
    "95 %": "how near to the accuracy with all labels is near enough",
}
"""What looks measured in the prose and is none: every other number belongs into a JSON and a table drawn from it."""
ABOUT_THE_CHECKPOINT = re.compile(r"`tiny` is a wav2vec2 of .*? of audio", re.DOTALL)


@pytest.mark.parametrize("page", render.PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_pages_show_what_was_measured(page):
    text = page.read_text(encoding="utf-8")
    assert render.fill(text) == text, "run: python -m benchmarks render"


def test_the_figures_show_what_was_measured():
    stale = [path for path, text in render.draw_figures().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python -m benchmarks render"


@pytest.mark.parametrize("page", render.PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_no_measured_number_stands_outside_a_drawn_table(page):
    text = page.read_text(encoding="utf-8")
    assert DRAWN.findall(text)
    prose = CODE.sub("", ABOUT_THE_CHECKPOINT.sub("", DRAWN.sub("", text)))
    found = {" ".join(number.split()) for number in MEASURED.findall(prose)} - set(FACTS)
    assert not found, "measure it into a JSON (benchmarks.tools.record) and let `python -m benchmarks render` draw it"


def test_a_number_in_prose_would_be_found():
    found = MEASURED.findall("It took 39 s, reached 91.4 %, is 3.3 x faster and reads 2,072 MB; exit code 3, 5 folds.")
    assert found == ["39 s", "91.4 %", "3.3 x", "2,072 MB"]


def test_a_result_that_is_not_there_is_said():
    drawn = render.fill("<!-- table: nothing scores -->\nold\n<!-- end -->")
    assert "Not measured yet" in drawn
    assert "old" not in drawn
    assert "Not drawn yet" in render.fill("<!-- figures: nothing -->\n<!-- end -->")


def test_results_can_be_kept_apart_from_what_is_committed(tmp_path, monkeypatch):
    monkeypatch.setenv(record.OUTPUT_VARIABLE, str(tmp_path))
    path = record.write_result("it", tables={"t": record.table(["a"], [[1.5]])}, figures={})
    assert path.parent == tmp_path
    assert "| 1.5 |" in render.show(path)


def test_a_table_is_drawn_with_its_note():
    result = {
        "tables": {"t": {"columns": ["a|b", "n"], "rows": [["x", 0.12345]], "note": "One note."}},
        "machine": {"cores": 2, "cpu": "CPU", "gpu": None},
        "versions": {"torch": "2.0"},
        "date": "2026-01-02T03:04:05",
    }
    drawn = render.draw(result, "t")
    assert drawn.splitlines()[:3] == ["| a\\|b | n |", "| --- | --- |", "| x | 0.123 |"]
    assert "One note. Measured 2026-01-02 on 2 cores of CPU, torch 2.0." in drawn


@pytest.mark.parametrize(
    ("column", "load", "is_said"), [("fit, s", 3.1, True), ("fit, s", 2.0, False), ("n", 9, False)]
)
def test_seconds_of_a_crowded_machine_are_said_to_be_upper_bounds(column, load, is_said):
    result = {
        "tables": {"t": {"columns": [column], "rows": [[1]], "note": ""}},
        "machine": {"cores": 2, "cpu": "CPU", "gpu": None},
        "versions": {},
        "date": "2026-01-02T03:04:05",
        "load": load,
    }
    assert ("upper bounds" in render.draw(result, "t")) == is_said


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_and_when(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", result["date"])
    assert result["machine"]["cpu"]
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["torch"]


def test_no_file_names_a_registry_or_a_developers_place():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("needs a git checkout")
    banned = re.compile(r"pypi\.org|pythonhosted|registry\.npm|/work/(main|shared|wt-)")
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".json", ".yaml", ".sh", ".csv", ".html", ""}
            and path != Path(__file__).resolve()
        ):
            found += [name] if banned.search(path.read_text(encoding="utf-8", errors="ignore")) else []
    assert not found
