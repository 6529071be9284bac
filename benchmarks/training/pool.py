"""All that is heard, with its targets, in a few flat arrays: a batch is then a handful of slices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import Wav2Vec2Model

from .hearing import DOMAINS, FIELD, HOP, RATE, SPEECH, Stream, digit_streams, n_frames, perturbed, sound_streams
from .speech import UNKNOWN, speech_streams
from .targets import cluster, content_features, inherited, learned_features, log_mel
from .textures import texture_streams

SHARE = np.array([0.25, 0.2, 0.4, 0.15])  # of the training crops, by domain


class Crops(NamedTuple):
    """A batch: audio (B, samples), clusters and phonemes (B, frames), recordings and domains (B,); -1 is unknown."""

    audio: torch.Tensor
    targets: torch.Tensor
    phonemes: torch.Tensor
    recordings: torch.Tensor
    domains: np.ndarray


@dataclass
class Pool:
    """Streams laid end to end: `samples` int16, `targets` (frames,), and where every stream starts.

    `phonemes` (frames,) is known where speech was synthesised, `recording` (streams,) where a sound is heard.
    """

    samples: np.ndarray
    targets: np.ndarray
    phonemes: np.ndarray
    recording: np.ndarray
    sample_start: np.ndarray
    frame_start: np.ndarray
    n_frames: np.ndarray
    domain: np.ndarray
    held_out: np.ndarray
    speed: np.ndarray
    base: np.ndarray

    def save(self, path: Path) -> None:
        """Write the pool to `path` (.npz), whole or not at all."""
        part = path.with_suffix(".part.npz")
        np.savez(part, **{field.name: getattr(self, field.name) for field in fields(self)})
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> Pool:
        """Read a pool that `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def crops(self, streams: np.ndarray, first: np.ndarray, frames: int) -> Crops:
        """Cut one crop of `frames` frames from each stream."""
        n = (frames - 1) * HOP + FIELD
        starts = self.sample_start[streams] + first * HOP
        audio = np.stack([self.samples[s : s + n] for s in starts]).astype(np.float32) / 32768
        rows = (self.frame_start[streams] + first)[:, None] + np.arange(frames)
        labels = (torch.from_numpy(known[rows]).long() for known in (self.targets, self.phonemes))
        recordings = torch.from_numpy(self.recording[streams]).long()
        return Crops(torch.from_numpy(audio), *labels, recordings, self.domain[streams])

    def drawn(self, rng: np.random.Generator, n: int, frames: int) -> Crops:
        """Draw `n` training crops, domains by their share."""
        fits = (self.n_frames >= frames) & ~self.held_out
        share = SHARE * np.bincount(self.domain[fits], minlength=len(SHARE)).astype(bool)
        domains = rng.choice(len(SHARE), size=n, p=share / share.sum())
        streams = np.array([rng.choice(np.flatnonzero(fits & (self.domain == d))) for d in domains])
        return self.crops(streams, rng.integers(0, self.n_frames[streams] - frames + 1), frames)

    def examination(self, frames: int) -> Crops:
        """Cut the held-out streams into crops that never change."""
        chosen = [
            (s, f) for s in np.flatnonzero(self.held_out) for f in range(0, self.n_frames[s] - frames + 1, frames)
        ]
        streams, first = (np.array(column) for column in zip(*chosen, strict=True))
        return self.crops(streams, first, frames)

    def sample_sizes(self) -> np.ndarray:
        """Return how many samples every stream has (streams,)."""
        return np.diff(np.append(self.sample_start, len(self.samples)))

    def seconds(self) -> dict[str, float]:
        """Count the seconds of audio at its own speed, by domain (perturbed copies are not counted)."""
        own = self.n_frames * (self.base < 0)
        return {name: round(float(own[self.domain == d].sum() * HOP / RATE), 1) for d, name in enumerate(DOMAINS)}


def all_streams(data: Path, *, seed: int, speech_minutes: float, texture_minutes: float) -> list[Stream]:
    """Collect everything the encoder hears, each stream at its own speed and at others."""
    rng = np.random.default_rng(seed)
    streams = [*sound_streams(data / "esc10", rng), *digit_streams(data / "fsdd", rng)]
    streams += [*speech_streams(speech_minutes, rng), *texture_streams(texture_minutes, rng)]
    for base in range(len(streams)):
        streams += perturbed(streams[base], base, rng)
    return streams


def build_pool(streams: list[Stream], *, n_clusters: int, seed: int, say: Callable[..., None]) -> Pool:
    """Lay the streams out and find their targets."""
    mels = [log_mel(_unit(stream.samples)) for stream in streams]
    say("clustering", frames=sum(map(len, mels)))
    lengths = np.array([n_frames(len(stream.samples)) for stream in streams])
    sizes = np.array([len(stream.samples) for stream in streams])
    origin = {
        "domain": np.array([stream.domain for stream in streams]),
        "speed": np.array([stream.speed for stream in streams]),
        "base": np.array([stream.base for stream in streams]),
    }
    labels = content_labels(
        lambda i: content_features(mels[i], is_speech=streams[i].domain in SPEECH),
        **origin,
        n=lengths,
        n_clusters=n_clusters,
        seed=seed,
    )
    return Pool(
        samples=np.concatenate([_int16(stream.samples) for stream in streams]),
        targets=labels,
        phonemes=np.concatenate([phonemes_of(stream) for stream in streams]),
        recording=recordings_of(streams),
        sample_start=np.cumsum(sizes) - sizes,
        frame_start=np.cumsum(lengths) - lengths,
        n_frames=lengths,
        held_out=np.array([stream.held_out for stream in streams]),
        **origin,
    )


def phonemes_of(stream: Stream) -> np.ndarray:
    """Return the phoneme of every frame of a stream (frames,), also of one that was played faster or slower."""
    n = n_frames(len(stream.samples))
    if stream.phonemes is None:
        return np.full(n, UNKNOWN, np.int16)
    return inherited(stream.phonemes, speed=stream.speed, n=n)


def recordings_of(streams: list[Stream]) -> np.ndarray:
    """Number the recordings that training may hear (streams,); those of speech and those held out are unknown."""
    names = sorted({stream.recording for stream in streams if stream.recording and not stream.held_out})
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(stream.recording, UNKNOWN) for stream in streams])


def content_labels(
    features: Callable[[int], np.ndarray],
    base: np.ndarray,
    domain: np.ndarray,
    speed: np.ndarray,
    n: np.ndarray,
    *,
    n_clusters: int,
    seed: int,
) -> np.ndarray:
    """Cluster the frames of `features(stream)`; resampled speech inherits, resampled sounds speak for themselves."""
    inherits = (base >= 0) & np.isin(domain, SPEECH)
    own = np.flatnonzero(~inherits)
    labels = dict(zip(own, cluster([features(i) for i in own], n_clusters=n_clusters, seed=seed), strict=True))
    for i in np.flatnonzero(inherits):
        labels[i] = inherited(labels[base[i]], speed=speed[i], n=n[i])
    return np.concatenate([labels[i] for i in range(len(base))])


def second_targets(pool: Pool, encoder: Wav2Vec2Model, *, layer: int, n_clusters: int, seed: int) -> np.ndarray:
    """Find the targets of a second iteration: clusters of what a first encoder makes of the clean streams."""
    sizes = pool.sample_sizes()

    def features(stream: int) -> np.ndarray:
        start = pool.sample_start[stream]
        samples = pool.samples[start : start + sizes[stream]].astype(np.float32) / 32768
        return learned_features(encoder, samples, layer=layer)

    return content_labels(features, pool.base, pool.domain, pool.speed, pool.n_frames, n_clusters=n_clusters, seed=seed)


def _int16(samples: np.ndarray) -> np.ndarray:
    peak = np.abs(samples).max() + 1e-6
    return (samples / peak * 32000).astype(np.int16)


def _unit(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((samples - samples.mean()) / (samples.std() + 1e-5))
