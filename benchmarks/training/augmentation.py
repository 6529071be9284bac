"""How what is heard is spoiled before the encoder hears it; what it must predict stays that of the clean crop."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len

from .hearing import RATE


def augmented(audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Colour, reverberate, mix and add noise to crops (B, samples); every crop draws its own."""
    batch, n = audio.shape
    audio = _unit(audio)
    audio = _filtered(audio, generator)
    mixed = _sometimes(batch, 0.25, generator) * _level(batch, -20, -5, generator)
    noisy = _sometimes(batch, 0.4, generator) * _level(batch, -40, -10, generator)
    other = audio[torch.randperm(batch, generator=generator)]
    return _unit(audio + mixed * other + noisy * _noise(batch, n, generator))


def normalised(audio: torch.Tensor) -> torch.Tensor:
    """Give every crop zero mean and unit variance, as `do_normalize` does for every clip."""
    return _unit(audio)


def _unit(audio: torch.Tensor) -> torch.Tensor:
    centred = audio - audio.mean(-1, keepdim=True)
    return centred / (centred.var(-1, keepdim=True, unbiased=False) + 1e-7).sqrt()


def _sometimes(batch: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(batch, 1, generator=generator) < probability).float()


def _level(batch: int, low_decibels: float, high_decibels: float, generator: torch.Generator) -> torch.Tensor:
    decibels = low_decibels + (high_decibels - low_decibels) * torch.rand(batch, 1, generator=generator)
    return 10 ** (decibels / 20)


def _noise(batch: int, n: int, generator: torch.Generator) -> torch.Tensor:
    """Draw noise between white and brown, of unit variance."""
    length = next_fast_len(n, real=True)
    spectrum = torch.fft.rfft(torch.randn(batch, length, generator=generator))
    slope = torch.rand(batch, 1, generator=generator)
    ramp = torch.arange(1, spectrum.shape[-1] + 1, dtype=torch.float32)
    return _unit(torch.fft.irfft(spectrum * ramp**-slope, length)[:, :n])


def _filtered(audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give every crop the colour of a random microphone, some a narrow band, some a room: one product of spectra."""
    batch, n = audio.shape
    reach = RATE // 2
    length = next_fast_len(n + reach, real=True)
    response = torch.fft.rfft(_room(batch, reach, generator), length) * _colour(batch, length, generator)
    return torch.fft.irfft(torch.fft.rfft(audio, length) * response, length)[:, :n]


def _room(batch: int, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Draw impulse responses (B, reach): the direct sound and, for one in five, noise that dies away."""
    decay = 0.02 + 0.13 * torch.rand(batch, 1, generator=generator)
    tail = torch.randn(batch, reach, generator=generator) * torch.exp(-torch.arange(reach) / (RATE * decay))
    tail = tail / tail.norm(dim=1, keepdim=True) * _level(batch, -12, 0, generator)
    room = tail * _sometimes(batch, 0.2, generator)
    room[:, 0] = 1.0
    return room


def _colour(batch: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Draw smooth gains over frequency (B, length // 2 + 1), a third of them closed above 3 to 4 kHz."""
    hertz = torch.linspace(0, RATE / 2, length // 2 + 1)
    mel = torch.log1p(hertz / 700) / math.log1p(RATE / 2 / 700)
    waves = torch.cos(math.pi * mel[None, None] * torch.arange(1, 5)[None, :, None])
    decibels = (torch.randn(batch, 4, 1, generator=generator) * 2 * waves).sum(1)
    edge = 3000 + 1000 * torch.rand(batch, 1, generator=generator)
    closed = torch.sigmoid((edge - hertz) / 50)
    narrow = _sometimes(batch, 0.33, generator)
    return 10 ** (decibels / 20) * (1 - narrow + narrow * closed)
