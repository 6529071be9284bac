"""Many processes on one store, and processes that are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from embedx.errors import StoreBusyError
from embedx.store.part_files import PartsFolder
from embedx.store.store import EmbeddingStore

ROOT = Path(__file__).parents[2]


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("writers.py")), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.kill
def test_four_writers_two_publishers_and_a_plain_reader(fixtures: ModuleType, tmp_path: Path) -> None:
    store, stop = tmp_path / "emb.h5", tmp_path / "stop"
    manifest = fixtures.make_manifest(tmp_path / "audio", 120)
    others = [start("publish", store, manifest.root, stop) for _ in range(2)]
    others.append(start("read", store, manifest.root, stop))
    for writer in [start("write", store, manifest.root, i, 4) for i in range(4)]:
        finish(writer)
    time.sleep(0.5)
    stop.touch()
    published, also, reads = (int(finish(process)) for process in others)
    assert published + also > 0
    assert reads > 0
    assert fixtures.extract(store, manifest) == 0
    fixtures.extract(tmp_path / "reference.h5", manifest)
    assert fixtures.contents(store) == fixtures.contents(tmp_path / "reference.h5")
    assert fixtures.leftovers(store) == []


@pytest.mark.kill
def test_killed_twice_at_random_moments(fixtures: ModuleType, tmp_path: Path) -> None:
    """Real processes, real SIGKILLs, wherever they happen to be; a publisher among them."""
    manifest = fixtures.make_manifest(tmp_path / "audio", 120)
    fixtures.extract(tmp_path / "reference.h5", manifest)
    rng = random.Random(1)
    for trial in range(2):
        store, stop = tmp_path / f"{trial}.h5", tmp_path / f"stop{trial}"
        for _ in range(2):
            crowd = [start("write", store, manifest.root, i, 2) for i in range(2)]
            crowd.append(start("publish", store, manifest.root, stop))
            time.sleep(rng.uniform(0.6, 1.6))
            for process in crowd:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        fixtures.extract(store, manifest)
        assert fixtures.contents(store) == fixtures.contents(tmp_path / "reference.h5")
        assert fixtures.leftovers(store) == []


def test_the_busy_publisher_is_named(fixtures: ModuleType, tmp_path: Path) -> None:
    manifest = fixtures.make_manifest(tmp_path / "audio")
    store = tmp_path / "emb.h5"
    fixtures.extract(store, manifest, publish=False)
    with EmbeddingStore(store, fixtures.RECIPE, root=manifest.root) as late, PartsFolder(store).locked():
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match=rf"published by process {os.getpid()} on \S+"):
            late.publish(wait_seconds=0.2)
        assert time.monotonic() - started < 5


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_really_full_disk(fixtures: ModuleType, tmp_path: Path) -> None:
    """A tmpfs of 300 kB: first commits fill it, then a publication does not fit."""
    from embedx.errors import StoreError
    from embedx.store.store import read_store

    disk = tmp_path / "disk"
    if os.geteuid() != 0 or not mounted(disk, "300k"):
        pytest.skip("mounting a tmpfs needs root; test_disk_full_at_any_step covers the rest")
    try:
        manifest = fixtures.make_manifest(tmp_path / "audio", 240)
        reported: list[str] = []
        with pytest.raises(StoreError, match=r"No space left on device.*run the same command again"):
            fixtures.extract(disk / "emb.h5", manifest, report=lambda sources: reported.extend(s.uri for s in sources))
        assert reported
        assert not list(disk.glob("emb.h5.parts/.tmp-*"))
        subprocess.run(["mount", "-o", "remount,size=100M", str(disk)], check=True)
        again: list[str] = []
        fixtures.extract(disk / "emb.h5", manifest, report=lambda sources: again.extend(s.uri for s in sources))
        assert not set(reported) & set(again)
        assert len(read_store(disk / "emb.h5").sources) == 240
        filler = disk / "filler"
        filler.write_bytes(bytes(1 << 20))
        subprocess.run(["mount", "-o", "remount,size=1500k", str(disk)], check=True)
        before = fixtures.contents(disk / "emb.h5")
        with pytest.raises(StoreError, match="No space left on device"):
            fixtures.extract(disk / "emb.h5", fixtures.make_manifest(tmp_path / "audio", 246))
        assert fixtures.contents(disk / "emb.h5") == before
        filler.unlink()
        fixtures.extract(disk / "emb.h5", fixtures.make_manifest(tmp_path / "audio", 246))
        assert len(read_store(disk / "emb.h5").sources) == 246
    finally:
        subprocess.run(["umount", str(disk)], check=True)
