"""What is told of a training run: what was heard, for how long, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile

from benchmarks.tools.record import table

from .hearing import DOMAINS, RATE, heard_digits, heard_sounds
from .pool import Pool

CURVE = ("step", "minutes", "loss", "held_out", *(f"held_out_{domain}" for domain in DOMAINS), "phonemes_right")


def tables(data: Path, pool: Pool, run: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a finished run: `heard`, `run` and `curve`."""
    return {"heard": _heard(data, pool), "run": _run(run), "curve": _curve(run["history"])}


def _heard(data: Path, pool: Pool) -> dict[str, Any]:
    sounds = [data / "esc10" / row["path"] for row in heard_sounds(data / "esc10")]
    digits = [data / "fsdd" / row["path"] for row in heard_digits(data / "fsdd")]
    rows = [
        ["ESC-10, folds 1 to 4 of the six classes outside the sample", len(sounds), _minutes(sounds), "CC0, CC BY"],
        ["FSDD, speakers jackson and nicolas", len(digits), _minutes(digits), "CC BY-SA 4.0"],
        ["speech made by espeak-ng, with its phonemes; no digit in its text", *_made(pool, 2), "made for this"],
        ["sounds made from random recipes", *_made(pool, 3), "made for this"],
    ]
    note = (
        "A tenth of the recordings and a twentieth of what was made were kept for the held-out loss. The rest was "
        "also heard at 0.8 to 1.25 times its speed, filtered, mixed, in noise and in rooms."
    )
    return table(["what it heard", "clips", "minutes", "licence"], rows, note=note)


def _minutes(paths: list[Path]) -> float:
    return round(sum(soundfile.info(path).duration for path in paths) / 60, 1)


def _made(pool: Pool, domain: int) -> tuple[int, float]:
    own = (pool.base < 0) & (pool.domain == domain)
    sizes = pool.sample_sizes()[own]
    return int(own.sum()), round(float(sizes.sum()) / RATE / 60, 1)


def _run(run: dict[str, Any]) -> dict[str, Any]:
    step, seconds, heard = run["counts"]
    first, last = run["history"][0], run["history"][-1]
    by_domain = " / ".join(f"{last[f'held_out_{domain}']:.2f}" for domain in DOMAINS)
    rows = [
        ["steps", step],
        ["minutes of training", round(seconds / 60, 1)],
        ["hours heard, with repeats", round(heard / 3600, 1)],
        [f"held-out masked loss at step {first['step']}, nats", first["held_out"]],
        ["held-out masked loss at the end, nats", last["held_out"]],
        ["... of sounds / digits / made speech / made sounds", by_domain],
        ["phonemes of held-out made speech guessed right, frame by frame", last["phonemes_right"]],
    ]
    return table(["training run", "figure"], rows, note="The averaged weights were kept. The machine had other work.")


def _curve(history: list[dict[str, Any]]) -> dict[str, Any]:
    note = "Masked cluster loss in nats, while training and on streams held out (averaged weights, nothing added)."
    return table(CURVE, [[line[column] for column in CURVE] for line in history], note=note)
