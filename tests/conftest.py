"""What every test stands on: no network but loopback, slow kinds by marker, missing things skipped by name."""

import contextlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
GUARD = Path(__file__).resolve().parent / "guard"
KEPT_BY_OTHERS = {f"torchinductor_{name}" for name in ("root", os.environ.get("USER", ""))}
OF_OTHERS = ("resource_tracker", "exec(eval(sys.stdin.readline()))")
"""Python's own, which ends with this process, and pytest-xdist's workers."""
SLOW = Path(__file__).resolve().parent / "slow.txt"
SHARED_DATA = ROOT.parent / "shared" / "data"

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles torch anew
sys.dont_write_bytecode = False
runpy.run_path(str(GUARD / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes beside each other would only fight for the cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: Ctrl-C could not be tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what is ``slow`` (CI runs it) and what is ``full`` (longer than CI allows) unless it is asked for.

    A test that is named on the command line is asked for, too.
    """
    wanted = config.option.markexpr or ""
    listed = [line for line in SLOW.read_text(encoding="utf-8").split("\n") if line and not line.startswith("#")]
    quick = tuple(line[1:] for line in listed if line.startswith("!"))
    by_hand = tuple(line[1:] for line in listed if line.startswith("+"))
    slow = tuple(line for line in listed if line[0] not in "!+")
    for item in items:
        if item.nodeid.startswith(by_hand):
            item.add_marker("full")
        if item.nodeid.startswith(slow) and not item.nodeid.startswith(quick):
            item.add_marker("slow")
    if any("::" in word for word in config.option.file_or_dir or ()):
        return
    absent = [
        item
        for item in items
        if any(name not in wanted and item.get_closest_marker(name) is not None for name in ("full", "slow"))
    ]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


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


def pytest_configure(config):
    """Give the session a mark that its processes inherit and a folder for what they leave behind."""
    if hasattr(config, "workerinput") or not config.option.numprocesses:
        return  # the process that started pytest-xdist's workers looks when they are gone; with -n0 there is none
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.gettempdir()
    config.left_behind = Leftovers()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fail when a test left processes or shared memory behind; name the temporary files that were left, too."""
    leftovers = getattr(session.config, "left_behind", None)
    found = leftovers.close() if leftovers else []
    if found:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line("")
        for line in found:
            reporter.write_line(f"LEFT BEHIND: {line}", red=True)
        if any(not line.startswith("file ") for line in found):  # files of killed processes are removed here
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


class Leftovers:
    """What the tests of this session have left behind when all of them are done."""

    PATIENCE_SECONDS = 30.0

    def __init__(self):
        self.mark = f"EMBEDX_TEST_SESSION={uuid.uuid4().hex}"
        os.environ.update([self.mark.split("=")])
        self.folder = Path(tempfile.mkdtemp(prefix="ex", dir="/tmp"))  # short: paths of sockets have 107 bytes
        os.environ["TMPDIR"] = str(self.folder)
        tempfile.tempdir = None
        self.memory = self._memory()

    def close(self):
        deadline = time.monotonic() + self.PATIENCE_SECONDS
        while set(found := self._found()) != {line for line in found if line.startswith("file ")}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        shutil.rmtree(self.folder, ignore_errors=True)
        return found

    def _found(self):
        files = [f"file {path}" for path in sorted(self.folder.iterdir()) if path.name not in KEPT_BY_OTHERS]
        return [*self._processes(), *files, *(f"shared memory {name}" for name in self._memory() - self.memory)]

    def _processes(self):
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                number, parent = int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()[1]
                ours = parent == str(os.getpid()) or self.mark.encode() in (folder / "environ").read_bytes()
                if ours and number != os.getpid():
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if words and not any(name in words for name in OF_OTHERS):
                        yield f"process {number}: {words[:200]}"

    def _memory(self):
        """Segments that no living process has mapped or has its number on: another session's are in use."""
        found = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else ()
        owners = {name: name.removeprefix("joblib_memmapping_folder_").partition("_")[0] for name in found}
        names = {f"/dev/shm/{name}" for name, owner in owners.items() if not os.path.exists(f"/proc/{owner}")}
        for folder in Path("/proc").glob("[0-9]*") if names else ():
            with contextlib.suppress(OSError):
                used = (folder / "maps").read_text()
                names = {name for name in names if name not in used}
        return names


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


@pytest.fixture(scope="session")
def make_dataset():
    """Synthetic clips without audio: three classes whose signal lies in the middle layer."""
    from embedx.testing import make_dataset

    return make_dataset
