"""Cut the bundled sample from ESC-10: four classes of 38 clips, 16 kHz mono Ogg Vorbis.

    python -m benchmarks.training.make_sample PATH/TO/esc10

The two rooster clips under CC-Sampling+ are left out (they may not be shared), and 38 clips of each
other class are drawn with a fixed seed. Writes embedx/assets/sample/audio/*.ogg and clips.csv.
"""

import csv
import random
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

CLASSES = ("dog_bark", "rooster", "baby_cry", "person_sneeze")
PER_CLASS = 38
SEED = 20_261_122
SAMPLE_RATE = 16_000
TARGET = Path(__file__).resolve().parents[2] / "embedx" / "assets" / "sample"


def draw(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows of the sample, in the order of their paths."""
    shareable = [row for row in rows if row["license"] in ("CC0", "CC-BY")]
    chosen: list[dict[str, str]] = []
    for name in CLASSES:
        members = sorted((row for row in shareable if row["label"] == name), key=lambda row: row["path"])
        chosen += random.Random(f"{SEED}-{name}").sample(members, PER_CLASS)
    return sorted(chosen, key=lambda row: row["path"])


def read_16_khz(path: Path) -> np.ndarray:
    """Return the mono samples of a clip, resampled with a windowed sinc."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples).mean(dim=1)
    return torchaudio.functional.resample(mono, rate, SAMPLE_RATE, lowpass_filter_width=64).clamp(-1, 1).numpy()


def main(esc10: Path) -> None:
    """Write the audio and the list."""
    with (esc10 / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = draw(list(csv.DictReader(file)))
    (TARGET / "audio").mkdir(parents=True, exist_ok=True)
    for row in rows:
        soundfile.write(
            TARGET / row["path"],
            read_16_khz(esc10 / row["path"]),
            SAMPLE_RATE,
            format="OGG",
            subtype="VORBIS",
            compression_level=0.6,
        )
    with (TARGET / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    size = sum(path.stat().st_size for path in (TARGET / "audio").iterdir())
    print(f"{len(rows)} clips, {size / 1e6:.2f} MB in {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
