"""Every example runs as a reader would run it."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name, *words, cwd):
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("name", "promise"),
    [("three_lines.py", "saved to three-lines-model"), ("own_pipeline.py", "accuracy over 5 folds")],
)
def test_examples_on_the_sample(name, promise, tmp_path):
    done = run(name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert promise in done.stdout


def test_plain_h5py_reads_a_store(tone_folder, tmp_path, run_embedx):
    assert run_embedx("extract", tone_folder, "-o", tmp_path / "emb.h5", "--encoder", "tiny").returncode == 0
    done = run("read_store.py", tmp_path / "emb.h5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 rows, 5 layers of 192" in done.stdout
