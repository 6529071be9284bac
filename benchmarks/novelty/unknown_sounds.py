"""How well sounds of no learned class are told, by the score that models keep and by others.

    python -m benchmarks.novelty.unknown_sounds ESC10.h5 FSDD.h5

Stores of the same encoder. Ten times nine classes of ESC-10 are learned on four official folds; known are the clips of
these classes in the fifth fold, unknown are the tenth class, white noise, silence and spoken digits. The limit is where
5 % of held-out clips of the four folds lie, groups whole; nothing of the test is used for it. Then the bundled sample:
its clips out of fold, and ten hostile clips. Writes benchmarks/results/unknown_sounds.json; ten minutes on two busy
cores.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.quality.tasks import read_tasks
from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.dataset import Dataset, build_dataset, load_embeddings
from embedx.evaluation.inner_folds import plan_inner_folds
from embedx.evaluation.splits import plan_folds
from embedx.extract.job import embed
from embedx.heads.catalog import fit_head, make_head
from embedx.heads.novelty import ClassDistances
from embedx.manifest import Manifest, Source
from embedx.model import fit_model
from embedx.testing import make_tone, write_wav

RATE = 0.05
SAMPLE_RATE = 16_000
SPEECH_EVERY = 5
Score = Callable[[NDArray[Any]], NDArray[Any]]


def _by_head(kind: str, values: NDArray[Any], codes: NDArray[Any]) -> Score:
    head = fit_head(make_head("logreg", n_layers=1), values, codes)
    if kind == "probability":
        return lambda new: 1 - head.predict_proba(new).max(axis=1)
    return lambda new: -np.log(np.exp(head.decision_function(new)).sum(axis=1))


def _by_neighbours(k: int, metric: str, values: NDArray[Any], codes: NDArray[Any]) -> Score:
    scaler = StandardScaler().fit(values)

    def scaled(rows: NDArray[Any]) -> NDArray[Any]:
        rows = scaler.transform(rows)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows

    known = scaled(values)
    squares = (known**2).sum(axis=1)

    def score(new: NDArray[Any]) -> NDArray[Any]:
        rows = scaled(new)
        distance = (rows**2).sum(axis=1)[:, None] + squares - 2 * rows @ known.T
        nearest = np.partition(np.sqrt(np.maximum(distance, 0)), k - 1, axis=1)[:, :k]
        return np.asarray(nearest.mean(axis=1))

    return score


def _by_distances(values: NDArray[Any], codes: NDArray[Any]) -> Score:
    return ClassDistances.learn(values, codes).nearest


METHODS: Mapping[str, tuple[str, Callable[..., Score]]] = {
    "1 - highest probability": ("embeddings", partial(_by_head, "probability")),
    "energy": ("embeddings", partial(_by_head, "energy")),
    "nearest clip, cosine": ("embeddings", partial(_by_neighbours, 1, "cosine")),
    "5 nearest clips, cosine": ("embeddings", partial(_by_neighbours, 5, "cosine")),
    "5 nearest clips, Euclidean": ("embeddings", partial(_by_neighbours, 5, "euclidean")),
    "5 nearest clips, cosine, with log-mel": ("both", partial(_by_neighbours, 5, "cosine")),
    "Mahalanobis": ("embeddings", _by_distances),
    "Mahalanobis, with log-mel (kept)": ("both", _by_distances),
}


def columns_of(dataset: Dataset, kind: str) -> NDArray[np.float32]:
    """Return the mean of all layers, with the log-mel statistics or without."""
    embeddings = dataset.average_layers()
    return np.hstack([embeddings, dataset.control]) if kind == "both" else embeddings


def main() -> None:
    """Measure all and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc10", help="store of ESC-10, with source recordings as groups and its folds as split")
    parser.add_argument("fsdd", help="store of FSDD")
    parser.add_argument("--encoder", default="tiny")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    esc10, speech = load_embeddings(args.esc10), load_embeddings(args.fsdd)
    speech = speech.take(np.arange(0, len(speech), SPEECH_EVERY))
    with tempfile.TemporaryDirectory() as folder:
        made = {kind: _embedded(dict(write(Path(folder))), args.encoder) for kind, write in MADE.items()}
        others, measures = [], {}
        for name in METHODS:
            found = _measured(name, esc10, {**made, "speech": speech})
            others.append(_row(name, found))
            measures |= {
                f"{name}: AUROC, {kind}": measure(found["auroc"][kind], better="higher", unit="AUROC")
                for kind in found["auroc"]
            }
            print(others[-1], flush=True)
        sample, hostile = _sample(args.encoder, Path(folder), Path(speech.root) / speech.sources[0].uri)
    kinds = ("left-out class", "white noise", "silence", "speech")
    columns = ["score", "known rejected, %", *(f"{kind}: AUROC / accepted, %" for kind in kinds)]
    note = (
        f"Encoder {args.encoder}, mean of all layers, 50 models: each of ten classes left out, each of five folds "
        "held out. Accepted: share of unknown clips that are called known where 5 % of held-out training clips are "
        "rejected. "
        f"{len(made['noise'])} clips of white noise and {len(made['silence'])} of silence (digital, and noise below "
        f"-70 dB), {len(speech)} of spoken digits."
    )
    note_sample = (
        f"A model of the 152 clips of the bundled sample (logistic regression, encoder {args.encoder}), limit at 5 %. "
        f"Of its own clips, each judged by a model of the other four folds, {sample} of 152 are called unknown."
    )
    drawn = {
        "scores": table(columns, others, note=note),
        "hostile": table(["clip", "label", "probability, %", "novelty", "called"], hostile, note=note_sample),
    }
    print(f"wrote {write_result('unknown_sounds', tables=drawn, measures=measures)}")


