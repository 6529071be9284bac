"""Masked prediction, resumable and timed: HuBERT (Hsu et al. 2021) at the size of a coffee break."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Wav2Vec2Model

from .architecture import fresh_model
from .augmentation import augmented, normalised
from .hearing import DOMAINS, RATE
from .peers import Peers
from .pool import Pool
from .targets import N_MELS, log_mel, texture

CROP_FRAMES = (31, 63, 127, 191)  # 0.6 to 3.8 s: clips of every length must look familiar


@dataclass(frozen=True)
class Plan:
    """The options of one training run; together with the seed and the pool they decide it, but for its timing."""

    minutes: float
    batch_seconds: float = 20.0
    peak_rate: float = 1e-3
    mask_share: float = 0.5
    mask_span: int = 8
    weights: tuple[float, ...] = (1.0, 0.5, 0.5, 0.5)  # clusters hidden, clusters heard, texture, spectrum
    average_decay: float = 0.998
    examine_every: int = 200
    seed: int = 0


class Student(nn.Module):
    """The encoder with three linear heads: clusters and texture from its last layer, log-mel from its convolutions."""

    def __init__(self, encoder: Wav2Vec2Model, n_clusters: int) -> None:
        super().__init__()
        width, channels = encoder.config.hidden_size, encoder.config.conv_dim[-1]
        self.encoder = encoder
        self.clusters = nn.Linear(width, n_clusters)
        self.texture = nn.Linear(width, 2 * N_MELS)
        self.spectrum = nn.Linear(channels, N_MELS)

    def forward(self, audio: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return cluster logits (B, frames, clusters), texture (B, frames, 80) and log-mel (B, frames, 40)."""
        out = self.encoder(audio, mask_time_indices=mask)
        hidden = out.last_hidden_state
        return self.clusters(hidden), self.texture(hidden), self.spectrum(out.extract_features)


