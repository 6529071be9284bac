"""How the frozen files of store schema 1 were made. Not run again: a format that was given out is kept as it was.

python tests/formats/make_store_1.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store.rows import ClipResult, Embedded, Failure, FileStamp
from embedx.store.store import EmbeddingStore

RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab" * 32, layers=(0, 2, 5))
SOURCES = [
    Source("cat/a.wav", label="cat", group="g1", split="train"),
    Source("cat/a.wav", label="cat", start_seconds=1.5),
    Source("cat/a.wav", label="cat", start_seconds=1.5, stop_seconds=2.25),
    Source("dog/späce 日本\n.wav", label="dög"),
    Source("/elsewhere/b.wav"),
    Source("zz/empty.wav", label="cat", split="valid"),
]


def results(n_layers: int) -> list[ClipResult]:
    """Multiples of 1/8, which float16 holds exactly."""
    found: list[ClipResult] = [
        Failure(Source("bad.wav", label="cat"), FileStamp(b"f" * 32, 9, 8), "decode", "no audio")
    ]
    for i, source in enumerate(SOURCES):
        n = 0 if source.uri.startswith("zz") else i % 3 + 1
        values = (np.arange(n * n_layers * 4) + i).reshape(n, n_layers, 4).astype(np.float32) / 8
        control = np.full((n, 128), i, np.float32) + np.arange(128, dtype=np.float32)
        stamp = FileStamp(bytes([i]) * 32, 1000 + i, 10**18 + i)
        found.append(Embedded(source, stamp, values, control, np.arange(n) * 10.0, np.arange(n) * 10.0 + 10))
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    environment = {"embedx": "0.1.0", "device": "cpu"}
    with EmbeddingStore(folder / "store-1.h5", RECIPE, root=folder / "audio") as store:
        store.append(results(3), environment=environment)
        store.publish()
    one_layer = RECIPE.replace(layers=(7,), store_dtype="float32")
    with EmbeddingStore(folder / "store-1-pending.h5", one_layer, root=folder / "audio") as store:
        for part in (results(1)[:3], results(1)[3:]):
            store.append(part, environment=environment)
            store.commit()
    (folder / "store-1-recipe.json").write_text(json.dumps(json.loads(RECIPE.to_json()), indent=1) + "\n")


if __name__ == "__main__":
    main()
