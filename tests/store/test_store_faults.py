"""SIGKILL, full disks and power cuts at every step that changes the disk; see faults.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def faults(kind: str, folder: Path, points: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("faults.py")), kind, str(folder), "--points", str(points)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.kill
@pytest.mark.parametrize(
    "points", [8, pytest.param(24, marks=pytest.mark.slow), pytest.param(10**6, marks=pytest.mark.full)]
)
def test_killed_at_any_step_nothing_reported_is_lost(tmp_path: Path, points: int) -> None:
    found = faults("kill", tmp_path, points)
    assert found["wrong"] == []
    assert found["killed"] == found["points"] >= min(points, 40)


@pytest.mark.kill
@pytest.mark.parametrize(
    "points", [8, pytest.param(24, marks=pytest.mark.slow), pytest.param(10**6, marks=pytest.mark.full)]
)
def test_power_cut_at_any_step_nothing_reported_is_lost(tmp_path: Path, points: int) -> None:
    found = faults("power", tmp_path, points)
    assert found["wrong"] == []
    assert found["points"] >= min(points, 40)


@pytest.mark.kill
@pytest.mark.parametrize(
    "points", [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(10**6, marks=pytest.mark.full)]
)
def test_disk_full_at_any_step_is_one_clear_line_and_no_loss(tmp_path: Path, points: int) -> None:
    found = faults("full", tmp_path, points)
    assert found["wrong"] == []
    assert found["refused"] >= found["points"] // 2
