"""Training steps per second on wav2vec2-base's architecture, beside transformers' own example loop.

    python -m benchmarks.finetune.throughput --steps 4                 # random weights, float32, this machine
    python -m benchmarks.finetune.throughput --small --steps 3         # a small network: does the script run?

The other loop is what transformers' audio-classification example does: Trainer over feature-extracted random
subsamples of one length, frozen convolutions. Both train the same clips at the same batch size in one run,
in turns, so that a busy machine is busy for both. embedx is timed in its first epoch and in its second, when
what frozen convolutions make of the clips is known already. Writes benchmarks/results/finetune-throughput.json.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.tools.record import table, write_result
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.testing import make_tone, write_wav

SAMPLE_RATE = 16_000
CONVOLUTIONS, LAYERS = 2 * 2.45e9, 14.8e9 - 2 * 2.45e9
"""Of wav2vec2-base, forward, floating-point operations for a second of audio; backward costs twice as much."""

WORK = {
    "embedx, first epoch": CONVOLUTIONS + 3 * LAYERS,
    "embedx, later epochs": 3 * LAYERS,  # frozen convolutions are computed once a clip
    "transformers Trainer": CONVOLUTIONS + 3 * LAYERS,
}
HEADER = ["loop", "steps a second", "clips a second", "seconds of audio a second", "share of the peak", "memory, GiB"]


def main() -> None:
    args = parse()
    seconds: dict[str, list[float]] = {name: [] for name in WORK}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        encoder = make_encoder(Path(folder), small=args.small)
        clips, labels = make_clips(Path(folder), args)
        for _ in range(args.rounds):
            for loop in (train_embedx, train_trainer):
                reset_peak()
                for name, took in loop(encoder, clips, labels, args).items():
                    seconds[name].append(took)
                    memory[name] = max(memory.get(name, 0.0), read_peak())
    peak = measure_peak()
    rows = [row_of(name, min(times), memory[name], peak, args) for name, times in seconds.items()]
    note = (
        f"wav2vec2-base's architecture{' at a small size' if args.small else ''} with random weights, batch of "
        f"{args.batch_size} clips of {args.seconds:g} s, frozen convolutions, {dtype()}, best of {args.rounds} "
        f"rounds of {args.steps} steps in turns; the peak is {peak / 1e12:.2f} TFLOP/s, of a matrix product in the "
        "same run. Memory: of the GPU, on a CPU the process's peak."
    )
    path = write_result(
        "finetune-throughput",
        tables={"steps": table(HEADER, rows, note=note)},
        settings=vars(args),
        load=os.getloadavg()[0],
        seconds=seconds,
        peak_flops=peak,
    )
    for row in rows:
        print(*row, sep="\t")
    print(path)


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def read_peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM"))


def measure_peak() -> float:
    """Floating-point operations a second of a large matrix product in the dtype of the training; best of five."""
    cuda = torch.cuda.is_available()
    n = 8192 if cuda else 2048
    one = torch.randn(n, n, dtype=torch.bfloat16 if cuda else torch.float32, device="cuda" if cuda else "cpu")
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        one @ one
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
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


def train_embedx(encoder: str, clips: list[str], labels: list[str], args: argparse.Namespace) -> dict[str, float]:
    """Seconds of an epoch's steps, from the first step's end to the last one's, scaled to all steps."""
    ends: list[float] = []
    FineTuneClassifier(
        encoder=encoder,
        epochs=2,
        batch_size=args.batch_size,
        validation_fraction=0.0,
        augmentation=Augmentation(gain_db=0.0),
    ).fit(clips, labels, progress=lambda done, total, **facts: ends.append(time.perf_counter()))
    first, later = ends[: args.steps], ends[args.steps :]
    return {"embedx, first epoch": scaled(first, args.steps), "embedx, later epochs": scaled(later, args.steps)}


def train_trainer(encoder: str, clips: list[str], labels: list[str], args: argparse.Namespace) -> dict[str, float]:
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
    return {"transformers Trainer": scaled(ends, args.steps)}


def scaled(ends: list[float], n_steps: int) -> float:
    return (ends[-1] - ends[0]) * n_steps / max(1, len(ends) - 1)


def row_of(name: str, seconds: float, memory: float, peak: float, args: argparse.Namespace) -> list:
    clips = args.steps * args.batch_size / seconds
    share = "not counted" if args.small else clips * args.seconds * WORK[name] / peak
    return [name, args.steps / seconds, clips, clips * args.seconds, share, memory]


if __name__ == "__main__":
    main()
