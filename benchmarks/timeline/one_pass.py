"""What it costs, and what it spares, to pool windows out of longer chunks instead of encoding each window alone.

    embedx extract DATA/esc10/clips.csv -o esc10.h5 --encoder tiny
    embedx extract DATA/fsdd/clips.csv -o fsdd.h5 --encoder tiny --group-column speaker
    python -m benchmarks.timeline.one_pass esc10.h5 fsdd.h5

Clips of a part that the head did not learn from (two folds of ESC-10, two of three speakers of FSDD) are put one after
the other into a recording, as they are and each made up to 12 dB louder or quieter. Its windows are encoded alone, and
pooled out of chunks of 10 s (the recipe's windows) and 5 s. A window is right if it gets the label of the clip in which
its centre lies. Writes benchmarks/results/timeline_one_pass.json; two minutes on two quiet cores.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.dataset import Dataset, load_embeddings
from embedx.extract.window_rows import WindowRowsEncoder
from embedx.model import Model, fit_model
from embedx.recipe import Resources
from embedx.testing import write_wav

PARTS = {"esc10": ("1", "3"), "fsdd": ("george", "jackson")}
WINDOWS = {"esc10": (0.5, 2.0), "fsdd": (0.5,)}
N_CLIPS = {"esc10": 20, "fsdd": 100}
CHUNKS = (0.0, 10.0, 5.0)
GAINS = (0.0, 12.0)


def main() -> None:
    """Measure both data sets and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+")
    args = parser.parse_args()
    rows, measures = [], {}
    for store in args.stores:
        name = Path(store).stem
        for row in _measure(name, load_embeddings(store)):
            rows.append(row)
            values = [float(cell) for cell in row.pop("each")]
            kind = f"{name} {row['gain']} {row['window']} {row['chunks']}"
            measures[kind] = measure(values, better="higher", unit="accuracy", keys=PARTS[name])
            print(row, flush=True)
    columns = [
        "data",
        "gain",
        "window",
        "chunks",
        "accuracy",
        "within a clip",
        "whole clips",
        "same label",
        "distance",
        "x",
    ]
    note = (
        "Encoder tiny, head logreg, windows every half of their length. Chunks 'none': each window alone. "
        "Within a clip: windows that lie in one clip. Whole clips: accuracy on the clips themselves. Same label and "
        "distance (half the sum of absolute differences of the probabilities): beside the window alone. x: times real "
        "time, on a machine that does other work, too."
    )
    cells = [[row[name] for name in columns] for row in rows]
    write_result("timeline_one_pass", tables={"windows": table(columns, cells, note=note)}, measures=measures)


def _measure(name: str, dataset: Dataset) -> Iterator[dict[str, Any]]:
    parts = np.array([source.group if name == "fsdd" else source.split for source in dataset.sources])
    models = {part: fit_model(dataset.take(np.flatnonzero(parts != part)), "logreg") for part in PARTS[name]}
    for gain in GAINS:
        material = [_recording(dataset, np.flatnonzero(parts == part), gain, N_CLIPS[name]) for part in models]
        for window in WINDOWS[name]:
            alone: list[NDArray[np.float64]] = []
            for chunk in CHUNKS:
                found = [_judge(models[part], *one, window, chunk) for part, one in zip(models, material, strict=True)]
                if not chunk:
                    alone = [one["proba"] for one in found]
                yield _row(name, gain, window, chunk, found, alone)


def _recording(
    dataset: Dataset, indices: NDArray[np.intp], gain: float, n: int
) -> tuple[NDArray[np.float32], list[str], NDArray[np.float64], Dataset]:
    """Return samples, labels and ends in seconds of clips one after the other."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(indices)[:n]
    clips = [
        decode(Path(dataset.root) / dataset.sources[i].uri) * 10 ** (rng.uniform(-gain, gain) / 20) for i in chosen
    ]
    samples = np.concatenate(clips).astype(np.float32)
    ends = np.cumsum([len(clip) for clip in clips]) / dataset.recipe.sample_rate
    labels = [str(dataset.sources[i].label) for i in chosen]
    return samples / max(1.0, float(np.abs(samples).max())), labels, ends, dataset.take(chosen)


def _judge(
    model: Model,
    samples: NDArray[np.float32],
    labels: list[str],
    ends: NDArray[np.float64],
    clips: Dataset,
    window: float,
    chunk: float,
) -> dict[str, Any]:
    recipe = model.recipe.replace(window_seconds=chunk, hop_seconds=chunk) if chunk else model.recipe
    options = {"window_seconds": window, "hop_seconds": window / 2, "one_pass": bool(chunk)}
    with tempfile.TemporaryDirectory() as folder:
        write_wav(f"{folder}/long.wav", samples)
        with WindowRowsEncoder(recipe, **options, resources=Resources(workers=0)) as encoder:
            started = time.perf_counter()
            rows = list(encoder.rows(f"{folder}/long.wav"))
            seconds = time.perf_counter() - started
    start, end = (np.concatenate([getattr(row, f"{side}_seconds") for row in rows]) for side in ("start", "end"))
    inputs = np.concatenate([row.inputs for row in rows]).astype(model.recipe.store_dtype)
    proba = model.probabilities(inputs)
    clip = np.searchsorted(ends, (start + end) / 2, side="right").clip(0, len(ends) - 1)
    right = np.array(model.classes)[proba.argmax(1)] == np.array(labels)[clip]
    begins = np.concatenate([[0.0], ends[:-1]])
    inside = (start >= begins[clip] - 1e-6) & (end <= ends[clip] + 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = (model.predict_dataset(clips) == np.array(labels)).mean()
    return {
        "proba": proba,
        "accuracy": right.mean(),
        "inside": right[inside].mean() if inside.any() else np.nan,
        "whole": whole,
        "speed": ends[-1] / seconds,
    }


def _row(
    name: str, gain: float, window: float, chunk: float, found: list[dict[str, Any]], alone: list[NDArray[np.float64]]
) -> dict[str, Any]:
    pairs = [(one["proba"], other) for one, other in zip(found, alone, strict=True)]
    same = np.mean([np.mean(a.argmax(1) == b.argmax(1)) for a, b in pairs])
    distance = np.mean([np.abs(a - b).sum(1).mean() / 2 for a, b in pairs])

    def mean(key: str) -> str:
        return f"{np.mean([one[key] for one in found]):.1%}"

    return {
        "data": name,
        "gain": f"{gain:g} dB",
        "window": f"{window:g} s",
        "chunks": f"{chunk:g} s" if chunk else "none",
        "accuracy": mean("accuracy"),
        "within a clip": mean("inside"),
        "whole clips": mean("whole"),
        "same label": f"{same:.1%}" if chunk else "-",
        "distance": f"{distance:.3f}" if chunk else "-",
        "x": f"{np.mean([one['speed'] for one in found]):.0f}",
        "each": [one["accuracy"] for one in found],
    }


if __name__ == "__main__":
    main()
