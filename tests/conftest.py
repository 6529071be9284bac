"""What every test stands on: no network but loopback, slow kinds by marker, missing things skipped by name."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
GUARD = Path(__file__).resolve().parent / "guard"
SHARED_DATA = ROOT.parent / "shared" / "data"

runpy.run_path(str(GUARD / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes beside each other would only fight for the cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: Ctrl-C could not be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out what is longer than CI allows unless it is asked for by ``-m full``."""
    if "full" in (config.option.markexpr or ""):
        return
    kept = [item for item in items if item.get_closest_marker("full") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full") is not None])
    items[:] = kept


def pytest_runtest_setup(item):
    """A GPU test skips by name without a GPU, and fails with EMBEDX_REQUIRE_GPU=1."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("EMBEDX_REQUIRE_GPU") == "1":
        pytest.fail("EMBEDX_REQUIRE_GPU=1, but there is no CUDA device")
    pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def shared_data():
    """The real audio sets beside the project's checkout; users have none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (ESC-10, FSDD), which only the developers have")
    return SHARED_DATA


@pytest.fixture(scope="session")
def run_embedx():
    """Run the command line in a process of its own: ``run_embedx("info", path)`` -> CompletedProcess."""

    def run(*words, cwd=None, timeout=240, **options):
        command = [sys.executable, "-m", "embedx", *map(str, words)]
        return subprocess.run(command, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture(scope="session")
def tone_folder(tmp_path_factory):
    """A folder of real WAV files: three classes (pitches) of eight clips of a second, four groups."""
    from embedx.testing import make_tone, write_wav

    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    for name, pitch in (("high", 1_500.0), ("low", 200.0), ("middle", 600.0)):
        (root / name).mkdir()
        for i in range(8):
            samples = make_tone(pitch * rng.uniform(0.9, 1.1), seconds=rng.uniform(0.6, 1.4), noise=0.05, seed=i)
            write_wav(str(root / name / f"{i}.wav"), samples)
    return root


def pytest_ignore_collect(collection_path, config):
    """Helpers and scripts among the tests hold no doctests: only test files and conftests are collected."""
    inside = Path(__file__).resolve().parent in collection_path.parents
    helper = collection_path.suffix == ".py" and not collection_path.name.startswith(("test_", "conftest"))
    return True if inside and helper else None


def _make_dataset(n=60, n_classes=3, n_layers=3, dim=8, seed=0, groups=True, split=None, gap=1.5):
    from embedx import Dataset, Recipe, Source

    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    X = rng.normal(size=(n, n_layers, dim))
    centres = rng.normal(size=(n_classes, dim)) * gap
    X[:, n_layers // 2] += centres[codes]
    sources = tuple(
        Source(
            f"clip_{i:04d}.wav",
            label=f"class {codes[i]}",
            group=f"g{i // (2 * n_classes)}" if groups else None,
            split=None if split is None else split[i % len(split)],
        )
        for i in range(n)
    )
    return Dataset(
        X=X.reshape(n, -1).astype(np.float16),
        control=rng.normal(size=(n, 128)).astype(np.float32),
        sources=sources,
        recipe=Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=tuple(range(n_layers))),
        root="/data",
        seconds=np.ones(n),
        hashes=rng.integers(0, 255, (n, 32)).astype(np.uint8),
    )


@pytest.fixture(scope="session")
def make_dataset():
    """Synthetic clips without audio: three classes whose signal lies in the middle layer."""
    return _make_dataset
