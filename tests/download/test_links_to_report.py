"""The example that goes the whole way, on a server of this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "youtube_to_report.py"

pytestmark = [pytest.mark.download, pytest.mark.slow]


def test_from_links_to_a_report(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--demo", "--per-class", "5", str(tmp_path / "all")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for text in ("1 damaged, never requested", "15 new clips", "15 clips", "log-mel", "the report lies in"):
        assert text in done.stdout
    assert (tmp_path / "all" / "report" / "report.html").stat().st_size > 10_000
