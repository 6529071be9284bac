"""Ctrl-C: ends at once, keeps what is done, leaves no process behind, and the next run goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.kill


def _workers_of(group):
    """Return living decoding workers whose parent is gone or is the given process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if b"embedx.audio.worker" in command and parent in (group, 1):
            found.append(int(entry.name))
    return found


def test_ctrl_c_ends_within_three_seconds_and_the_next_run_goes_on(tmp_path, run_embedx):
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 10)
    (tmp_path / "clips").mkdir()
    for i in range(600):
        soundfile.write(tmp_path / "clips" / f"{i:03}.wav", noise, 16_000)
    words = ["extract", "clips", "-o", "emb.h5", "--encoder", "tiny", "--dtype", "float32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "embedx", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    for line in process.stderr:
        found = re.search(r"extract: (\d+)/600", line)
        if found and int(found[1]) >= 64:
            break
    workers = _workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    message = process.stderr.readline()
    while "interrupted" not in message and message:
        message = process.stderr.readline()
    seconds = time.monotonic() - started
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in message
    assert "Traceback" not in message + rest
    assert seconds < 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # 3 s on a machine of its own
    time.sleep(1.0)
    assert workers
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    for i in range(300, 600):
        (tmp_path / "clips" / f"{i:03}.wav").unlink()  # the rest need not be waited for
    done = run_embedx(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"(\d+) (clips )?(were )?done before", done.stdout)[1]) >= 64
