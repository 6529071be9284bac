"""The documentation is true: its pages are built strictly, and what they tell a reader to do is done, as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)```(bash|python)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FIRST = DOCS / "tutorials" / "first-classifier.md"


def blocks_of(page):
    """The fenced blocks of a page that are to be run: indented ones (what needs a network or a GPU) are none."""
    for indent, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        yield language, "\n".join(lines)


PAGES = [
    page
    for page in sorted([*DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")])
    if page != FIRST and any(True for _ in blocks_of(page))
]


def follow(page, folder):
    """Do what a page says, block after block; its Python blocks share nothing but the folder."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, text in blocks_of(page):
        words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page.name}:\n{text}\n\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def after_the_first_tutorial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    follow(FIRST, folder)
    return folder


@pytest.mark.slow
def test_the_first_tutorial_leaves_what_it_says(after_the_first_tutorial):
    left = {path.name for path in after_the_first_tutorial.iterdir()}
    assert left >= {"sample", "emb.h5", "results", "model", "labels.csv"}
    assert (after_the_first_tutorial / "results" / "report.html").is_file()
    assert (after_the_first_tutorial / "model" / "model.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page, after_the_first_tutorial, tmp_path):
    folder = tmp_path / "here"
    shutil.copytree(after_the_first_tutorial, folder)
    if page.parent.name == "tutorials":  # they begin with nothing
        shutil.rmtree(folder)
        folder.mkdir()
    follow(page, folder)


@pytest.mark.slow
def test_the_notebook_runs_and_draws(tmp_path):
    pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from benchmarks.tools.notebook import run_notebook

    cells = run_notebook(DOCS / "tutorials" / "first-classifier.ipynb", tmp_path).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert (tmp_path / "model" / "model.json").is_file()


def test_the_notebook_keeps_what_it_printed():
    cells = json.loads((DOCS / "tutorials" / "first-classifier.ipynb").read_text(encoding="utf-8"))["cells"]
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ())) == 3


def test_a_recording_shows_what_a_terminal_showed(tmp_path):
    pytest.importorskip("pyte", reason="needs pyte")
    from benchmarks.tools.terminal import draw, record

    frames = record(["echo one '<' two", "printf '\\033[31mred\\033[0m'; sleep 0.6; printf '\\rgreen'"], tmp_path)
    texts = ["".join(ElementTree.fromstring(f"<svg>{row}</svg>").itertext()) for _, rows in frames for row in rows]
    shown = {text.rstrip() for text in texts}
    assert {"$ echo one '<' two", "one < two", "red", "green"} <= shown
    assert len(ElementTree.fromstring(draw(frames)).findall(".//{*}text")) == sum(bool(text) for text in texts)


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path):
    pytest.importorskip("mkdocs", reason="needs mkdocs")
    pytest.importorskip("mkdocstrings", reason="needs mkdocstrings")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "site" / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    names = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    from embedx.cli import COMMANDS

    assert all(f'id="{name}"' in commands for name in COMMANDS)
    assert "embedx.comparison.run.compare" in names or "embedx.comparison.compare" in names


def test_every_public_name_stands_in_the_reference():
    import embedx

    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    missing = [
        name for name in embedx.__all__ if name != "__version__" and not re.search(rf"::: \S+\.{name}$", page, re.M)
    ]
    assert not missing


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 7_000
