"""``embedx extract --engine ray`` gives the file that ``embedx extract`` gives, whoever dies meanwhile."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embedx.store.store import read_store

pytestmark = pytest.mark.ray


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of 130 short WAV files (three units), one that is no audio and one that is too short."""
    from embedx.testing import make_tone, write_wav

    root = tmp_path_factory.mktemp("clips")
    for i in range(130):
        write_wav(str(root / f"{i:03}.wav"), make_tone(200 + 5 * i, seconds=0.1 + 0.005 * (i % 30), seed=i))
    (root / "text.wav").write_text("this is no audio")
    write_wav(str(root / "short.wav"), make_tone(440, seconds=0.01))
    return root


def assert_same_store(one, other):
    """Everything but the environments."""
    a, b = read_store(one), read_store(other)
    assert a.recipe == b.recipe
    assert a.sources == b.sources
    assert a.errors == b.errors
    for name in ("status", "hashes", "row0", "n_rows", "embeddings", "control", "clip", "start_seconds", "end_seconds"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.fixture(scope="session")
def reference(ray_home, clips, run_embedx, tmp_path_factory):
    """The store that the local engine writes."""
    store = tmp_path_factory.mktemp("local") / "emb.h5"
    done = run_embedx("extract", clips, "-o", store, "--encoder", "tiny")
    assert done.returncode == 3, done.stderr
    return store


@pytest.mark.parametrize("parts", ["driver", "worker"])
def test_ray_gives_the_file_that_local_gives(ray_cluster, clips, reference, run_embedx, tmp_path, parts):
    store = tmp_path / "emb.h5"
    words = ["extract", clips, "-o", store, "--encoder", "tiny", "--engine", "ray", "--address", ray_cluster.address]
    done = run_embedx(*words, "--parts", parts)
    assert done.returncode == 3, done.stderr
    assert_same_store(store, reference)
    again = run_embedx(*words)
    assert "nothing to compute" in again.stdout


IMPATIENT = "import embedx.store.store as s; s.COMMIT_CLIPS = 1; from embedx.cli import main; raise SystemExit(main())"


def test_a_killed_driver_goes_on_where_it_stopped(ray_cluster, clips, reference, run_embedx, tmp_path):
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
    assert_same_store(store, reference)


def test_shards_write_one_store_and_the_plain_command_publishes(clips, reference, run_embedx, tmp_path):
    store = tmp_path / "emb.h5"
    words = ["extract", clips, "-o", store, "--encoder", "tiny"]
    command = [sys.executable, "-m", "embedx", *map(str, words)]
    shards = [subprocess.Popen([*command, "--shard", f"{i}/2"]) for i in range(2)]
    assert {shard.wait(timeout=200) for shard in shards} <= {0, 3}
    assert not store.exists()
    done = run_embedx(*words)
    assert "nothing to compute" in done.stdout
    assert_same_store(store, reference)


@pytest.mark.parametrize("words", [("--shard", "0/2"), ("--engine", "ray", "--parts", "worker")])
def test_what_several_write_nobody_overwrites(clips, run_embedx, tmp_path, words):
    done = run_embedx("extract", clips, "-o", tmp_path / "emb.h5", "--encoder", "tiny", "--overwrite", *words)
    assert done.returncode == 2
    assert "cannot begin it anew" in done.stderr
