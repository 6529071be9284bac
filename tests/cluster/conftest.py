"""A real Ray cluster of two nodes on loopback, with a home and a temporary folder of its own."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

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
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2, object_store_memory=10**8, node_ip_address="127.0.0.1")
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="session")
def runners(ray_home):
    """The module of fake runners, under the name by which the workers import it."""
    import cluster_runners

    assert sys.modules["cluster_runners"] is cluster_runners
    return cluster_runners
