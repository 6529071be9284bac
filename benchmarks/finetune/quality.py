"""Does fine-tuning pay? Frozen heads and fine-tuned encoders on the same folds, with what each cost.

    python -m benchmarks.finetune.quality sample                            # bundled clips, official folds
    python -m benchmarks.finetune.quality esc10 --data ESC10/clips.csv      # ten classes, official folds
    python -m benchmarks.finetune.quality fsdd --data FSDD/clips.csv        # digits, by speaker

Writes benchmarks/results/finetune-NAME.json. The encoder is the bundled one unless told.
"""

import argparse
import os
import tempfile
from dataclasses import fields
from functools import partial
from importlib.resources import files
from pathlib import Path

from benchmarks.record import table, write_result
from embedx.cli.progress import ProgressBar
from embedx.comparison import compare
from embedx.dataset import load_embeddings
from embedx.extract.job import extract_embeddings
from embedx.heads.catalog import HeadSpec, get_head
from embedx.manifest import read_manifest
from embedx.recipe import Resources

VARIANTS = {
    "frozen convolutions": {"freeze": "conv"},
    "all weights": {"freeze": "none"},
    "LoRA, rank 8": {"lora_rank": 8},
}


def main() -> None:
    args = parse()
    place = str(files("embedx") / "assets" / "sample" / "clips.csv") if args.data is None else args.data
    columns = (
        {"group_column": "speaker", "split_column": "speaker"} if args.name == "fsdd" else {"split_column": "fold"}
    )
    manifest = read_manifest(place, **columns)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "emb.h5"
        extract_embeddings(manifest, store, encoder=args.encoder, resources=Resources(), max_seconds=args.max_seconds)
        dataset = load_embeddings(store)
    if args.per_class:
        dataset = dataset.balanced(args.per_class)
    heads = ["logreg", "mlp", *(variant(name, args) for name in VARIANTS)]
    with ProgressBar("finetune benchmark", unit="fits") as bar:
        result = compare(dataset, heads, folds="split", auto=False, curves=False, progress=bar)
    write(result, args, len(dataset))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("sample", "esc10", "fsdd"))
    parser.add_argument("--data", help="clips.csv")
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--per-class", type=int, help="draw so many clips of every class")
    parser.add_argument("--max-seconds", type=float, help="use only so much of each clip, for all heads alike")
    return parser.parse_args()


def variant(name: str, args: argparse.Namespace) -> HeadSpec:
    spec = get_head("finetune")
    facts = {field.name: getattr(spec, field.name) for field in fields(HeadSpec)}
    settings = {"epochs": args.epochs, "learning_rate": args.learning_rate, **VARIANTS[name]}
    label = f"finetune, {name}"
    return HeadSpec(**{**facts, "name": label, "title": label, "factory": partial(spec.factory, **settings)})


def write(result, args: argparse.Namespace, n_clips: int) -> None:
    rows = [row_of(row) for row in result.rows]
    fits = len(result.rows[0].folds)
    note = (
        f"{n_clips} clips, {fits} folds, encoder {args.encoder}, {args.epochs} epochs at {args.learning_rate:g}"
        + (f", first {args.max_seconds:g} s of each clip" if args.max_seconds else "")
        + ". Seconds are those of all folds; the machine was shared, so only their ratios mean something."
    )
    columns = ["head", "accuracy", "95 % interval", "log-loss", "seconds to fit", "seconds to predict"]
    path = write_result(
        f"finetune-{args.name}",
        tables={"heads": table(columns, rows, note=note)},
        settings={**vars(args), "seed": 0, "data": args.data and Path(args.data).name},
        load=os.getloadavg()[0],
        recipes=result.facts["recipes"],
        folds={row.name: {fold.fold: fold.scores["accuracy"] for fold in row.folds} for row in result.rows},
        collapsed={row.name: row.collapsed for row in result.rows},
        verdict=str(result.verdict),
    )
    for row in rows:
        print(*row, sep="\t")
    print(path)


def row_of(row) -> list:
    interval = row.intervals.get("accuracy")
    shown = "fewer than 10 groups" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    seconds = [round(sum(getattr(fold, f"seconds_{what}") for fold in row.folds), 1) for what in ("fit", "predict")]
    return [row.title, row.scores["accuracy"], shown, row.scores["log_loss"], *seconds]


if __name__ == "__main__":
    main()