def _measured(name: str, esc10: Dataset, unknown: Mapping[str, Dataset]) -> dict[str, Any]:
    kind, learn = METHODS[name]
    values = columns_of(esc10, kind)
    labels, split, groups = np.asarray(esc10.y), np.asarray(esc10.split), np.asarray(esc10.groups)
    others = {of: columns_of(dataset, kind) for of, dataset in unknown.items()}
    auroc: dict[str, list[float]] = {of: [] for of in ("class", *others)}
    accepted: dict[str, list[float]] = {of: [] for of in auroc}
    rejected = []
    for label in np.unique(labels):
        for fold in np.unique(split):
            train = np.flatnonzero((labels != label) & (split != fold))
            codes = np.unique(labels[train], return_inverse=True)[1]
            held_out = np.concatenate(
                [
                    learn(values[train[inner.train]], codes[inner.train])(values[train[inner.test]])
                    for inner in plan_inner_folds(codes, groups[train], 0)
                ]
            )
            limit = np.sort(held_out)[int(np.ceil((len(held_out) + 1) * (1 - RATE))) - 1]
            score = learn(values[train], codes)
            near = score(values[(labels != label) & (split == fold)])
            rejected.append(float((near > limit).mean()))
            for of, rows in {"class": values[labels == label], **others}.items():
                far = score(rows)
                truth = np.repeat([0, 1], [len(near), len(far)])
                auroc[of].append(float(roc_auc_score(truth, np.concatenate([near, far]))))
                accepted[of].append(float((far <= limit).mean()))
    return {"auroc": auroc, "accepted": accepted, "rejected": rejected}


def _row(name: str, found: dict[str, Any]) -> list[str]:
    shares = [f"{np.mean(found['auroc'][of]):.2f} / {np.mean(found['accepted'][of]):.0%}" for of in found["auroc"]]
    return [name, f"{100 * np.mean(found['rejected']):.1f}", *(share.removesuffix("%") for share in shares)]


def _noise(folder: Path) -> Iterator[tuple[str, Path]]:
    rng = np.random.default_rng(0)
    for i, level in enumerate(np.linspace(-40, -6, 20)):
        yield from _written(folder, f"noise{i}", rng.normal(size=5 * SAMPLE_RATE) * 10 ** (level / 20))


def _silence(folder: Path) -> Iterator[tuple[str, Path]]:
    rng = np.random.default_rng(1)
    for i, level in enumerate([None, -120, -110, -100, -95, -90, -85, -80, -75, -70]):
        gain = 0.0 if level is None else 10 ** (level / 20)
        yield from _written(folder, f"silence{i}", rng.normal(size=5 * SAMPLE_RATE) * gain)


MADE = {"noise": _noise, "silence": _silence}


def _written(folder: Path, name: str, samples: NDArray[Any]) -> Iterator[tuple[str, Path]]:
    place = folder / f"{name}.wav"
    write_wav(str(place), np.asarray(np.clip(samples, -1, 1), dtype=np.float32))
    yield name, place


def _embedded(places: Mapping[str, Path], encoder: str) -> Dataset:
    root = next(iter(places.values())).parent
    results, recipe = embed(Manifest(tuple(Source(place.name) for place in places.values()), root), encoder=encoder)
    return build_dataset(results, recipe=recipe, root=root)


def _sample(encoder: str, folder: Path, digit: Path) -> tuple[int, list[list[Any]]]:
    """Return how many clips of the sample are rejected out of fold, and what is said of hostile ones."""
    task = read_tasks()["sample"]
    manifest = task.read(None)
    results, recipe = embed(manifest, encoder=encoder)
    dataset = build_dataset(results, recipe=recipe, root=manifest.root)
    n_rejected = 0
    for fold in plan_folds(np.asarray(dataset.y), split=dataset.split):
        found = fit_model(dataset.take(fold.train)).predictions(dataset.take(fold.test), unknown_at=RATE)
        n_rejected += int((~found.known).sum())
    places = dict(_hostile(folder, [manifest.path_of(source) for source in manifest], digit))
    found = fit_model(dataset).predictions([str(place) for place in places.values()], unknown_at=RATE)
    rows = zip(places, found.labels, found.proba.max(axis=1), found.novelty, found.known, strict=True)
    told = [
        [name, label, f"{100 * share:.0f}", f"{novelty:.1f}", "known" if known else "unknown"]
        for name, label, share, novelty, known in rows
    ]
    return n_rejected, told


def _hostile(folder: Path, clips: list[Path], digit: Path) -> Iterator[tuple[str, Path]]:
    rng, n = np.random.default_rng(2), 5 * SAMPLE_RATE
    first, last = decode(clips[0]), decode(clips[-1])
    short = min(len(first), len(last))
    clicks = np.zeros(n)
    clicks[:: SAMPLE_RATE // 10] = 0.9
    sounds = {
        "white noise": 0.1 * rng.normal(size=n),
        "silence": np.zeros(n),
        "a tone of 440 Hz": make_tone(440.0, seconds=5.0, noise=0.0),
        "noise that clips": 5.0 * rng.normal(size=n),
        "a spoken digit": decode(digit),
        "a constant (DC)": np.full(n, 0.5),
        "ten clicks a second": clicks,
        "a clip of the sample, reversed": first[::-1],
        "its first 0.1 s": first[: SAMPLE_RATE // 10],
        "two classes at once": (first[:short] + last[:short]) / 2,
    }
    for i, (name, samples) in enumerate(sounds.items()):
        yield from ((name, place) for _, place in _written(folder, f"hostile{i}", samples))


if __name__ == "__main__":
    main()
