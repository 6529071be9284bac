"""How many of the clips that `embedx search` finds are of the query's class.

    python -m benchmarks.novelty.search_precision ESC10.h5 FSDD.h5 SAMPLE.h5

Every clip of a store is the query once, and clips of its own group are left out; and a label is the query: five clips
of a class, drawn twenty times, clips of their groups left out. Writes benchmarks/results/search.json; seconds.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools.record import measure, table, write_result
from embedx.dataset import Dataset, load_embeddings
from embedx.search.similarity import Similarity

K, N_LABELLED, N_DRAWS = 10, 5, 20
WAYS = ("cosine", "centred cosine", "standardized cosine (default)")
KEYS = ("a clip", "a label")


def main() -> None:
    """Measure every store and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="STORE")
    args = parser.parse_args()
    rows: list[list[Any]] = []
    measures: dict[str, Any] = {}
    for place in args.stores:
        dataset, name = load_embeddings(place), Path(place).stem
        for way in WAYS:
            by_clip, by_label = _by_clip(dataset, way), _by_label(dataset, way)
            rows.append([name, way, f"{100 * by_clip:.1f}", f"{100 * by_label:.1f}"])
            measures[f"{name}, {way}"] = measure([by_clip, by_label], better="higher", unit="share", keys=KEYS)
    note = (
        f"Precision at {K} in percent, encoder {dataset.recipe.encoder}, mean of all layers. A label: {N_LABELLED} "
        f"clips of a class, {N_DRAWS} draws. Of FSDD a clip finds other speakers only, a label all of "
        "them."
    )
    columns = ["clips", "similarity", "a clip, %", "a label, %"]
    drawn = {"precision": table(columns, rows, note=note)}
    print(f"wrote {write_result('search', tables=drawn, measures=measures)}")


def _similarity(values: NDArray[np.float32], way: str) -> Similarity:
    if way.startswith("centred"):
        return Similarity(values.mean(axis=0, dtype=np.float64), np.ones(values.shape[1]))
    return Similarity.of(values, standardized=way.startswith("standardized"))


def _by_clip(dataset: Dataset, way: str) -> float:
    values, labels, groups = dataset.average_layers(), np.asarray(dataset.y), np.asarray(dataset.groups)
    similarity = _similarity(values, way)
    found = np.stack([similarity.to(similarity.direction(row[None]), values) for row in values])
    return _precision(found, groups[:, None] == groups, labels, labels)


def _by_label(dataset: Dataset, way: str) -> float:
    values, labels, groups = dataset.average_layers(), np.asarray(dataset.y), np.asarray(dataset.groups)
    is_small = len(np.unique(groups)) < 2 * N_LABELLED
    similarity, rng = _similarity(values, way), np.random.default_rng(0)
    shares = []
    for label in np.unique(labels):
        for _ in range(N_DRAWS):
            own = rng.choice(np.flatnonzero(labels == label), N_LABELLED, replace=False)
            left_out = np.isin(np.arange(len(labels)), own) if is_small else np.isin(groups, groups[own])
            found = similarity.to(similarity.direction(values[own]), values)
            shares.append(_precision(found[None], left_out[None], labels, np.array([label])))
    return float(np.mean(shares))


def _precision(found: NDArray[Any], left_out: NDArray[Any], labels: NDArray[Any], asked: NDArray[Any]) -> float:
    nearest = np.argsort(-np.where(left_out, -np.inf, found), axis=1, kind="stable")[:, :K]
    return float((labels[nearest] == asked[:, None]).mean())


if __name__ == "__main__":
    main()
