"""The folder of the service: gone in the end, and what a kill left is taken away by the next one."""

import os
import subprocess
import sys
import tempfile

from embedx.serve.scratch import scratch_folder

KILLED = """
import os, signal
from embedx.serve.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "0.upload").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_removed_and_what_is_in_use_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "embedx-serve-other"  # of an embedx that held no lock
    elsewhere.mkdir()
    with scratch_folder() as own:
        subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
        (left,) = set(tmp_path.iterdir()) - {own, elsewhere}
        assert (left / "0.upload").is_file()
        with scratch_folder() as other:
            assert set(tmp_path.iterdir()) == {own, other, elsewhere}
    assert set(tmp_path.iterdir()) == {elsewhere}
