"""Sounds that nobody recorded: noise, tones and knocks of random make, so that more than speech is heard.

Five seconds of one recipe each, after Cherep and Singh, "Contrastive learning from synthetic audio doppelgaengers"
(2024), who show that an encoder can learn environmental sound from a synthesiser alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .hearing import RATE, Stream

SECONDS = 5.0
N = int(SECONDS * RATE)
TIME = np.arange(N) / RATE
Maker = Callable[[np.random.Generator], np.ndarray]


def texture_streams(minutes: float, rng: np.random.Generator) -> Iterator[Stream]:
    """Yield `minutes` of made sounds, one or two layers each; one in twenty is held out."""
    for i in range(int(minutes * 60 / SECONDS)):
        layers = [_layer(rng) for _ in range(rng.integers(1, 3))]
        samples = sum(layer * 10 ** (-rng.uniform(0, 15) / 20) for layer in layers)
        yield Stream(np.asarray(samples, np.float32), 3, bool(rng.random() < 0.05), recording=f"made {i}")


def _layer(rng: np.random.Generator) -> np.ndarray:
    maker = MAKERS[rng.integers(len(MAKERS))]
    made = maker(rng) * _envelope(rng)
    return made / (np.sqrt(np.mean(made**2)) + 1e-9)


def coloured_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise with a random slope and a few resonances."""
    hertz = np.fft.rfftfreq(N, 1 / RATE)
    octaves = np.log2(np.maximum(hertz, 20) / 1000)
    decibels = rng.uniform(-6, 2) * octaves
    for _ in range(rng.integers(0, 5)):
        centre, width = rng.uniform(-4, 3), rng.uniform(0.05, 0.8)
        decibels += rng.uniform(5, 30) * np.exp(-(((octaves - centre) / width) ** 2))
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(N)) * 10 ** (decibels / 20), N)


def harmonics(rng: np.random.Generator) -> np.ndarray:
    """A tone with overtones whose pitch glides and trembles."""
    pitch = np.exp2(np.log2(np.exp(rng.uniform(np.log(50), np.log(1500)))) + _wander(rng, rng.uniform(0, 0.7)))
    pitch = pitch * (1 + rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(2, 12) * TIME))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    fall, n = rng.uniform(0.3, 2.0), int(rng.integers(1, 24))
    audible = [k for k in range(1, n + 1) if k * pitch.max() < RATE / 2]
    return np.sum([np.sin(k * phase + rng.uniform(0, 6)) * k**-fall for k in audible or [1]], axis=0)


def frequency_modulation(rng: np.random.Generator) -> np.ndarray:
    """Bells, buzzes and chirps: one sine bends another."""
    carrier = np.exp(rng.uniform(np.log(80), np.log(4000)))
    ratio, index = rng.uniform(0.2, 4), rng.uniform(0, 6) * np.exp2(_wander(rng, 1.0))
    return np.sin(2 * np.pi * carrier * TIME + index * np.sin(2 * np.pi * carrier * ratio * TIME))


def knocks(rng: np.random.Generator) -> np.ndarray:
    """Ringing or dull impacts, regular as a clock or as loose as a fire."""
    rate = np.exp(rng.uniform(np.log(0.7), np.log(60)))
    jitter = rng.uniform(0, 1)
    gaps = (1 - jitter + jitter * rng.exponential(1, size=int(rate * SECONDS * 3) + 3)) / rate
    starts = (np.cumsum(gaps) * RATE).astype(int)
    train = np.zeros(N)
    inside = starts[starts < N]
    train[inside] = rng.lognormal(0, rng.uniform(0, 1), len(inside))
    return np.fft.irfft(np.fft.rfft(train, 2 * N) * np.fft.rfft(_impact(rng), 2 * N))[:N]


def _impact(rng: np.random.Generator) -> np.ndarray:
    """One impact: noise and a few modes that die away."""
    decay = np.exp(rng.uniform(np.log(0.003), np.log(0.3)))
    ring = rng.standard_normal(N) * np.exp(-TIME / (decay * rng.uniform(0.1, 1))) * rng.uniform(0, 1)
    for _ in range(rng.integers(0, 6)):
        hertz = np.exp(rng.uniform(np.log(100), np.log(6000)))
        ring += np.sin(2 * np.pi * hertz * TIME) * np.exp(-TIME / (decay * rng.uniform(0.3, 1.5)))
    return ring + np.eye(1, N)[0] * 1e-3


def _envelope(rng: np.random.Generator) -> np.ndarray:
    """Loudness over time: steady, pulsing, swelling, or a few events with silence between."""
    kind = rng.integers(4)
    if kind == 0:
        return np.ones(N)
    if kind == 1:
        pulse = 0.5 + 0.5 * np.sin(2 * np.pi * np.exp(rng.uniform(np.log(0.2), np.log(30))) * TIME)
        return 1 - rng.uniform(0.3, 1) * pulse ** rng.uniform(0.5, 4)
    if kind == 2:
        return np.exp2(2 * _wander(rng, 1.5))
    return _events(rng)


def _events(rng: np.random.Generator) -> np.ndarray:
    envelope = np.full(N, 1e-3)
    for _ in range(rng.integers(1, 6)):
        start, length = rng.uniform(0, SECONDS * 0.8), rng.uniform(0.1, 1.5)
        rise = np.clip((TIME - start) / rng.uniform(0.005, 0.2), 0, 1)
        envelope += rise * np.exp(-np.maximum(TIME - start, 0) / length)
    return envelope


def _wander(rng: np.random.Generator, reach: float) -> np.ndarray:
    """A smooth random walk of about `reach` either way."""
    knots = rng.standard_normal(int(rng.integers(2, 20)))
    return reach * np.interp(TIME, np.linspace(0, SECONDS, len(knots)), knots)


MAKERS: tuple[Maker, ...] = (coloured_noise, harmonics, frequency_modulation, knocks)
