"""One process of test_concurrency.py: ``write I N``, ``publish`` or ``read`` until told to stop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import fixtures
import h5py

from embedx.errors import StoreBusyError
from embedx.store.store import EmbeddingStore


def write(store: Path, audio: Path, i: int, n: int) -> None:
    fixtures.extract(store, fixtures.load_manifest(audio), shard=(i, n), publish=False)


def publish(store: Path, audio: Path, stop: Path) -> None:
    n = 0
    while not stop.exists():
        with EmbeddingStore(store, fixtures.RECIPE, root=audio) as handle:
            try:
                handle.publish(wait_seconds=0)
                n += 1
            except StoreBusyError:
                pass
        time.sleep(0.005)
    print(n)


def read(store: Path, stop: Path) -> None:
    """Read as a program without embedx would; whatever is there is whole and never shrinks."""
    n_reads, n_clips = 0, 0
    while not stop.exists():
        if store.exists():
            with h5py.File(store) as file:
                rows, clips, counts = file["embeddings"][:], file["clips/path"][:], file["clips/rows"][:]
            assert len(rows) == counts.sum()
            assert len(clips) >= n_clips
            n_reads, n_clips = n_reads + 1, len(clips)
    print(n_reads)


if __name__ == "__main__":
    kind, store, audio, *rest = sys.argv[1:]
    if kind == "write":
        write(Path(store), Path(audio), int(rest[0]), int(rest[1]))
    elif kind == "publish":
        publish(Path(store), Path(audio), Path(rest[0]))
    else:
        read(Path(store), Path(rest[0]))
