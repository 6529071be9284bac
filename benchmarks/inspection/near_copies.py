"""How far re-encoded copies lie from their originals, and other recordings from each other, for `embedx inspect`.

    python -m benchmarks.inspection.near_copies ESC10.csv FSDD.csv

The thresholds were picked on six classes of ESC-10 and on clips 0, 5, 10 ... of FSDD; measured are the other four
classes and clips 2, 7, 12 ... Every tenth clip gets a copy of each kind. Shown is the distance as a multiple of what
the check allows: a pair below 1 is called a near copy. Writes benchmarks/results/near_copies.json; about two minutes
on two quiet cores.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.audio.opus import encode_opus
from embedx.dataset import Dataset, build_dataset
from embedx.extract.job import embed
from embedx.inspection.duplicates import NEAR, SURE, views
from embedx.manifest import Manifest, Source, read_manifest
from embedx.testing import write_wav

UNSEEN_CLASSES = ("baby_cry", "dog_bark", "person_sneeze", "rooster")
N_ORIGINALS = 300
EVERY = 10

Writer = Callable[[NDArray[np.float32], Path], None]


def _opus(kbit: int) -> Writer:
    def write(samples: NDArray[np.float32], path: Path) -> None:
        path.with_suffix(".ogg").write_bytes(encode_opus(samples, bit_rate=1000 * kbit))

    return write


def _wav(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Writer:
    return lambda samples, path: write_wav(str(path.with_suffix(".wav")), change(samples).astype(np.float32))


KINDS: dict[str, Writer] = {
    "Opus 64 kbit/s": _opus(64),
    "Opus 32 kbit/s": _opus(32),
    "Opus 16 kbit/s": _opus(16),
    "6 dB quieter": _wav(lambda samples: samples / 2),
    "first 5 % cut off": _wav(lambda samples: samples[len(samples) // 20 :]),
    "8 bits a sample": _wav(lambda samples: np.round(samples * 127) / 127),
}


def main() -> None:
    """Measure every data set and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", metavar="CSV")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--originals", type=int, default=N_ORIGINALS)
    args = parser.parse_args()
    rows: list[list[Any]] = []
    measures: dict[str, Any] = {}
    for path in args.manifests:
        name = Path(path).resolve().parent.name
        found = measure_manifest(read_manifest(path), n_originals=args.originals, encoder=args.encoder)
        rows += [[name, *row] for row in _rows(found)]
        hits = [float((found[kind] < 1).mean()) for kind in KINDS]
        measures[f"{name} copies found"] = measure(hits, better="higher", unit="share", keys=list(KINDS))
    columns = ["data", "pair", "pairs", "least", "5 %", "median", "95 %", "most", "called copies"]
    note = (
        f"Encoder {args.encoder}; distance as a multiple of what the check allows. Clips on which the thresholds "
        "were not picked: four classes of ESC-10, a fifth of FSDD."
    )
    print(
        f"wrote {write_result('near_copies', tables={'distances': table(columns, rows, note=note)}, measures=measures)}"
    )


def measure_manifest(manifest: Manifest, *, n_originals: int, encoder: str) -> dict[str, NDArray[np.float64]]:
    """Return distances by kind of pair; ``"other recordings"`` holds each clip's nearest that is no copy."""
    is_esc = any(source.label in UNSEEN_CLASSES for source in manifest)
    kept = [source for source in manifest if not is_esc or source.label in UNSEEN_CLASSES]
    step = max(1, len(kept) // n_originals)
    sources = kept[step // 2 :: step][:n_originals]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        originals, copies = _write(manifest, sources, root)
        everything = [*originals, *(copy for some in copies.values() for copy in some)]
        results, recipe = embed(Manifest(tuple(everything), root), encoder=encoder)
        dataset = build_dataset(results, recipe=recipe, root=root)
    place = {source.uri: i for i, source in enumerate(dataset.sources)}
    first = [place[source.uri] for source in originals]
    found = _nearest(dataset.take(first))
    for kind, some in copies.items():
        alone = dataset.take([*first, *(place[source.uri] for source in some)])
        pairs = [(i * EVERY, len(first) + i) for i in range(len(some))]
        distance = distances(alone)
        found[kind] = np.array([distance[pair] for pair in pairs])
    return found


def _write(manifest: Manifest, sources: list[Source], root: Path) -> tuple[list[Source], dict[str, list[Source]]]:
    originals = []
    for i, source in enumerate(sources):
        path = manifest.path_of(source)
        shutil.copy(path, root / f"{i:04d}{path.suffix}")
        originals.append(replace(source, uri=f"{i:04d}{path.suffix}"))
    copies = {kind: list(_copies(kind, originals[::EVERY], root)) for kind in KINDS}
    return originals, copies


def _copies(kind: str, originals: list[Source], root: Path) -> Iterator[Source]:
    for source in originals:
        stem = f"{Path(source.uri).stem}-{list(KINDS).index(kind)}"
        KINDS[kind](decode(root / source.uri), root / stem)
        yield replace(source, uri=next(root.glob(f"{stem}.*")).name)


def distances(dataset: Dataset) -> NDArray[np.float64]:
    """Return (n, n) distances as multiples of what the check allows: below 1 is a near copy."""
    heard, mel = (_relative(values) for values in views(dataset))
    return np.minimum(heard / SURE, np.maximum(heard, mel) / NEAR)


def _relative(values: NDArray[np.float32]) -> NDArray[np.float64]:
    squares = (values.astype(np.float64) ** 2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * values.astype(np.float64) @ values.T, 0))
    share: NDArray[np.float64] = distance / np.median(np.sort(distance, axis=1)[:, 3])
    return share


def _nearest(dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    distance = distances(dataset)
    np.fill_diagonal(distance, np.inf)
    groups = np.arange(len(dataset)) if dataset.groups is None else np.unique(dataset.groups, return_inverse=True)[1]
    apart = groups[:, None] != groups
    return {
        "nearest of another group": np.where(apart, distance, np.inf).min(1),
        "nearest of the same group": np.where(apart, np.inf, distance).min(1),
    }


def _rows(found: dict[str, NDArray[np.float64]]) -> list[list[Any]]:
    rows = []
    for kind, values in found.items():
        finite = values[np.isfinite(values)]
        if len(finite):
            shares = np.quantile(finite, [0, 0.05, 0.5, 0.95, 1])
            rows.append([kind, len(finite), *(f"{share:.2f}" for share in shares), f"{(finite < 1).mean():.1%}"])
    return rows


if __name__ == "__main__":
    main()
