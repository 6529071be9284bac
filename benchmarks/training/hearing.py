"""What the bundled encoder hears: 16 kHz streams of sounds, spoken digits, and what a synthesiser makes; nothing else.

Clean holdouts, by construction: the four classes of the bundled sample, fold 5 of ESC-10 and the FSDD speaker
george are never read here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE, HOP, FIELD = 16000, 320, 400  # Hz, samples between two frames, samples that one frame sees
DOMAINS = ("sounds", "digits", "synthesised", "textures")
SPEECH = (1, 2)  # of the domains: what is said counts, not by whom
SAMPLE_CLASSES = frozenset({"dog_bark", "rooster", "baby_cry", "person_sneeze"})
HEARD_FOLDS = frozenset({"1", "2", "3", "4"})
HEARD_SPEAKERS = ("jackson", "nicolas")
SPEEDS = (1.0, 0.8, 0.9, 1.12, 1.25)


@dataclass(frozen=True)
class Stream:
    """One stretch of 16 kHz audio: samples (n,) float32, where it is from, and the stream it is a resampling of."""

    samples: np.ndarray
    domain: int
    held_out: bool
    speed: float = 1.0
    base: int = -1  # index of the stream with speed 1.0; -1 when this is it
    recording: str = ""  # which sound this was cut from; empty for speech
    phonemes: np.ndarray | None = None  # (frames,) int16 at speed 1.0, where a synthesiser told


def n_frames(n_samples: int) -> int:
    """Count the frames that wav2vec2's convolutions make of `n_samples` samples."""
    return max(0, (n_samples - FIELD) // HOP + 1)


def read_audio(path: Path) -> np.ndarray:
    """Read a mono recording as (n,) float32 at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    return resample(samples, rate)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring samples to 16 kHz (n,) float32."""
    divisor = np.gcd(rate, RATE)
    return resample_poly(samples, RATE // divisor, rate // divisor).astype(np.float32)


def resampled(samples: np.ndarray, speed: float) -> np.ndarray:
    """Play `samples` `speed` times as fast: shorter, higher, and with the formants of a smaller speaker."""
    up, down = 100, round(100 * speed)
    return resample_poly(samples, up, down).astype(np.float32)


def heard_sounds(folder: Path) -> list[dict[str, str]]:
    """List the rows of ESC-10 that training may hear."""
    with open(folder / "clips.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["label"] not in SAMPLE_CLASSES and row["fold"] in HEARD_FOLDS]


def heard_digits(folder: Path) -> list[dict[str, str]]:
    """List the rows of FSDD that training may hear."""
    with open(folder / "clips.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["speaker"] in HEARD_SPEAKERS]


def sound_streams(folder: Path, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield every heard sound; one recording in ten (all of its clips) is held out."""
    rows = heard_sounds(folder)
    sources = sorted({row["source_id"] for row in rows})
    held_out = set(rng.permutation(sources)[: len(sources) // 10])
    for row in rows:
        source = row["source_id"]
        yield Stream(read_audio(folder / row["path"]), 0, source in held_out, recording=source)


def digit_streams(
    folder: Path, rng: np.random.Generator, *, n_passes: int = 2, seconds: float = 5.0
) -> Iterator[Stream]:
    """Yield one speaker's digits at a time, strung together in random orders; one clip in ten is held out."""
    rows = heard_digits(folder)
    held_out = {row["path"] for row in np.array(rows)[rng.permutation(len(rows))[: len(rows) // 10]]}
    clips = {row["path"]: read_audio(folder / row["path"]) for row in rows}
    for speaker in HEARD_SPEAKERS:
        for is_held_out in (False, True):
            paths = [r["path"] for r in rows if r["speaker"] == speaker and (r["path"] in held_out) == is_held_out]
            for _ in range(1 if is_held_out else n_passes):
                order = [clips[path] for path in rng.permutation(paths)]
                yield from (Stream(samples, 1, is_held_out) for samples in strung(order, rng, seconds))


def strung(clips: list[np.ndarray], rng: np.random.Generator, seconds: float) -> Iterator[np.ndarray]:
    """Join clips with short pauses into stretches of at least `seconds`; every clip at the same loudness."""
    pieces: list[np.ndarray] = []
    for clip in clips:
        pause = np.zeros(int(rng.uniform(0, 0.15) * RATE), np.float32)
        pieces += [clip / (np.sqrt(np.mean(clip**2)) + 1e-6), pause]
        if sum(map(len, pieces)) >= seconds * RATE:
            yield np.concatenate(pieces)
            pieces = []


def perturbed(stream: Stream, base: int, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield `stream` at other speeds: all of SPEEDS for recordings, one of them for what a synthesiser made."""
    if stream.held_out:
        return
    speeds = SPEEDS[1:] if stream.domain < 2 else (float(rng.choice(SPEEDS[1:])),)
    for speed in speeds:
        yield replace(stream, samples=resampled(stream.samples, speed), speed=speed, base=base)
