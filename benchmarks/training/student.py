"""The encoder while it learns: with a linear head for everything that it must guess, and what a wrong guess costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from transformers import Wav2Vec2Model

from .speech import UNKNOWN
from .targets import N_MELS


class Guess(NamedTuple):
    """What a student makes of a batch; axes B (crops), T (frames)."""

    clusters: torch.Tensor  # (B, T, clusters)
    texture: torch.Tensor  # (B, T, 80)
    spectrum: torch.Tensor  # (B, T, 40)
    phonemes: torch.Tensor  # (B, T, phonemes)
    recordings: torch.Tensor  # (B, recordings)


class Student(nn.Module):
    """The encoder with linear heads: on its last layer, and log-mel on its convolutions, recordings half-way up."""

    def __init__(self, encoder: Wav2Vec2Model, n_clusters: int, n_phonemes: int, n_recordings: int) -> None:
        super().__init__()
        width, channels = encoder.config.hidden_size, encoder.config.conv_dim[-1]
        self.encoder = encoder
        self.clusters = nn.Linear(width, n_clusters)
        self.texture = nn.Linear(width, 2 * N_MELS)
        self.spectrum = nn.Linear(channels, N_MELS)
        self.phonemes = nn.Linear(width, n_phonemes)
        self.recordings = nn.Linear(width, n_recordings)

    def forward(self, audio: torch.Tensor, mask: torch.Tensor) -> Guess:
        """Guess everything about crops (B, samples) of which frames (B, T) are hidden."""
        out = self.encoder(audio, mask_time_indices=mask, output_hidden_states=True)
        hidden, half_way = out.last_hidden_state, out.hidden_states[len(out.hidden_states) // 2]
        return Guess(
            self.clusters(hidden),
            self.texture(hidden),
            self.spectrum(out.extract_features),
            self.phonemes(hidden),
            self.recordings(half_way.mean(1)),
        )


def cluster_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of every frame (B, frames), in nats."""
    return nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


def known_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy where the label is known; 0 where none is."""
    losses = nn.functional.cross_entropy(
        logits.float().flatten(0, -2), labels.flatten(), ignore_index=UNKNOWN, reduction="sum"
    )
    return losses / (labels != UNKNOWN).sum().clamp(min=1)


def regression_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the squared error of every frame (B, frames); 1 is no better than guessing the mean."""
    return (guess.float() - truth).square().mean(-1)


def without_dropout(encoder: Wav2Vec2Model) -> None:
    """Switch all dropout off: an hour of training forgets nothing that it should not."""
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
