"""Files, recipes and a stand-in for an extraction, shared by the store's tests and the fault driver."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe
from embedx.store.rows import NO_STAMP, ClipResult, Embedded, Failure, FileStamp
from embedx.store.store import EmbeddingStore

RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab" * 32, layers=(0, 2, 5))
DIM = 6


def make_audio(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)


def make_manifest(folder: Path, n: int = 12) -> Manifest:
    """Write n files and list them."""
    names = [f"{'dog' if i % 2 else 'cat'}/{i:03}.wav" for i in range(n)]
    make_audio(folder, names)
    return listed(folder, sorted(names))


def load_manifest(folder: Path) -> Manifest:
    """List the files of a folder."""
    return listed(folder, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav")))


def listed(folder: Path, names: list[str]) -> Manifest:
    labels = [name.split("/")[0] for name in names]
    return Manifest.from_paths(names, labels=labels, groups=[name[-5] for name in names], root=folder)


def stamp_of(path: Path) -> FileStamp:
    try:
        status = path.stat()
        return FileStamp(hashlib.sha256(path.read_bytes()).digest(), status.st_size, status.st_mtime_ns)
    except OSError:
        return NO_STAMP


def result_of(source: Source, root: Path, recipe: Recipe = RECIPE) -> ClipResult:
    """Rows that depend on the file's content alone: none to three windows, or a failure."""
    stamp = stamp_of(root / source.uri)
    if stamp is NO_STAMP:
        return Failure(source, stamp, "missing", "no such file")
    seed = int.from_bytes(stamp.sha256[:4], "little")
    if seed % 7 == 0:
        return Failure(source, stamp, "decode", "not audio")
    rng, n = np.random.default_rng(seed), seed % 4
    return Embedded(
        source,
        stamp,
        rng.normal(size=(n, len(recipe.layers), DIM)).astype(np.float32),
        rng.normal(size=(n, 128)).astype(np.float32),
        np.arange(n) * 10.0,
        np.arange(n) * 10.0 + 10,
    )


def units(manifest: Manifest, size: int = 3) -> Iterator[list[Source]]:
    sources = list(manifest)
    for i in range(0, len(sources), size):
        yield sources[i : i + size]


def extract(
    output: Path,
    manifest: Manifest,
    recipe: Recipe = RECIPE,
    *,
    report: Callable[[list[Source]], None] = lambda sources: None,
    retry_failed: bool = False,
    overwrite: bool = False,
    publish: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> int:
    """Do what the extraction job does; tell ``report`` what became durable. Returns clips computed."""
    n = 0
    with EmbeddingStore(output, recipe, root=manifest.root, overwrite=overwrite) as store:
        todo = store.plan(manifest, retry_failed=retry_failed).todo
        for unit in list(units(manifest))[shard[0] :: shard[1]]:
            work = [source for source in unit if source.key in todo]
            if work:
                store.append(
                    [result_of(source, manifest.root, recipe) for source in work], environment={"by": "fixtures"}
                )
                assert store.commit() == len(work)
                report(work)
                n += len(work)
        if publish:
            store.publish(wait_seconds=60)
    return n


def contents(path: Path) -> dict[str, bytes]:
    """Every dataset of a published file through plain h5py, ``/environments`` excepted."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name != "environments":
            values = item[...]
            found[name] = f"{values.dtype.str}{values.shape}".encode() + values.tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
        assert {"embedx_schema", "embedx_fingerprint", "embedx_recipe", "embedx_root"} == set(file.attrs)
    return found


def leftovers(output: Path) -> list[str]:
    folder = Path(f"{output}.parts")
    return sorted(os.listdir(folder)) if folder.exists() else []
