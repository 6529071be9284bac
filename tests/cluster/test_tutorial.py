"""The tutorial on several machines, word for word, on two machines with one cable between them.

The machines are network and process namespaces of this one: addresses, ports, home folders and processes of their
own, and no way out. So nothing listens where others could reach it, and killing its first process ends a machine.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = {"head": "10.77.0.1", "worker": "10.77.0.2"}
SMALL = "--object-store-memory=100000000 --num-cpus=1"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def commands():
    """The lines of the section's first block, without their comments."""
    section = (ROOT / "docs/tutorials/cluster.md").read_text(encoding="utf-8").split("## Ray")[1]
    block = re.search(r"(?:^    .*\n)+", section, re.MULTILINE)[0]
    return [re.split(r"\s{2,}#", line.strip())[0] for line in block.splitlines()]


def told(*words):
    """Run a command of the system."""
    return subprocess.run(words, check=True, capture_output=True, text=True)


class Machine:
    """A machine of its own, as far as networks and processes go; ``first`` is its first process."""

    def __init__(self, name):
        self.name, self.address = name, ADDRESSES[name]
        self.exported = {}
        self.home = Path(tempfile.mkdtemp(prefix="er", dir="/tmp"))
        flags = ["--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
        shell = "echo $$ && exec sleep infinity"
        self._boot = subprocess.Popen(["unshare", *flags, "sh", "-c", shell], stdout=subprocess.PIPE, text=True)
        self._boot.stdout.readline()
        (self.first,) = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()

    def enter(self, *words):
        return ["nsenter", "--target", self.first, "--net", "--pid", "--mount", *words]

    def run(self, command, folder):
        """Run a line of README: what is added makes it small, and names the encoder that is here."""
        words = command.replace("HEAD:", f"{ADDRESSES['head']}:")
        words += f" {SMALL}" if command.startswith("ray start") else ""
        words += " --include-dashboard=false" if "--head" in command else ""
        words += " --encoder tiny" if command.startswith("embedx extract") else ""
        own = {"HOME": str(self.home), "RAY_TMPDIR": str(self.home), "RAY_USAGE_STATS_ENABLED": "0"}
        own |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        options = {"env": kept | own | self.exported, "capture_output": True, "text": True, "timeout": 300}
        return subprocess.run(self.enter("bash", "-c", f"cd {folder} && {words}"), **options, check=False)

    def end(self):
        os.kill(int(self.first), signal.SIGKILL)
        self._boot.wait()
        self._boot.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def machines():
    """The head and a worker, on one cable."""
    pytest.importorskip("ray", reason="needs embedx[ray]")
    try:
        told("unshare", "--net", "--pid", "--fork", "--mount-proc", "true")
        told("ip", "-V")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs namespaces of the network (root on Linux) and iproute2")
    head, worker = found = [Machine(name) for name in ADDRESSES]
    try:
        ends = ("netns", head.first, "type", "veth", "peer", "name", "cable", "netns", worker.first)
        told("ip", "link", "add", "cable", *ends)
        for machine in found:
            told(*machine.enter("ip", "address", "add", f"{machine.address}/24", "dev", "cable"))
            for device in ("lo", "cable"):
                told(*machine.enter("ip", "link", "set", device, "up"))
            told(*machine.enter("ip", "route", "add", "default", "dev", "cable"))  # so that Ray finds its own address
        yield head, worker
    finally:
        for machine in found:
            machine.end()


def test_the_section_works_as_written(machines, clips, reference, contents, tmp_path):
    head, worker = machines
    install, export, token, start, join, extract = commands()
    assert install == "pip install 'embedx[ray]'"  # it is
    for machine in machines:
        machine.exported = dict([export.removeprefix("export ").split("=")])
    (tmp_path / "clips.csv").write_text("\n".join(["path", *sorted(map(str, clips.iterdir()))]) + "\n")
    for machine, command in ((head, token), (head, start), (worker, join)):
        if machine is worker:
            shutil.copytree(head.home / ".ray", worker.home / ".ray")
        done = machine.run(command, tmp_path)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    done = head.run(extract, tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr  # two of the clips are bad
    assert "130 clips" in done.stdout
    found, expected = contents(tmp_path / "emb.h5")[0], contents(reference)[0]
    for name in ("embeddings", "control", "clip", "start", "end", "crc32", "clips/status", "clips/sha256"):
        assert found[name] == expected[name], name
    for _ in range(20):  # what it says is some seconds old
        nodes = head.run("ray status", tmp_path).stdout
        if nodes.count("1 node_") == 2:
            break
    assert nodes.count("1 node_") == 2, nodes
