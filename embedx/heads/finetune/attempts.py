"""A fine-tuning from audio to weights: once, and once more with lower rates if it collapses."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from embedx.encoders.base import EncoderInfo
from embedx.errors import CollapsedTrainingWarning
from embedx.heads.finetune.building import HEAD_RATE_FACTOR, build_network
from embedx.heads.finetune.checkpoints import Checkpoints
from embedx.heads.finetune.clips import ClipLibrary
from embedx.heads.finetune.feed import Feed
from embedx.heads.finetune.frames import FeatureCache
from embedx.heads.finetune.memory import Budget
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.processes import Processes
from embedx.heads.finetune.settings import Settings
from embedx.heads.finetune.state import State
from embedx.heads.finetune.targets import Targets
from embedx.heads.finetune.training import Training
from embedx.recipe import Recipe

__all__ = ["Fitted", "Means", "fit_network"]

_SLOWER = 0.2
"""A second attempt learns at this share of the rates."""

_FEATURE_BYTES = 2**31
"""Features that are kept in memory: those of five hours of audio with wav2vec2-base."""

_CPU_BATCH_SECONDS, _GPU_BATCH_SECONDS = 20.0, 160.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """With what it is trained: changes speed, memory and what survives a kill, not where it ends.

    Parameters
    ----------
    device, compute_dtype, batch_seconds, gradient_checkpointing, checkpoint_folder, resume
        As `FineTuneClassifier` explains them.
    """

    device: str = "auto"
    compute_dtype: str = "auto"
    batch_seconds: float | None = None
    gradient_checkpointing: bool = False
    checkpoint_folder: str | os.PathLike[str] | None = None
    resume: bool = False

    def budget(self, processes: Processes, *, sample_rate: int) -> Budget:
        """Return how much is computed at a time on a device."""
        device = processes.device
        seconds = self.batch_seconds or (_GPU_BATCH_SECONDS if device.type == "cuda" else _CPU_BATCH_SECONDS)
        return Budget(seconds, sample_rate=sample_rate, device=device, compute_dtype=self._dtype(device.type))

    def _dtype(self, kind: str) -> str:
        if self.compute_dtype != "auto":
            return self.compute_dtype
        import torch

        return "bfloat16" if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fitted:
    """What came of it."""

    network: Network
    history: list[dict[str, Any]]
    best_epoch: int
    collapsed: bool
    n_restarts: int
    n_processes: int


def fit_network(
    targets: Targets,
    info: EncoderInfo,
    recipe: Recipe,
    settings: Settings,
    means: Means,
    *,
    on_epoch: Callable[[int, float], None] | None = None,
    progress: Callable[..., None] | None = None,
) -> Fitted:
    """Train a network on labelled clips.

    Parameters
    ----------
    targets : Targets
        Clips and what they are.
    info : EncoderInfo
        Where training begins.
    recipe : Recipe
        How the clips are read.
    settings, means : Settings, Means
        How, and with what.
    on_epoch, progress : callable, optional
        As `FineTuneClassifier.fit` calls them.

    Returns
    -------
    Fitted
        The network holds the best weights, on the CPU.
    """
    processes = Processes(means.device)
    network = build_network(info, targets.labels, settings, checkpointing=means.gradient_checkpointing)
    library = ClipLibrary(targets.sources, recipe, min_samples=network.min_samples).require_all()
    identity = {"recipe": recipe.fingerprint(), "data": targets.hash, **settings.record()}
    checkpoints = Checkpoints(means.checkpoint_folder, identity, writes=processes.is_first).require_folder()
    found = checkpoints.load() if means.resume else None
    state, tensors = (State(**found[0]), found[1]) if found else (State(), {})
    while True:
        current = _slower(settings) if state.attempt else settings
        network.model.to(processes.device)
        training = Training(
            network,
            Feed(library, targets.train, targets.shares, network, current, _cache(network)),
            targets.held_out,
            current,
            processes=processes,
            budget=means.budget(processes, sample_rate=recipe.sample_rate),
            checkpoints=checkpoints,
            state=state,
        )
        training.resume(tensors)
        training.run(on_epoch=on_epoch, progress=progress)
        if not training.collapsed or state.attempt:
            break
        _say_collapsed(training, again=True)
        state, tensors = State(attempt=1, earlier=state.history), {}
        network = build_network(info, targets.labels, settings, checkpointing=means.gradient_checkpointing)
    if training.collapsed:
        _say_collapsed(training, again=False)
    return _finish(training, processes)


def _cache(network: Network) -> FeatureCache | None:
    """Return a place for what the convolutions make of clips, unless they learn."""
    return FeatureCache(network.features, room_bytes=_FEATURE_BYTES) if network.has_fixed_convolutions else None


def _finish(training: Training, processes: Processes) -> Fitted:
    network, state = training.network, training.state
    network.model.to("cpu").eval()
    network.merge()
    processes.wait()
    return Fitted(
        network=network,
        history=[*state.earlier, *state.history],
        best_epoch=len(state.earlier) + state.best_epoch,
        collapsed=training.collapsed,
        n_restarts=state.attempt,
        n_processes=processes.count,
    )


def _slower(settings: Settings) -> Settings:
    head = settings.head_learning_rate or HEAD_RATE_FACTOR * settings.learning_rate
    return replace(settings, learning_rate=_SLOWER * settings.learning_rate, head_learning_rate=_SLOWER * head)


def _say_collapsed(training: Training, *, again: bool) -> None:
    kept = training.state.history[training.state.best_epoch]
    rate = training.settings.learning_rate
    what = f"the fine-tuning collapsed at rate {rate:g}: its predictions hold {kept['entropy']:.3f} nats (one class)"
    then = f"it is repeated once at {_SLOWER * rate:g}" if again else "its scores say nothing about the encoder"
    warnings.warn(f"{what}; {then}", CollapsedTrainingWarning, stacklevel=4)
