"""Which defaults fine-tuning should have, on development splits that no reported score is taken from.

    python -m benchmarks.finetune.defaults --data DATA          # DATA holds fsdd/ and esc10/

FSDD: learned from jackson, judged on nicolas (george is left alone); ESC-10: the six classes outside the bundled
sample, learned from folds 1 to 3, judged on 4 and 5. Writes benchmarks/results/finetune-defaults.json. Run it
again when the bundled encoder's weights change.
"""

import argparse
import csv
import os
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.tools.record import table, write_result
from embedx.errors import CollapsedTrainingWarning
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.manifest import Source

SIX = ("chainsaw", "clock_tick", "fire_crackling", "helicopter", "rain", "sea_waves")
SETTINGS = {
    "defaults": {},
    "rate 3e-5": {"learning_rate": 3e-5},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rate 1e-3": {"learning_rate": 1e-3},
    "batch of 8": {"batch_size": 8},
    "rate 3e-4, batch of 8": {"learning_rate": 3e-4, "batch_size": 8},
    "no layer decay": {"layer_decay": 1.0},
    "half the layers frozen": {"n_frozen_layers": 2},
    "speed within 20 %": {"augmentation": Augmentation(speed_percent=20)},
    "mixup 0.4": {"augmentation": Augmentation(mixup_alpha=0.4)},
    "masks 0.2": {"augmentation": Augmentation(mask_time_prob=0.2)},
}
HEADER = ["learned from, judged on", "settings", "accuracy", "log-loss", "epochs", "collapsed", "restarts", "seconds"]


def main() -> None:
    args = parse()
    rows = []
    for title, read in (("jackson, nicolas", read_fsdd), ("folds 1 to 3, 4 and 5", read_esc10)):
        train, test = read(Path(args.data), args)
        for name, settings in SETTINGS.items():
            if args.only and name not in args.only:
                continue
            rows.append([title, name, *judge(train, test, {"epochs": args.epochs, **settings}, args.encoder)])
            print(*rows[-1], sep="\t", flush=True)
    note = f"Encoder {args.encoder}, {args.epochs} epochs at most, seed 0; no clip of a reported test part."
    print(
        write_result(
            "finetune-defaults",
            tables={"settings": table(HEADER, rows, note=note)},
            settings=vars(args),
            load=os.getloadavg()[0],
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--per-class", type=int, default=25, help="clips of each digit and speaker")
    parser.add_argument("--max-seconds", type=float, default=2.5, help="of each clip of ESC-10")
    parser.add_argument("--only", action="append", help="settings to try, by name")
    return parser.parse_args()


def judge(train: list, test: list, settings: dict, encoder: str) -> list:
    sources, labels, groups = zip(*train, strict=True)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedTrainingWarning)  # it is a column
        classifier = FineTuneClassifier(encoder=encoder, **settings)
        classifier.fit(sources, labels, groups=groups if len(set(groups)) > 1 else None)
    seconds = time.perf_counter() - started
    proba = classifier.predict_proba([source for source, _, _ in test])
    codes = np.searchsorted(classifier.classes_, [label for _, label, _ in test])
    loss = float(-np.log(np.maximum(proba[np.arange(len(codes)), codes], 1e-12)).mean())
    accuracy = float((proba.argmax(axis=1) == codes).mean())
    told = [len(classifier.history_), classifier.collapsed_, classifier.n_restarts_, round(seconds, 1)]
    return [accuracy, loss, *told]


def read_fsdd(data: Path, args: argparse.Namespace) -> tuple[list, list]:
    def some(speaker: str) -> list:
        rows, counts = [], {}
        for row in read_rows(data / "fsdd"):
            counts[row["label"]] = counts.get(row["label"], 0) + (row["speaker"] == speaker)
            if row["speaker"] == speaker and counts[row["label"]] <= args.per_class:
                rows.append((Source(str((data / "fsdd" / row["path"]).resolve())), row["label"], speaker))
        return rows

    return some("jackson"), some("nicolas")


def read_esc10(data: Path, args: argparse.Namespace) -> tuple[list, list]:
    parts: dict[bool, list] = {True: [], False: []}
    for row in read_rows(data / "esc10"):
        if row["label"] in SIX:
            source = Source(str((data / "esc10" / row["path"]).resolve()), stop_seconds=args.max_seconds)
            parts[row["fold"] in "123"].append((source, row["label"], row["source_id"]))
    return parts[True], parts[False]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
