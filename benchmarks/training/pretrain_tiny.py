"""Train the bundled encoder `embedx/assets/tiny`: `python -m benchmarks.training.pretrain_tiny --data DIR --run DIR`.

Masked prediction of k-means clusters of MFCC frames (the first iteration of HuBERT), joined by the phonemes of speech
that espeak-ng makes and by which recording a sound was cut from; with `--minutes A B` a second iteration follows, on
clusters of the first one's features. espeak-ng (Debian's package) must be installed.
The run is seeded and resumable: killed, it goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.tools.record import write_result
from benchmarks.training.account import tables
from benchmarks.training.architecture import DEMONSTRATION_NOTE, export_checkpoint, fresh_model
from benchmarks.training.peers import Peers
from benchmarks.training.pool import Pool, all_streams, build_pool, second_targets
from benchmarks.training.trainer import PARTS, Plan, Trainer

BEGAN = time.time()


def say(what: str, **facts: Any) -> None:
    """Print one line of progress."""
    listed = "  ".join(f"{name}={value}" for name, value in facts.items())
    print(f"{time.time() - BEGAN:7.0f} s  {what}  {listed}", flush=True)


def first_pool(args: argparse.Namespace) -> Pool:
    """Build the pool of the first iteration, unless it is there."""
    path = args.run / "pool.npz"
    if not path.exists():
        made = {"speech_minutes": args.speech_minutes, "texture_minutes": args.texture_minutes}
        streams = all_streams(args.data, seed=args.seed, **made)
        say("collected", streams=len(streams))
        build_pool(streams, n_clusters=args.clusters, seed=args.seed, say=say).save(path)
    return Pool.load(path)


def second_pool(args: argparse.Namespace, pool: Pool) -> Pool:
    """Build the pool of the second iteration from what the first one learned, unless it is there."""
    path = args.run / "second.npz"
    if not path.exists():
        encoder = fresh_model(args.seed).eval()
        encoder.load_state_dict(first_state(args))
        targets = second_targets(pool, encoder, layer=args.layer, n_clusters=2 * args.clusters, seed=args.seed)
        replace(pool, targets=targets).save(path)
        say("clustered what the first iteration learned", layer=args.layer)
    return Pool.load(path)


def first_state(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Read the averaged encoder of the first iteration."""
    return torch.load(args.run / "first" / "encoder.pt", map_location="cpu", weights_only=True)


def train_iteration(rank: int, args: argparse.Namespace, name: str, minutes: float) -> None:
    """Train one iteration in its folder, going on where it stopped; one of `args.processes` processes."""
    torch.set_num_threads(args.threads)
    folder = args.run / name
    pool = Pool.load(args.run / ("pool.npz" if name == "first" else "second.npz"))
    peers = Peers(rank, args.processes, meeting=folder / "meeting")
    start = first_state(args) if name == "second" else None
    trainer = Trainer(pool, plan_of(args, name, minutes), device=args.device, peers=peers, start=start)
    if trainer.resume(folder / "trainer.pt"):
        say("resumed", step=trainer.step, minutes=round(trainer.seconds / 60, 1))
    trainer.train(folder, say if rank == 0 else lambda *_, **__: None)
    if rank == 0:
        torch.save(trainer.encoder_state(), folder / "encoder.pt")


def plan_of(args: argparse.Namespace, name: str, minutes: float) -> Plan:
    """Return the plan of an iteration: the second one starts from a trained encoder, more gently."""
    rate = args.rate if name == "first" else 0.6 * args.rate
    return Plan(
        minutes=minutes,
        batch_seconds=args.batch_seconds,
        peak_rate=rate,
        weights=tuple(args.weights),
        seed=args.seed + (name == "second"),
    )


def iterate(args: argparse.Namespace, name: str, minutes: float) -> None:
    """Run one iteration in as many processes as asked for."""
    folder = args.run / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    if not (folder / "encoder.pt").exists():
        torch.multiprocessing.spawn(train_iteration, (args, name, minutes), nprocs=args.processes)


def export(args: argparse.Namespace, name: str) -> None:
    """Write the averaged weights of an iteration as the bundled checkpoint, and how it came to be as a result."""
    state = torch.load(args.run / name / "encoder.pt", map_location="cpu", weights_only=True)
    export_checkpoint(state, args.export, note=DEMONSTRATION_NOTE)
    run = torch.load(args.run / name / "trainer.pt", map_location="cpu", weights_only=True)
    path = write_result(
        "tiny_pretraining",
        tables=tables(args.data, Pool.load(args.run / "pool.npz"), run),
        plan=run["plan"],
        iteration=name,
        processes=args.processes,
        clusters=args.clusters,
    )
    say("exported", path=path)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esc10/ and fsdd/")
    parser.add_argument("--run", type=Path, required=True, help="folder for the pool and the checkpoints")
    parser.add_argument("--minutes", type=float, nargs=2, default=(60, 0), help="of the first and second iteration")
    parser.add_argument("--layer", type=int, default=3, help="that the second iteration's targets come from")
    parser.add_argument("--speech-minutes", type=float, default=180)
    parser.add_argument("--texture-minutes", type=float, default=60)
    parser.add_argument("--clusters", type=int, default=128)
    parser.add_argument(
        "--weights", type=float, nargs=len(PARTS), default=Plan.weights, metavar="W", help=" ".join(PARTS)
    )
    parser.add_argument("--batch-seconds", type=float, default=20.0, help="of audio a step, over all processes")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2 if not torch.cuda.is_available() else 1)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--export", type=Path, help="folder of the checkpoint, written when training is over")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    say("heard", **first_pool(args).seconds())
    iterate(args, "first", args.minutes[0])
    last = "first"
    if args.minutes[1]:
        second_pool(args, first_pool(args))
        iterate(args, "second", args.minutes[1])
        last = "second"
    if args.export:
        export(args, last)


if __name__ == "__main__":
    main()
