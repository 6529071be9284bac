"""``embedx extract --engine ray`` gives the file that ``embedx extract`` gives, whoever dies meanwhile."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("parts", ["driver", "worker"])
def test_ray_gives_the_file_that_local_gives(ray_cluster, clips, reference, contents, run_embedx, tmp_path, parts):
    store = tmp_path / "emb.h5"
    words = ["extract", clips, "-o", store, "--encoder", "tiny", "--engine", "ray", "--address", ray_cluster.address]
    done = run_embedx(*words, "--parts", parts)
    assert done.returncode == 3, done.stderr
    assert contents(store) == contents(reference)
    again = run_embedx(*words)
    assert "nothing to compute" in again.stdout


IMPATIENT = "import embedx.store.store as s; s.COMMIT_CLIPS = 1; from embedx.cli import main; raise SystemExit(main())"


def test_a_killed_driver_goes_on_where_it_stopped(ray_cluster, clips, reference, contents, run_embedx, tmp_path):
    store = tmp_path / "emb.h5"
    words = ["extract", clips, "-o", store, "--encoder", "tiny", "--engine", "ray", "--address", ray_cluster.address]
    driver = subprocess.Popen([sys.executable, "-c", IMPATIENT, *map(str, words), "--max-workers", "1"])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("emb.h5.parts/0*.h5")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = run_embedx(*words)
    assert done.returncode == 3, done.stderr
    n_before = int(re.search(r"(\d+) done before", done.stdout)[1])
    assert 0 < n_before < 130
    assert contents(store) == contents(reference)


def test_uv_run_in_a_folder_of_data_ships_nothing(ray_home, tone_folder, tmp_path, monkeypatch):
    """Ray would make a package of the folder and an environment from it for each worker, or refuse the folder."""
    if shutil.which("uv") is None:
        pytest.skip("needs uv")
    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", raising=False)
    words = ["extract", str(tone_folder), "-o", "emb.h5", "--encoder", "tiny", "--engine", "ray"]
    project = Path(__file__).resolve().parents[2]
    uv = ["uv", "run", "--no-sync", "--project", str(project), "python", "-m", "embedx"]
    done = subprocess.run([*uv, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "emb.h5").is_file()
    assert not list(ray_home.rglob("_ray_pkg_*"))
