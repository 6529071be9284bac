"""A real Ray cluster of two nodes on loopback, with a home and a temporary folder of its own."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import h5py
import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def ray_home():
    """Set what Ray reads from the environment, before it is imported: HOME, a short RAY_TMPDIR, loopback only."""
    home = Path(tempfile.mkdtemp(prefix="er", dir="/tmp"))
    patch = pytest.MonkeyPatch()
    settings = {
        "HOME": str(home),
        "RAY_TMPDIR": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every cluster of a test builds an environment of its own
        "OMP_NUM_THREADS": "1",
    }
    for name, value in settings.items():
        patch.setenv(name, value)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    patch.delenv("RAY_ADDRESS", raising=False)
    patch.syspath_prepend(str(HERE))
    yield home
    patch.undo()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_cluster(ray_home):
    """A head without CPUs and one node with two; its address is what ``--address`` takes."""
    pytest.importorskip("ray", reason="needs embedx[ray]")
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "object_store_memory": 10**8,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster = patiently(Cluster, initialize_head=True, head_node_args=head)
    patiently(cluster.add_node, num_cpus=2, object_store_memory=10**8, node_ip_address="127.0.0.1")
    yield cluster
    cluster.shutdown()


def patiently(start, **options):
    """Start a node; Ray gives it 30 seconds, which a busy machine may not keep to."""
    for n_left in (2, 1, 0):
        try:
            return start(**options)
        except Exception as error:  # ray raises a bare one
            if n_left == 0 or "timed out during startup" not in str(error):
                raise
    raise AssertionError


@pytest.fixture(scope="session")
def runners(ray_home):
    """The module of fake runners, under the name by which the workers import it."""
    import cluster_runners

    assert sys.modules["cluster_runners"] is cluster_runners
    return cluster_runners


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


@pytest.fixture(scope="session")
def reference(clips, run_embedx, tmp_path_factory):
    """The store that the local engine writes."""
    store = tmp_path_factory.mktemp("local") / "emb.h5"
    done = run_embedx("extract", clips, "-o", store, "--encoder", "tiny")
    assert done.returncode == 3, done.stderr
    return store


@pytest.fixture(scope="session")
def contents():
    """``contents(store)``: every dataset and attribute to the bit, but who computed, and where the store lies."""

    def read(store):
        with h5py.File(store) as file:
            found = {}

            def note(name, item):
                facts = (item.shape, item.dtype, item.chunks, item[()].tobytes()) if hasattr(item, "dtype") else ()
                found[name] = (*facts, {key: str(value) for key, value in item.attrs.items()})

            file.visititems(note)
            found["/"] = {key: str(value) for key, value in file.attrs.items()}
            root = json.loads(file.attrs["embedx_root"])
        del found["environments"], found["/"]["embedx_root"]
        return found, root["absolute"]

    return read