def drawn_mask(batch: int, frames: int, plan: Plan, generator: torch.Generator) -> torch.Tensor:
    """Draw spans to hide (B, frames) until about `plan.mask_share` of the frames are hidden."""
    starts = -math.log(1 - plan.mask_share) / plan.mask_span
    hidden = torch.rand(batch, frames + plan.mask_span - 1, generator=generator) < starts
    mask = hidden.unfold(1, plan.mask_span, 1).any(-1)
    mask[~mask.any(1), frames // 3 : frames // 3 + plan.mask_span] = True
    return mask


def cluster_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of every frame (B, frames), in nats."""
    return nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


def regression_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the squared error of every frame (B, frames); 1 is no better than guessing the mean."""
    return (guess.float() - truth).square().mean(-1)


class Standard:
    """Log-mel and texture targets, each band with zero mean and unit variance over what is heard."""

    def __init__(self, pool: Pool, *, n_crops: int = 256, frames: int = 127) -> None:
        clean, _, _ = pool.drawn(np.random.default_rng(0), n_crops, frames)
        mel = log_mel(normalised(clean))
        self.spectrum_scale = _scale(mel)
        self.texture_scale = _scale(texture(mel))

    def spectrum(self, audio: torch.Tensor) -> torch.Tensor:
        """Return standardised log-mel (B, frames, 40) of unit-variance audio."""
        mean, spread = self.spectrum_scale
        return (log_mel(audio) - mean) / spread

    def texture(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the standardised mean and spread of log-mel over half a second (B, frames, 80)."""
        mean, spread = self.texture_scale
        return (texture(log_mel(audio)) - mean) / spread


class Trainer:
    """One run: what it has learned so far, how long it has taken, and how to go on after a kill."""

    def __init__(
        self,
        pool: Pool,
        plan: Plan,
        *,
        device: str,
        peers: Peers,
        start: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.pool, self.plan, self.device, self.peers = pool, plan, device, peers
        self.standard = Standard(pool)
        encoder = fresh_model(plan.seed)
        if start is not None:
            encoder.load_state_dict(start)
        _without_dropout(encoder)
        encoder.set_attn_implementation("eager")  # a sixth less time backwards than the fused kernel, at this size
        self.student = Student(encoder, int(pool.targets.max()) + 1).to(device)
        self.average = {name: value.detach().clone() for name, value in self.student.state_dict().items()}
        self.optimizer = torch.optim.AdamW(_groups(self.student), lr=0.0, betas=(0.9, 0.98), eps=1e-6)
        self.step, self.seconds, self.history = 0, 0.0, []  # type: tuple[int, float, list[dict[str, Any]]]
        self.n_heard_seconds = 0.0

    @property
    def progress(self) -> float:
        """Return the share of the time that is used up, 0 to 1."""
        return min(1.0, self.seconds / (60 * self.plan.minutes))

    def rate(self) -> float:
        """Return the learning rate: warmed up over a twentieth of the time, then a half cosine down."""
        warm = min(1.0, self.progress / 0.05 + 1e-3)
        return self.plan.peak_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def train(self, folder: Path, say: Callable[..., None]) -> None:
        """Train until the time is used up; checkpoint and examine every `plan.examine_every` steps."""
        losses: list[torch.Tensor] = []
        while self.progress < 1:
            losses.append(self.learn())
            if self.step % self.plan.examine_every == 0 or self.progress >= 1:
                if self.peers.rank == 0:
                    self.note(torch.stack(losses).mean(0).tolist(), say)
                    self.save(folder / "trainer.pt")
                losses.clear()

    def note(self, parts: list[float], say: Callable[..., None]) -> None:
        """Examine the averaged weights and add a line to the history."""
        exam = {name: round(value, 4) for name, value in self.examine().items()}
        line = {"step": self.step, "minutes": round(self.seconds / 60, 2), **_named(parts), **exam}
        self.history.append(line)
        say("trained", rate=f"{self.rate():.1e}", **line)

    def learn(self) -> torch.Tensor:
        """Take one step; returns the parts of its loss (4,), the masked loss in nats first."""
        began = time.perf_counter()
        draw = self.step * self.peers.n + self.peers.rank
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + draw)
        rng = np.random.default_rng((self.plan.seed, draw))
        frames = int(rng.choice(CROP_FRAMES))
        n = max(2, int(self.plan.batch_seconds / self.peers.n * 50 / frames))
        clean, targets, _ = self.pool.drawn(rng, n, frames)
        mask = drawn_mask(n, frames, self.plan, generator)
        self.n_heard_seconds += self.peers.n * clean.numel() / RATE
        loss, parts = self.losses(clean, augmented(clean, generator), targets, mask)
        self._descend(loss, began)
        return parts

    def losses(
        self, clean: torch.Tensor, audio: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the student in bfloat16 (float32 weights) and score it in float32; the parts come second, detached."""
        wide, near = self.standard.texture(normalised(clean)), self.standard.spectrum(audio)
        audio, targets, mask, wide, near = (t.to(self.device) for t in (audio, targets, mask, wide, near))
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            logits, guessed_texture, guessed_spectrum = self.student(audio, mask)
        clusters = cluster_loss(logits, targets)
        parts = torch.stack(
            [
                clusters[mask].mean(),
                clusters[~mask].mean(),
                regression_loss(guessed_texture, wide).mean(),
                regression_loss(guessed_spectrum, near).mean(),
            ]
        )
        return parts @ torch.tensor(self.plan.weights, device=self.device), parts.detach().cpu()

    def _descend(self, loss: torch.Tensor, began: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        gradients = [p.grad for p in self.student.parameters() if p.grad is not None]
        self.seconds = self.peers.share(gradients, self.seconds + time.perf_counter() - began)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.plan.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.student.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    @torch.inference_mode()
    def examine(self, *, frames: int = 127, batch: int = 16) -> dict[str, float]:
        """Return the held-out masked loss of the averaged weights: of everything and by domain, in nats."""
        own = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.student.load_state_dict(self.average)
        audio, targets, domains = self.pool.examination(frames)
        mask = drawn_mask(len(audio), frames, self.plan, torch.Generator().manual_seed(1))
        rows = []
        for first in range(0, len(audio), batch):
            part = slice(first, first + batch)
            rows += self._examined(normalised(audio[part]), targets[part], mask[part])
        self.student.load_state_dict(own)
        table = np.array(rows)
        by_domain = {f"held_out_{name}": float(table[domains == d].mean()) for d, name in enumerate(DOMAINS)}
        return {"held_out": float(np.mean(list(by_domain.values()))), **by_domain}

    def _examined(self, audio: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> list[float]:
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            logits = self.student(audio.to(self.device), mask.to(self.device))[0].float().cpu()
        losses = cluster_loss(logits, targets) * mask
        return (losses.sum(1) / mask.sum(1)).tolist()

    def encoder_state(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights of the encoder alone, on the CPU."""
        prefix = "encoder."
        return {k[len(prefix) :]: v.cpu() for k, v in self.average.items() if k.startswith(prefix)}

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs, whole or not at all."""
        state = {
            "plan": asdict(self.plan),
            "student": self.student.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "counts": (self.step, self.seconds, self.n_heard_seconds),
            "history": self.history,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def resume(self, path: Path) -> bool:
        """Go on from `path` when it is there; returns whether it was."""
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.n_heard_seconds = state["counts"]
        self.history = state["history"]
        return True


def _scale(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = values.flatten(0, -2)
    return flat.mean(0), flat.std(0)


def _named(parts: list[float]) -> dict[str, float]:
    names = ("loss", "loss_heard", "loss_texture", "loss_spectrum")
    return {name: round(value, 4) for name, value in zip(names, parts, strict=True)}


def _without_dropout(encoder: Wav2Vec2Model) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0


def _groups(student: nn.Module) -> list[dict[str, Any]]:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
