"""How many labels reach 95 % of the accuracy with all of them, chosen as `embedx label` does and at random.

    python -m benchmarks.labelling.labels_needed esc10.h5 fsdd.h5

Stores of the same encoder. Each official fold of ESC-10 and each speaker of FSDD is tested once; the others are asked
for, answered by their labels, and the head is fitted after every second; ten seeds. Then what the page said of the head
against what the tested clips say, and what it would have said had it judged on all labelled clips. The rule was chosen
on the bundled sample, not on these clips. Writes benchmarks/results/labels_needed.json; half an hour on two busy cores.
"""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tools.record import measure, table, write_result
from embedx.dataset import Dataset, load_embeddings
from embedx.evaluation.splits import Fold, plan_folds
from embedx.heads.catalog import fit_head, make_head
from embedx.labelling import Simulated, simulate

WAYS: Mapping[str, Mapping[str, Any]] = {
    "at random": {"strategy": "random"},
    "as the page asks": {"strategy": "uncertain+diverse"},
    "the same, none at random": {"strategy": "uncertain+diverse", "random_every": 0},
}
PAGE = "as the page asks"
SHARE, EVERY, N_SEEDS = 0.95, 2, 10
MOST = {"esc10": 240, "fsdd": 300}
TITLES = {"esc10": "ESC-10, official folds", "fsdd": "FSDD, by speaker"}
TOLD_AFTER = (50, 100, 200)
SHOWN_UP_TO = 200


def main() -> None:
    """Measure both stores and write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="STORE")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--most", type=int, help="labels at most (a trial run)")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rows: list[list[str]] = []
    honesty: list[list[str]] = []
    measures: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    for place in args.stores:
        name, most = Path(place).stem, args.most or MOST[Path(place).stem]
        found = _measured(place, args.seeds, most, args.jobs)
        whole = _whole(load_embeddings(place))
        needed = {way: _needed(found[way], SHARE * whole) for way in WAYS}
        rows += [_row(name, way, found[way], needed, whole, most) for way in WAYS]
        honesty += _honesty(name, found[PAGE])
        for way in WAYS:
            values = [most if n is None else n for n in needed[way]]
            keys = [f"seed {seed}" for seed in range(args.seeds)]
            measures[f"{name}, {way}"] = measure(values, better="lower", unit="labels", keys=keys)
        figures[name] = _figure(name, found, whole)
    note = (
        f"Logistic regression on the mean of all layers of the encoder tiny, fitted after every {EVERY} labels. "
        f"Labels: after how many the accuracy on all tested clips first is {SHARE:.0%} of that with all labels, mean "
        f"of {args.seeds} seeds (least to most). Fewer: in how many of them it needs fewer than drawing at random."
    )
    columns = ["clips", "chosen", "labels for 95 %", "fewer", *(f"accuracy at {n}, %" for n in TOLD_AFTER), "all, %"]
    note_honesty = (
        "As the page asks. Page: what it says of the head, judged on the clips drawn at random so far, groups held "
        "out; tested: the accuracy on clips that the page knows nothing of. All labelled: what it would say if it "
        "judged on all labelled clips. Means of folds and seeds; in brackets how far one page is off, on average."
    )
    head = ["clips", "labels", "judged on", "tested, %", "page, %", "all labelled, %", "in the page's 95 % interval, %"]
    drawn = {"needed": table(columns, rows, note=note), "honesty": table(head, honesty, note=note_honesty)}
    print(f"wrote {write_result('labels_needed', tables=drawn, measures=measures, figures=figures)}")


def _folds(dataset: Dataset) -> Sequence[Fold]:
    groups, split = np.asarray(dataset.groups), dataset.split
    return plan_folds(np.asarray(dataset.y), split=groups if split is None else split)


def _measured(place: str, n_seeds: int, most: int, jobs: int) -> dict[str, list[list[Simulated]]]:
    """Return a simulation for each way, seed and fold."""
    n_folds = len(_folds(load_embeddings(place)))
    found: dict[str, list[list[Simulated]]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        for way in WAYS:
            runs = [(place, way, seed, fold, most) for seed in range(n_seeds) for fold in range(n_folds)]
            done = list(pool.map(_one, *zip(*runs, strict=True)))
            found[way] = [done[i : i + n_folds] for i in range(0, len(done), n_folds)]
            print(f"{place}: {way} done", flush=True)
    return found


def _one(place: str, way: str, seed: int, fold: int, most: int) -> Simulated:
    warnings.simplefilter("ignore")
    dataset = load_embeddings(place)
    cut = _folds(dataset)[fold]
    facts: dict[str, Any] = {"n_labels": most, "every": EVERY, "seed": seed, "told_after": TOLD_AFTER}
    return simulate(dataset.take(cut.train), dataset.take(cut.test), **WAYS[way], **facts)


def _whole(dataset: Dataset) -> float:
    """Return the accuracy over all tested clips of heads that learned from all labels."""
    values, labels, right = dataset.average_layers(), np.asarray(dataset.y), []
    for fold in _folds(dataset):
        head = fit_head(make_head("logreg", n_layers=1), values[fold.train], labels[fold.train])
        right.append(head.predict(values[fold.test]) == labels[fold.test])
    return float(np.concatenate(right).mean())


def _curve(folds: Sequence[Simulated]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return numbers of labels and the mean accuracy of folds, which are of the same size."""
    n = min(len(one.n_labels) for one in folds)
    return folds[0].n_labels[:n], np.mean([one.accuracy[:n] for one in folds], axis=0)


