"""README shows what was measured, and nothing names a place that only the developers have."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import render
from benchmarks.record import RESULTS

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_what_was_measured():
    text = render.README.read_text(encoding="utf-8")
    assert render.fill(text) == text, "run: python -m benchmarks.render"


def test_a_table_is_drawn_with_its_note():
    record = {
        "tables": {"t": {"columns": ["a|b", "n"], "rows": [["x", 0.12345]], "note": "One note."}},
        "machine": {"cores": 2, "cpu": "CPU", "gpu": None},
        "versions": {"torch": "2.0"},
        "date": "2026-01-02T03:04:05",
    }
    drawn = render.draw(record, "t")
    assert drawn.splitlines()[:3] == ["| a\\|b | n |", "| --- | --- |", "| x | 0.123 |"]
    assert "One note. Measured 2026-01-02 on 2 cores of CPU, torch 2.0." in drawn


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_and_when(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {"date", "machine", "versions"} <= set(record)


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
