"""What the bundled encoder hears: 16 kHz streams of sounds, spoken digits and synthesised speech, and nothing else.

Clean holdouts, by construction: the four classes of the bundled sample, fold 5 of ESC-10 and the FSDD speaker
george are never read here.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from .vocabulary import ACCENTS, DIGITS, LANGUAGES, ONSETS, VARIANTS, VOWELS, WORDS

RATE, HOP, FIELD = 16000, 320, 400  # Hz, samples between two frames, samples that one frame sees
DOMAINS = ("sounds", "digits", "synthesised")
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


def read_audio(path: Path | io.BytesIO) -> np.ndarray:
    """Read a mono recording as (n,) float32 at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
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
        yield Stream(read_audio(folder / row["path"]), 0, row["source_id"] in held_out)


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


def sentence(rng: np.random.Generator) -> str:
    """Draw a handful of words: common English, digits, and invented syllables."""
    return " ".join(_word(rng) for _ in range(rng.integers(6, 14)))


def _word(rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.25:
        return str(rng.choice(DIGITS))
    if draw < 0.75:
        return str(rng.choice(WORDS))
    return "".join(str(rng.choice(ONSETS)) + str(rng.choice(VOWELS)) for _ in range(rng.integers(1, 4)))


def speech_streams(minutes: float, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield speech that espeak-ng synthesises with random voices, rates and pitches; one in twenty is held out."""
    seconds = 0.0
    while seconds < minutes * 60:
        language = rng.choice(ACCENTS) if rng.random() < 0.6 else rng.choice(LANGUAGES)
        voice = f"{language}+{rng.choice(VARIANTS)}"
        samples = synthesised(sentence(rng), voice, rate=int(rng.integers(110, 220)), pitch=int(rng.integers(10, 90)))
        seconds += len(samples) / RATE
        if len(samples) > RATE:
            yield Stream(samples, 2, bool(rng.random() < 0.05))


def synthesised(text: str, voice: str, *, rate: int, pitch: int) -> np.ndarray:
    """Say `text` with espeak-ng (rate in words a minute, pitch 0 to 99); returns (n,) float32 at 16 kHz."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(rate), "-p", str(pitch), text]
    return read_audio(io.BytesIO(_fix_length(subprocess.run(command, check=True, capture_output=True).stdout)))


def _fix_length(wav: bytes) -> bytes:
    # Streamed WAV carries a made-up length in its header: write the real one.
    size = len(wav) - 44
    return wav[:4] + (size + 36).to_bytes(4, "little") + wav[8:40] + size.to_bytes(4, "little") + wav[44:]


def all_streams(data: Path, *, seed: int, speech_minutes: float) -> list[Stream]:
    """Collect everything the encoder hears, each stream at its own speed and at others."""
    rng = np.random.default_rng(seed)
    streams = [*sound_streams(data / "esc10", rng), *digit_streams(data / "fsdd", rng)]
    streams += speech_streams(speech_minutes, rng)
    for base in range(len(streams)):
        streams += perturbed(streams[base], base, rng)
    return streams


def perturbed(stream: Stream, base: int, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield `stream` at other speeds: all of SPEEDS for recordings, one of them for synthesised speech."""
    if stream.held_out:
        return
    speeds = SPEEDS[1:] if stream.domain != 2 else (float(rng.choice(SPEEDS[1:])),)
    for speed in speeds:
        yield Stream(resampled(stream.samples, speed), stream.domain, False, speed, base)
