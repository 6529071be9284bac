"""Does fine-tuning pay? Frozen heads and fine-tuned encoders on the same folds, with what each cost.

    python -m benchmarks.finetune.quality --data DATA                       # sample (bundled) and DATA/fsdd, by speaker
    python -m benchmarks.finetune.quality esc10 --data ESC10/clips.csv      # ten classes, official folds
    python -m benchmarks.finetune.quality fsdd --data DATA --vary pooling   # mean of the frames, or attention

Writes benchmarks/results/finetune-NAME.json (with ``-pooling`` at its end where that is varied). The encoder is the
bundled one unless told; all that is not an option here is the default of `embedx compare --heads finetune`.
"""

import argparse
import os
import tempfile
import time
from dataclasses import fields
from functools import partial
from importlib.resources import files
from pathlib import Path

from benchmarks.tools.record import table, write_result
from embedx.cli.progress import ProgressBar
from embedx.comparison import compare
from embedx.dataset import load_embeddings
from embedx.extract.job import extract_embeddings
from embedx.heads.catalog import HeadSpec, get_head
from embedx.manifest import read_manifest
from embedx.recipe import Resources

COLUMNS = {
    "sample": {"split_column": "fold"},
    "esc10": {"split_column": "fold"},
    "fsdd": {"group_column": "speaker", "split_column": "speaker"},
}
DEFAULT = ("sample", "fsdd")
VARIANTS = {
    "weights": {
        "frozen convolutions": {"freeze": "conv"},
        "all weights": {"freeze": "none"},
        "LoRA, rank 8": {"lora_rank": 8},
    },
    "pooling": {
        "frozen encoder, mean": {"freeze": "encoder"},
        "frozen encoder, attention": {"freeze": "encoder", "pooling": "attention"},
        "frozen convolutions, mean": {"freeze": "conv"},
        "frozen convolutions, attention": {"freeze": "conv", "pooling": "attention"},
    },
}
HEADER = ["head", "accuracy", "95 % interval", "log-loss", "seconds to fit", "seconds to predict"]


def main() -> None:
    args = parse()
    for name in args.names or DEFAULT:
        measure(name, args)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COLUMNS)} (default: sample fsdd)")
    parser.add_argument("--data", help="clips.csv of the one task that is named, or a folder with esc10/, fsdd/")
    parser.add_argument("--vary", choices=tuple(VARIANTS), default="weights", help="what the fine-tunings differ in")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, help="default: the head's own")
    parser.add_argument("--per-class", type=int, help="draw so many clips of every class")
    parser.add_argument("--max-seconds", type=float, help="use only so much of each clip, for all heads alike")
    args = parser.parse_args()
    for name in args.names:
        if name not in COLUMNS:
            parser.error(f"unknown task {name!r}: known are {', '.join(COLUMNS)}")
    if args.data is None and (not args.names or set(args.names) - {"sample"}):
        parser.error("--data FOLDER is needed: all but the sample is not in the package")
    return args


def measure(name: str, args: argparse.Namespace) -> None:
    manifest = read_manifest(find_clips(name, args), **COLUMNS[name])
    with tempfile.TemporaryDirectory() as folder:
        store, started = Path(folder) / "emb.h5", time.perf_counter()
        extract_embeddings(manifest, store, encoder=args.encoder, resources=Resources(), max_seconds=args.max_seconds)
        embedded = time.perf_counter() - started
        dataset = load_embeddings(store)
    if args.per_class:
        dataset = dataset.balanced(args.per_class)
    heads = ["logreg", "mlp", *(variant(label, args) for label in VARIANTS[args.vary])]
    with ProgressBar(f"finetune {name}", unit="fits") as bar:
        result = compare(dataset, heads, folds="split", auto=False, curves=False, progress=bar)
    write(name, result, args, n_clips=len(dataset), embedded=embedded)


def find_clips(name: str, args: argparse.Namespace) -> str:
    if name == "sample":
        return str(files("embedx") / "assets" / "sample" / "clips.csv")
    place = Path(args.data)
    return str(place / name / "clips.csv" if place.is_dir() else place)


def variant(name: str, args: argparse.Namespace) -> HeadSpec:
    spec = get_head("finetune")
    facts = {field.name: getattr(spec, field.name) for field in fields(HeadSpec)}
    settings = {"epochs": args.epochs, **VARIANTS[args.vary][name]}
    if args.learning_rate is not None:
        settings["learning_rate"] = args.learning_rate
    label = f"finetune, {name}"
    return HeadSpec(**{**facts, "name": label, "title": label, "factory": partial(spec.factory, **settings)})


def write(name: str, result, args: argparse.Namespace, *, n_clips: int, embedded: float) -> None:
    rows = [row_of(row) for row in result.rows]
    note = (
        f"{n_clips} clips, {len(result.rows[0].folds)} folds, encoder {args.encoder}, {args.epochs} epochs at most"
        + (f", first {args.max_seconds:g} s of each clip" if args.max_seconds else "")
        + f". Seconds are those of all folds; the frozen heads' embeddings took {embedded:.0f} s once. "
        + collapses(result)
    )
    path = write_result(
        f"finetune-{name}" + ("" if args.vary == "weights" else f"-{args.vary}"),
        tables={"heads": table(HEADER, rows, note=note)},
        settings={**vars(args), "seed": 0, "data": args.data and Path(args.data).name},
        load=os.getloadavg()[0],
        embedding_seconds=embedded,
        recipes=result.facts["recipes"],
        folds={row.name: {fold.fold: fold.scores["accuracy"] for fold in row.folds} for row in result.rows},
        collapsed={row.name: row.collapsed for row in result.rows},
        verdict=str(result.verdict),
    )
    for row in rows:
        print(*row, sep="\t")
    print(path)


def collapses(result) -> str:
    found = [row.title for row in result.rows if row.collapsed is not None and row.kind != "baseline"]
    return f"Collapsed to one class: {', '.join(found)}." if found else "None collapsed to one class."


def row_of(row) -> list:
    interval = row.intervals.get("accuracy")
    if interval is None:  # fewer than ten groups: the scores themselves
        shown = "; ".join(f"{fold.fold} {fold.scores['accuracy']:.3f}" for fold in row.folds)
    else:
        shown = f"{interval[0]:.3f} to {interval[1]:.3f}"
    seconds = [round(sum(getattr(fold, f"seconds_{what}") for fold in row.folds), 1) for what in ("fit", "predict")]
    return [row.title, row.scores["accuracy"], shown, row.scores["log_loss"], *seconds]


if __name__ == "__main__":
    main()
