"""Masked prediction, resumable and timed: HuBERT (Hsu et al. 2021) at the size of a coffee break.

Beside the clusters, as UniSpeech (Wang et al. 2021) joins a supervised to an unsupervised loss: the phonemes of
speech that a synthesiser made, and which recording a sound was cut from (Dosovitskiy et al. 2014).
"""

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

from .architecture import fresh_model
from .augmentation import augmented, normalised
from .hearing import DOMAINS, RATE
from .peers import Peers
from .pool import Crops, Pool
from .speech import UNKNOWN
from .student import Guess, Student, cluster_loss, known_loss, regression_loss, without_dropout
from .targets import log_mel, texture

CROP_FRAMES = (31, 63, 127, 191)  # 0.6 to 3.8 s: clips of every length must look familiar

PARTS = ("loss", "loss_heard", "loss_texture", "loss_spectrum", "loss_phonemes", "loss_recordings")


@dataclass(frozen=True)
class Plan:
    """The options of one training run; together with the seed and the pool they decide it, but for its timing."""

    minutes: float
    batch_seconds: float = 20.0
    peak_rate: float = 1e-3
    mask_share: float = 0.5
    mask_span: int = 8
    weights: tuple[float, ...] = (1.0, 0.5, 0.5, 0.5, 1.0, 0.2)  # in the order of PARTS
    average_decay: float = 0.998
    examine_every: int = 200
    seed: int = 0


def drawn_mask(batch: int, frames: int, plan: Plan, generator: torch.Generator) -> torch.Tensor:
    """Draw spans to hide (B, frames) until about `plan.mask_share` of the frames are hidden."""
    starts = -math.log(1 - plan.mask_share) / plan.mask_span
    hidden = torch.rand(batch, frames + plan.mask_span - 1, generator=generator) < starts
    mask = hidden.unfold(1, plan.mask_span, 1).any(-1)
    mask[~mask.any(1), frames // 3 : frames // 3 + plan.mask_span] = True
    return mask


class Standard:
    """Log-mel and texture targets, each band with zero mean and unit variance over what is heard."""

    def __init__(self, pool: Pool, *, n_crops: int = 256, frames: int = 127) -> None:
        mel = log_mel(normalised(pool.drawn(np.random.default_rng(0), n_crops, frames).audio))
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
        without_dropout(encoder)
        encoder.set_attn_implementation("eager")  # a sixth less time backwards than the fused kernel, at this size
        sizes = (int(known.max()) + 1 for known in (pool.targets, pool.phonemes, pool.recording))
        self.student = Student(encoder, *(max(1, size) for size in sizes)).to(device)
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
        """Take one step; returns the parts of its loss (6,), the masked loss in nats first."""
        began = time.perf_counter()
        draw = self.step * self.peers.n + self.peers.rank
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + draw)
        rng = np.random.default_rng((self.plan.seed, draw))
        frames = int(rng.choice(CROP_FRAMES))
        n = max(2, int(self.plan.batch_seconds / self.peers.n * 50 / frames))
        crops = self.pool.drawn(rng, n, frames)
        mask = drawn_mask(n, frames, self.plan, generator)
        self.n_heard_seconds += self.peers.n * crops.audio.numel() / RATE
        loss, parts = self.losses(crops, augmented(crops.audio, generator), mask)
        self._descend(loss, began)
        return parts

    def losses(self, crops: Crops, audio: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the student in bfloat16 (float32 weights) and score it in float32; the parts come second, detached."""
        wide, near = self.standard.texture(normalised(crops.audio)), self.standard.spectrum(audio)
        known = (audio, mask, wide, near, crops.targets, crops.phonemes, crops.recordings)
        audio, mask, wide, near, targets, phonemes, recordings = (t.to(self.device) for t in known)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            guess = self.student(audio, mask)
        clusters = cluster_loss(guess.clusters, targets)
        parts = torch.stack(
            [
                clusters[mask].mean(),
                clusters[~mask].mean(),
                regression_loss(guess.texture, wide).mean(),
                regression_loss(guess.spectrum, near).mean(),
                known_loss(guess.phonemes, phonemes),
                known_loss(guess.recordings, recordings),
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
        """Return what the averaged weights make of held-out audio.

        The masked loss in nats, of everything and by domain, and the share of frames of synthesised speech, heard
        in whole, whose phoneme is guessed right.
        """
        own = {name: value.clone() for name, value in self.student.state_dict().items()}
        self.student.load_state_dict(self.average)
        crops = self.pool.examination(frames)
        mask = drawn_mask(len(crops.audio), frames, self.plan, torch.Generator().manual_seed(1))
        losses, hits = [], []
        for first in range(0, len(crops.audio), batch):
            part = slice(first, first + batch)
            audio = normalised(crops.audio[part])
            masked = (
                cluster_loss(self._guess(audio, mask[part]).clusters.float().cpu(), crops.targets[part]) * mask[part]
            )
            losses += (masked.sum(1) / mask[part].sum(1)).tolist()
            hits.append(self._phonemes_right(audio, crops.phonemes[part]))
        self.student.load_state_dict(own)
        table = np.array(losses)
        heard = {name: table[crops.domains == d] for d, name in enumerate(DOMAINS)}
        by_domain = {f"held_out_{name}": float(part.mean()) for name, part in heard.items() if len(part)}
        right = {"phonemes_right": float(torch.cat(hits).mean())} if sum(map(len, hits)) else {}
        return {"held_out": float(np.mean(list(by_domain.values()))), **by_domain, **right}

    def _guess(self, audio: torch.Tensor, mask: torch.Tensor) -> Guess:
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            return self.student(audio.to(self.device), mask.to(self.device))

    def _phonemes_right(self, audio: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        known = phonemes != UNKNOWN
        if not known.any():
            return torch.zeros(0)
        guess = self._guess(audio, torch.zeros_like(known)).phonemes.argmax(-1).cpu()
        return (guess == phonemes)[known].float()

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
    return {name: round(value, 4) for name, value in zip(PARTS, parts, strict=True)}


def _groups(student: nn.Module) -> list[dict[str, Any]]:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
