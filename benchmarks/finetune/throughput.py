"""Training steps per second on wav2vec2-base's architecture, beside transformers' own example loop.

    python -m benchmarks.finetune.throughput --steps 4                 # random weights, float32, this machine
    python -m benchmarks.finetune.throughput --small --steps 3         # a small network: does the script run?

The other loop is what transformers' audio-classification example does: Trainer over feature-extracted random
subsamples of one length, frozen convolutions. Both train the same clips at the same batch size in one run,
in turns, so that a busy machine is busy for both. Writes benchmarks/results/finetune-throughput.json.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import table, write_result
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.testing import make_tone, write_wav

SAMPLE_RATE = 16_000
FLOPS_PER_SECOND = 14.8e9 * 3 - 2 * 2 * 2.45e9
"""Of wav2vec2-base per second of audio: forward and twice that backward, less the frozen convolutions' backward."""


def main() -> None:
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        encoder = make_encoder(Path(folder), small=args.small)
        clips, labels = make_clips(Path(folder), args)
        loops = {"embedx": train_embedx, "transformers Trainer": train_trainer}
        seconds = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                seconds[name].append(loop(encoder, clips, labels, args))
    rows = [row_of(name, min(times), args) for name, times in seconds.items()]
    note = (
        f"wav2vec2-base's architecture{' at a small size' if args.small else ''} with random weights, batch of "
        f"{args.batch_size} clips of {args.seconds:g} s, frozen convolutions, {dtype()}, best of {args.rounds} "
        f"rounds of {args.steps} steps in turns. The machine was shared: only the ratio means something."
    )
    columns = ["loop", "steps a second", "seconds of audio a second", "TFLOP/s", "memory GiB"]
    path = write_result(
        "finetune-throughput",
        tables={"steps": table(columns, rows, note=note)},
        settings=vars(args),
        load=os.getloadavg()[0],
        seconds=seconds,
    )
    for row in rows:
        print(*row, sep="\t")
    print(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each clip")
    parser.add_argument("--small", action="store_true")
    return parser.parse_args()


def dtype() -> str:
    return "bfloat16" if torch.cuda.is_available() else "float32"


def make_encoder(folder: Path, *, small: bool) -> str:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    tiny = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    config = Wav2Vec2Config(**(tiny | {"conv_dim": [32] * 7} if small else {}), layerdrop=0.0)
    Wav2Vec2Model(config).save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(folder / "encoder")
    return str(folder / "encoder")


def make_clips(folder: Path, args: argparse.Namespace) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for i in range(args.batch_size * args.steps):
        paths.append(str(folder / f"{i}.wav"))
        labels.append(("low", "high")[i % 2])
        pitch = (200.0, 900.0)[i % 2] * rng.uniform(0.9, 1.1)
        write_wav(paths[-1], make_tone(pitch, seconds=args.seconds, noise=0.1, seed=i))
    return paths, labels


def train_embedx(encoder: str, clips: list[str], labels: list[str], args: argparse.Namespace) -> float:
    """Seconds from the first step's end to the last one's, scaled to all steps."""
    ends: list[float] = []
    FineTuneClassifier(
        encoder=encoder,
        epochs=1,
        batch_size=args.batch_size,
        validation_fraction=0.0,
        augmentation=Augmentation(gain_db=0.0),
    ).fit(clips, labels, progress=lambda done, total, **facts: ends.append(time.perf_counter()))
    return scaled(ends, args.steps)


def train_trainer(encoder: str, clips: list[str], labels: list[str], args: argparse.Namespace) -> float:
    from transformers import (
        AutoFeatureExtractor,
        AutoModelForAudioClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from embedx.audio.decode import decode

    prepare = AutoFeatureExtractor.from_pretrained(encoder)
    model = AutoModelForAudioClassification.from_pretrained(encoder, num_labels=2)
    model.freeze_feature_encoder()
    n_samples = round(args.seconds * SAMPLE_RATE)
    data = [
        {
            "input_values": prepare(decode(path)[:n_samples], sampling_rate=SAMPLE_RATE).input_values[0],
            "labels": int(label == "high"),
        }
        for path, label in zip(clips, labels, strict=True)
    ]
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=args.batch_size,
            num_train_epochs=1,
            save_strategy="no",
            report_to=[],
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            logging_strategy="no",
        )
        Trainer(model=model, args=settings, train_dataset=data, callbacks=[Clock()]).train()
    return scaled(ends, args.steps)


def scaled(ends: list[float], n_steps: int) -> float:
    return (ends[-1] - ends[0]) * n_steps / max(1, len(ends) - 1)


def row_of(name: str, seconds: float, args: argparse.Namespace) -> list:
    audio = args.steps * args.batch_size * args.seconds / seconds
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else "not measured"
    speed = "not counted" if args.small else audio * FLOPS_PER_SECOND / 1e12
    return [name, args.steps / seconds, audio, speed, memory]


if __name__ == "__main__":
    main()
