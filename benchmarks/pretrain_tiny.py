"""Train the bundled encoder `embedx/assets/tiny`: `python benchmarks/pretrain_tiny.py --data DIR --run DIR`.

Two iterations of HuBERT: masked prediction of k-means clusters of MFCC frames, then of clusters of its own features.
The run is seeded and resumable: killed, it goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny_encoder.hearing import all_streams  # noqa: E402
from tiny_encoder.pool import Pool, build_pool  # noqa: E402
from tiny_encoder.training import Plan, Trainer  # noqa: E402

BEGAN = time.time()


def say(what: str, **facts: Any) -> None:
    """Print one line of progress."""
    listed = "  ".join(f"{name}={value}" for name, value in facts.items())
    print(f"{time.time() - BEGAN:7.0f} s  {what}  {listed}", flush=True)


def first_pool(args: argparse.Namespace) -> Pool:
    """Read the pool of the first iteration, or build it."""
    path = args.run / "pool.npz"
    if not path.exists():
        streams = all_streams(args.data, seed=args.seed, speech_minutes=args.speech_minutes)
        say("collected", streams=len(streams))
        build_pool(streams, n_clusters=args.clusters, seed=args.seed, say=say).save(path)
    pool = Pool.load(path)
    say("heard", **pool.seconds())
    return pool


def trained(pool: Pool, args: argparse.Namespace, *, name: str, minutes: float, start: Any = None) -> Trainer:
    """Train one iteration in its folder, going on where it stopped."""
    folder = args.run / name
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(pool, Plan(minutes=minutes, peak_rate=args.rate, seed=args.seed, weights=tuple(args.weights)), device=args.device, start=start)
    if trainer.resume(folder / "trainer.pt"):
        say("resumed", step=trainer.step, minutes=round(trainer.seconds / 60, 1))
    trainer.train(folder, say)
    return trainer


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esc10/ and fsdd/")
    parser.add_argument("--run", type=Path, required=True, help="folder for the pool and the checkpoints")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--speech-minutes", type=float, default=60)
    parser.add_argument("--clusters", type=int, default=256)
    parser.add_argument("--weights", type=float, nargs=4, default=(1.0, 0.2, 1.0, 1.0), help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    trained(first_pool(args), args, name="first", minutes=args.minutes)


if __name__ == "__main__":
    main()
