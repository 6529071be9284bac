"""What the bundled encoder must predict under the mask: k-means clusters of acoustic frames (Hsu et al. 2021)."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torchaudio
from sklearn.cluster import MiniBatchKMeans
from transformers import Wav2Vec2Model

from .hearing import FIELD, HOP, RATE

N_MELS, N_CEPSTRA = 40, 13


def log_mel(audio: torch.Tensor) -> torch.Tensor:
    """Return (..., frames, 40) log-mel energies of unit-variance audio (..., samples), on the encoder's frames."""
    frames = audio.unfold(-1, FIELD, HOP) * torch.hann_window(FIELD)
    power = torch.fft.rfft(frames, 512).abs().square()
    return (power @ _bank() + 1e-3).log()


@functools.cache
def _bank() -> torch.Tensor:
    return torchaudio.functional.melscale_fbanks(257, 40.0, 7600.0, N_MELS, RATE)


def content_features(mel: torch.Tensor, *, is_speech: bool) -> np.ndarray:
    """Return (frames, 39): MFCCs at their natural scale, first and second differences.

    Speech loses its own mean (voice and microphone are not content); of a sound the mean is what there is to hear.
    """
    cepstra = mel @ torchaudio.functional.create_dct(N_CEPSTRA, N_MELS, "ortho")
    if is_speech:
        cepstra = cepstra - cepstra.mean(0)
    first = torchaudio.functional.compute_deltas(cepstra.T[None], 5)
    second = torchaudio.functional.compute_deltas(first, 5)
    return torch.cat([cepstra.T, first[0], second[0]]).T.numpy()


@torch.inference_mode()
def learned_features(encoder: Wav2Vec2Model, samples: np.ndarray, *, layer: int) -> np.ndarray:
    """Return (frames, dim) of a layer of an encoder, with the stream's own mean taken out: for a second iteration."""
    wave = torch.from_numpy((samples - samples.mean()) / (samples.std() + 1e-5))[None].to(encoder.device)
    with torch.autocast(encoder.device.type, torch.bfloat16):
        hidden = encoder(wave, output_hidden_states=True).hidden_states[layer][0].float()
    return (hidden - hidden.mean(0)).cpu().numpy()


def texture(mel: torch.Tensor, *, radius: int = 12) -> torch.Tensor:
    """Return (B, frames, 80): mean and spread of every mel band over half a second around the frame."""
    padded = torch.nn.functional.pad(mel.transpose(1, 2), (radius, radius), mode="replicate")
    pool = torch.nn.functional.avg_pool1d
    mean, power = pool(padded, 2 * radius + 1, 1), pool(padded.square(), 2 * radius + 1, 1)
    return torch.cat([mean, (power - mean.square()).clamp(min=1e-4).sqrt()], 1).transpose(1, 2)


def cluster(features: list[np.ndarray], *, n_clusters: int, seed: int, n_fit: int = 150_000) -> list[np.ndarray]:
    """Assign every frame of every stream to one of `n_clusters` k-means clusters, fitted on `n_fit` random frames."""
    rows = np.concatenate(features).astype(np.float32)
    rows = (rows - rows.mean(0)) / (rows.std() + 1e-6)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:n_fit]
    means = MiniBatchKMeans(n_clusters, batch_size=4096, n_init=1, max_iter=20, random_state=seed).fit(rows[chosen])
    labels = means.predict(rows).astype(np.int16)
    return np.split(labels, np.cumsum([len(f) for f in features])[:-1])


def inherited(labels: np.ndarray, *, speed: float, n: int) -> np.ndarray:
    """Carry the labels of a stream over to its resampling: what is said stays, whoever seems to say it (n,).

    After ContentVec (Qian et al. 2022), which perturbs the speaker of the input but not of the target.
    """
    times = np.rint(np.arange(n) * speed + (speed - 1) * FIELD / HOP / 2).astype(int)
    return labels[np.clip(times, 0, len(labels) - 1)]
