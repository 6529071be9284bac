"""Every way in which Python is started here leaves alone what lies in the folder that a user stands in."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedx.child_process import import_path, python_command

ROOT = Path(__file__).resolve().parent.parent
HIJACKED = ("json", "random", "ctypes", "struct", "select", "socket", "queue", "numpy", "torch", "av", "joblib", "h5py")
STARTERS = ("subprocess.", "multiprocessing.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
HIJACKER = """
import importlib, os, sys
with open(os.environ["EMBEDX_TEST_NOTE"], "a") as notes:
    words = open("/proc/self/cmdline").read().split(chr(0))
    print(__name__, *(word.replace(chr(10), " ")[:60] for word in words[:6]), file=notes)
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
del sys.modules[__name__]
importlib.import_module(__name__)
"""


@pytest.fixture
def hostile(tmp_path, tone_folder):
    """A folder of recordings among which modules lie that must not run, and what they would leave a note in."""
    folder = tmp_path / "recordings"
    shutil.copytree(tone_folder, folder)
    for name in HIJACKED:
        (folder / f"{name}.py").write_text(HIJACKER)
    return folder, tmp_path / "notes.txt"


@pytest.fixture
def run_among(hostile):
    """Run a command in the hostile folder and assert that nothing of it was run."""
    folder, notes = hostile

    def run(*words, returncode=0, **environment):
        facts = {**os.environ, "EMBEDX_TEST_NOTE": str(notes), **environment}
        words = [sys.executable, *map(str, words)]
        done = subprocess.run(words, cwd=folder, env=facts, capture_output=True, text=True, timeout=500, check=False)
        assert not notes.exists(), notes.read_text()
        assert done.returncode == returncode, done.stderr
        return done

    return run


EMBEDX = ("-m", "embedx")
EXTRACT = (*EMBEDX, "extract", ".", "--encoder", "tiny", "--compute-dtype", "float32")


def test_the_trap_works(hostile):
    folder, notes = hostile
    facts = {**os.environ, "EMBEDX_TEST_NOTE": str(notes)}
    subprocess.run([sys.executable, "-c", "import json; json.dumps(1)"], cwd=folder, env=facts, check=True)
    assert notes.read_text().startswith("json ")


def test_fork_server_encoder_and_decoders(run_among, tmp_path):
    run_among(*EXTRACT, "-o", tmp_path / "emb.h5")


def test_what_looks_at_libraries(run_among):
    run_among(*EMBEDX, "doctor")


def test_a_child_of_a_prompt_is_safe_too(hostile, monkeypatch):
    folder, notes = hostile
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("EMBEDX_TEST_NOTE", str(notes))
    program = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); import {', '.join(HIJACKED[:8])}"
    subprocess.run(python_command(program), check=True)
    assert not notes.exists(), notes.read_text()


@pytest.mark.slow
def test_workers_of_compare_and_tune(run_among, tmp_path):
    store = tmp_path / "emb.h5"
    run_among(*EXTRACT, "-o", store)
    words = ("--heads", "logreg", "--folds", "2", "--no-curves", "--no-auto", "--jobs", "2", "-o", tmp_path / "results")
    run_among(*EMBEDX, "compare", store, *words)
    library = "from embedx import load_embeddings, compare, tune\nd = load_embeddings(sys.argv[1])\n"
    processes = "import embedx.comparison.fit_schedule as s\ns.START_SECONDS = 0\n"  # however little there is to do
    program = f"{library}{processes}compare(d, heads=['logreg'], folds=2, curves=False, auto=False, n_jobs=2)\n"
    run_among("-P", "-c", f"import sys\n{program}", store)
    run_among("-P", "-c", f"import sys\n{library}tune(dataset=d, head='logreg', n_trials=2, n_jobs=2)\n", store)


@pytest.mark.slow
@pytest.mark.finetune
def test_processes_of_torchrun(run_among, tmp_path):
    launcher = ("-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *EMBEDX)
    words = ("fit", ".", "--head", "finetune", "--encoder", "tiny", "--epochs", "1", "--device", "cpu")
    run_among(*launcher, *words, "-o", tmp_path / "model")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.full  # was not seen to pass yet
def test_workers_of_ray(run_among, tmp_path):
    pytest.importorskip("ray", reason="needs embedx[ray]")
    run_among(*EXTRACT, "-o", tmp_path / "emb.h5", "--engine", "ray", RAY_TMPDIR=f"/tmp/er{os.getpid()}")


def test_no_other_way_is_in_use():
    """Whoever adds one adds a test above."""
    starts = {}
    for path in (ROOT / "embedx").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called.startswith(STARTERS) or called.split(".")[-1] in ("Parallel", "ProcessPoolExecutor"):
                starts.setdefault(path.relative_to(ROOT / "embedx").as_posix(), []).append(called)
    assert starts == {
        "audio/decode_pool.py": ["subprocess.Popen"],
        "download/prerequisites.py": ["subprocess.run"],  # ffmpeg and deno, by their whole path
        "child_process.py": ["subprocess.Popen"],  # the fork server
        "doctor/libraries.py": ["subprocess.run"],
        "doctor/system.py": ["subprocess.run"],  # sysctl of macOS, by its whole path
        "extract/fork_server.py": ["os.fork"],
        "tuning/objective.py": ["Parallel"],
        "tuning/parallel.py": ["joblib.Parallel", "joblib.Parallel"],  # folds of a comparison, here or on Ray
    }


def test_a_child_imports_what_its_parent_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/opt/first", *sys.path, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = import_path()
    assert found[0] == "/opt/first"
    assert found[-1] == str(tmp_path), "what comes after the standard library hides nothing of it"
    assert found.count(str(tmp_path)) == 1
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_path()[:3] == [str(tmp_path), str(tmp_path), "/opt/first"]
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.chdir(ROOT)
    assert str(ROOT) in import_path(), "embedx itself is imported from here"
    *_, path, parent, word = python_command("pass", "word")
    assert (json.loads(path), int(parent), word) == (import_path(), os.getpid(), "word")


UNDER_A_LIMIT = """
import os, resource, threading
from embedx.errors import RunnerError
from embedx.child_process import require_room
resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
os.setuid(54_321)  # root has no such limit
require_room(4, "four")
try:
    require_room(5, "five")
except RunnerError as error:
    print(error)
require_room(4, "four again")
print(threading.active_count())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who has no other process")
def test_a_limit_on_processes_is_found_before_anything_is_imported():
    found = subprocess.run([sys.executable, "-P", "-c", UNDER_A_LIMIT], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    message, n_threads = found.stdout.splitlines()
    assert message.startswith("five cannot be started: this machine allows no more processes and threads")
    assert n_threads == "1"
