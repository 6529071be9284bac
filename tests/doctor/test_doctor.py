"""The doctor works where everything else does not."""

import http.server
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from embedx.cli import main
from embedx.doctor import hub, libraries, system

GUARD = Path(__file__).resolve().parents[1] / "guard"
BLOCKER = """
import runpy, sys
runpy.run_path({guard!r})
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_a_healthy_machine_has_no_problem(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "found.json")]) == 0
    assert "no problem: this machine can run embedx" in capsys.readouterr().out
    findings = json.loads((tmp_path / "found.json").read_text())["findings"]
    names = {one["name"] for one in findings}
    assert {"python", "memory", "file locks here", "open files", "torch", "scikit-learn", "FFmpeg", "umap"} <= names
    assert {one["section"] for one in findings} >= {"system", "places", "libraries", "gpu", "audio", "extras", "hub"}


def test_half_of_the_libraries_may_be_missing_and_one_may_end_python(tmp_path):
    names = "torch torchaudio transformers numpy h5py huggingface_hub sklearn packaging tqdm"
    blocker = BLOCKER.format(guard=str(GUARD / "sitecustomize.py"), names=names.split())
    (tmp_path / "sitecustomize.py").write_text(blocker)
    (tmp_path / "soundfile.py").write_text("import os\nos.abort()\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    words = [sys.executable, "-m", "embedx", "doctor", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    found = {one["name"]: one for one in json.loads((tmp_path / "found.json").read_text())["findings"]}
    for name in ("torch", "numpy", "h5py", "scikit-learn"):
        assert found[name]["level"] == "problem"
        assert "No module named" in found[name]["value"]
        assert found[name]["advice"].startswith(f"pip install --force-reinstall '{name}")
    assert "it ends Python" in found["soundfile"]["value"]
    assert found["accelerate"]["level"] == "problem"  # it imports torch
    assert found["argcomplete"]["level"] == "ok"
    assert "problem: torch: " in done.stdout


def test_what_is_not_installed_or_too_old_gets_its_command():
    missing = libraries._library("no-such-library", "no-such-library>=1", {"error": "No module"})
    assert (missing.level, missing.advice) == ("problem", "pip install 'no-such-library>=1'")
    old = libraries._library("numpy", "numpy>=999; python_version > '3'", {})
    assert (old.level, old.advice) == ("problem", "pip install 'numpy>=999'")


def test_a_card_that_torch_does_not_see_is_a_problem(monkeypatch):
    monkeypatch.setattr(libraries.glob, "glob", lambda pattern: ["/dev/nvidia0"] if "nvidia" in pattern else [])
    for_cpu, hidden, seen = (
        next(iter(libraries._gpu(told))) for told in ({}, {"built": "13.0"}, {"built": "13.0", "cuda": ["H100"]})
    )
    assert "for CPU only" in for_cpu.value
    assert "does not see it" in hidden.value
    assert (seen.level, seen.value) == ("ok", "H100 (torch for 13.0)")


def test_few_open_files_are_noted():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        files = next(iter(system.limits()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (files.value, files.level, files.advice) == ("200", "note", "ulimit -n 4096")


def test_a_disk_without_locks_is_a_problem(monkeypatch):
    monkeypatch.setattr(system, "has_locks", lambda _: False)
    assert {one.name: one.level for one in system.places()}["file locks here"] == "problem"


class _Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_hub_is_asked_only_when_that_is_said_and_never_waited_for(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "not asked" in next(iter(hub.reachable(ask=False))).value
        assert next(iter(hub.reachable(ask=True))).level == "note"
    monkeypatch.setattr(hub, "_SECONDS", 60.0)
    with http.server.HTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert next(iter(hub.reachable(ask=True))).value == "answers"
        server.shutdown()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline" in next(iter(hub.reachable(ask=True))).value


@pytest.mark.parametrize("text", ["1", "true"])
def test_offline_is_said_in_the_hubs_words(monkeypatch, text):
    monkeypatch.setenv("HF_HUB_OFFLINE", text)
    assert "offline" in next(iter(hub.reachable(ask=True))).value
