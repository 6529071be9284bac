"""All that is heard, with its targets, in a few flat arrays: a batch is then a handful of slices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2Model

from .hearing import DOMAINS, FIELD, HOP, RATE, Stream
from .targets import cluster, content_features, inherited, learned_features, log_mel, n_frames

SHARE = (0.4, 0.25, 0.35)  # of the training crops, by domain


@dataclass
class Pool:
    """Streams laid end to end: `samples` int16, `targets` (frames,), and where every stream starts."""

    samples: np.ndarray
    targets: np.ndarray
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

    def crops(self, streams: np.ndarray, first: np.ndarray, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut one crop of `frames` frames from each stream: audio (B, samples) float32, targets (B, frames)."""
        n = (frames - 1) * HOP + FIELD
        starts = self.sample_start[streams] + first * HOP
        audio = np.stack([self.samples[s : s + n] for s in starts]).astype(np.float32) / 32768
        rows = self.frame_start[streams] + first
        return torch.from_numpy(audio), torch.from_numpy(np.stack([self.targets[r : r + frames] for r in rows])).long()

    def drawn(self, rng: np.random.Generator, n: int, frames: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Draw `n` training crops, domains by their share; the domains (n,) come third."""
        fits = (self.n_frames >= frames) & ~self.held_out
        domains = rng.choice(len(SHARE), size=n, p=SHARE)
        streams = np.array([rng.choice(np.flatnonzero(fits & (self.domain == d))) for d in domains])
        first = rng.integers(0, self.n_frames[streams] - frames + 1)
        return *self.crops(streams, first, frames), domains

    def examination(self, frames: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Cut the held-out streams into crops that never change."""
        chosen = [
            (s, f) for s in np.flatnonzero(self.held_out) for f in range(0, self.n_frames[s] - frames + 1, frames)
        ]
        streams, first = (np.array(column) for column in zip(*chosen, strict=True))
        return *self.crops(streams, first, frames), self.domain[streams]

    def seconds(self) -> dict[str, float]:
        """Count the seconds of audio at its own speed, by domain (perturbed copies are not counted)."""
        own = self.n_frames * (self.base < 0)
        return {name: round(float(own[self.domain == d].sum() * HOP / RATE), 1) for d, name in enumerate(DOMAINS)}


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
        lambda i: content_features(mels[i], is_speech=streams[i].domain != 0),
        **origin,
        n=lengths,
        n_clusters=n_clusters,
        seed=seed,
    )
    return Pool(
        samples=np.concatenate([_int16(stream.samples) for stream in streams]),
        targets=labels,
        sample_start=np.cumsum(sizes) - sizes,
        frame_start=np.cumsum(lengths) - lengths,
        n_frames=lengths,
        held_out=np.array([stream.held_out for stream in streams]),
        **origin,
    )


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
    inherits = (base >= 0) & (domain != 0)
    own = np.flatnonzero(~inherits)
    labels = dict(zip(own, cluster([features(i) for i in own], n_clusters=n_clusters, seed=seed), strict=True))
    for i in np.flatnonzero(inherits):
        labels[i] = inherited(labels[base[i]], speed=speed[i], n=n[i])
    return np.concatenate([labels[i] for i in range(len(base))])


def second_targets(pool: Pool, encoder: Wav2Vec2Model, *, layer: int, n_clusters: int, seed: int) -> np.ndarray:
    """Find the targets of a second iteration: clusters of what a first encoder makes of the clean streams."""
    sizes = np.diff(np.append(pool.sample_start, len(pool.samples)))

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