def _needed(runs: Sequence[Sequence[Simulated]], target: float) -> list[int | None]:
    found: list[int | None] = []
    for folds in runs:
        n_labels, accuracy = _curve(folds)
        reached = np.flatnonzero(accuracy >= target)
        found.append(int(n_labels[reached[0]]) if len(reached) else None)
    return found


def _row(
    name: str,
    way: str,
    runs: Sequence[Sequence[Simulated]],
    needed: Mapping[str, list[int | None]],
    whole: float,
    most: int,
) -> list[str]:
    told = [most + 1 if n is None else n for n in needed[way]]
    base = [most + 1 if n is None else n for n in needed["at random"]]
    n_missing = sum(n is None for n in needed[way])
    text = f"{np.mean(told):.0f} ({min(told)} to {max(told)})" + (f", {n_missing} not by {most}" if n_missing else "")
    fewer = "-" if way == "at random" else f"{sum(a < b for a, b in zip(told, base, strict=True))}"
    curves = [dict(zip(*map(np.ndarray.tolist, _curve(folds)), strict=True)) for folds in runs]
    shares = [f"{100 * np.mean([curve[n] for curve in curves]):.1f}" if n in curves[0] else "-" for n in TOLD_AFTER]
    return [TITLES.get(name, name), way, text, fewer, *shares, f"{100 * whole:.1f}"]


def _honesty(name: str, runs: Sequence[Sequence[Simulated]]) -> list[list[str]]:
    """Compare what the page said after some numbers of labels with the tested clips."""
    rows = []
    for n in TOLD_AFTER:
        found = []
        for one in (fold for folds in runs for fold in folds):
            told = {p.n_labels: (p, everyone) for p, everyone in zip(one.told, one.told_by_all, strict=True)}
            if n in told:
                true = one.accuracy[one.n_labels.tolist().index(n)]
                point, everyone = told[n]
                inside = point.interval[0] <= true <= point.interval[1]
                found.append((point.n_judged, true, point.accuracy, everyone, inside))
        if found:
            judged, true, page, everyone, inside = np.array(found, dtype=np.float64).T
            off = f"({100 * np.abs(page - true).mean():.1f})"
            shares = [f"{100 * true.mean():.1f}", f"{100 * page.mean():.1f} {off}", f"{100 * everyone.mean():.1f}"]
            rows.append([TITLES.get(name, name), str(n), f"{judged.mean():.0f}", *shares, f"{100 * inside.mean():.0f}"])
    return rows


def _figure(name: str, found: Mapping[str, list[list[Simulated]]], whole: float) -> dict[str, Any]:
    series = [
        {"name": "all labels", "style": "level", "points": [[0, 100 * whole]]},
        {"name": f"{SHARE:.0%} of it", "style": "level", "points": [[0, 100 * SHARE * whole]]},
    ]
    for way in ("as the page asks", "at random"):
        curves = [_curve(folds) for folds in found[way]]
        shares = 100 * np.array([accuracy for _, accuracy in curves])
        kept = [i for i, n in enumerate(curves[0][0]) if n <= SHOWN_UP_TO and (n % 10 == 0 or n < 20)]
        points = [
            [int(curves[0][0][i]), *(round(float(f(shares[:, i])), 2) for f in (np.mean, np.min, np.max))] for i in kept
        ]
        series.append({"name": way, "points": points})
    title = f"Accuracy by labels: {TITLES.get(name, name)}"
    return {"title": title, "x": "labels", "y": "accuracy, %", "series": series}


if __name__ == "__main__":
    main()
