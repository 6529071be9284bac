"""The clips that all peers get: 16 kHz mono WAV, one official fold tested, in two CSVs.

python -m benchmarks.peers.clips --task sample --per-class 0 --folder FOLDER --out OUT.json
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import soundfile

from benchmarks.quality.tasks import read_tasks
from embedx.audio.decode import decode

RATE = 16_000
TESTED = "5"


def main() -> None:
    """Decode once, so that decoding is no part of any peer's time but reading is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--per-class", type=int, default=0, help="training clips a class, and a third to test; 0: all")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    manifest = read_tasks()[args.task].read(args.data)
    (args.folder / "wav").mkdir(parents=True, exist_ok=True)
    seen: Counter[tuple[str, str | None]] = Counter()
    rows: dict[str, list[list[str]]] = {"train": [], "test": []}
    seconds = 0.0
    for source in manifest:
        part = "test" if source.split == TESTED else "train"
        limit = args.per_class if part == "train" else -(-args.per_class // 3)
        if args.per_class and seen[part, source.label] >= limit:
            continue
        seen[part, source.label] += 1
        samples = decode(manifest.path_of(source), sample_rate=RATE)
        seconds += len(samples) / RATE
        place = args.folder.resolve() / "wav" / f"{Path(source.uri).stem}.wav"
        soundfile.write(place, samples, RATE)
        rows[part].append([str(place), str(source.label), str(source.group)])
    for part, lines in rows.items():
        with (args.folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["file", "label", "group"], *lines])
    truth = [label for _, label, _ in rows["test"]]
    found = {"n_train": len(rows["train"]), "n_test": len(truth), "audio_seconds": seconds, "truth": truth}
    args.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
