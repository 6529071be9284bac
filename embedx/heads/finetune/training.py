"""The loop: steps, epochs, the best weights, early stopping, and a restart at lower rates after a collapse."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from embedx.audio.batching import bucket_by_length
from embedx.encoders.base import EncoderInfo
from embedx.errors import CollapsedTrainingWarning, Interrupted
from embedx.heads.finetune.batches import BatchSampler, Example, clip_logits
from embedx.heads.finetune.dataset import AudioDataset, Targets
from embedx.heads.finetune.network import HEAD_RATE_FACTOR, FeatureCache, Network, build_network, parameter_groups
from embedx.heads.finetune.resources import Checkpoints, Interrupt, MemoryBudget, Processes, wait_for_step
from embedx.heads.finetune.settings import FineTuneSettings
from embedx.recipe import Recipe

__all__ = ["State", "Training", "fit_network"]

_CLIP_NORM = 1.0
_COLLAPSED_SHARE = 0.1
_COLLAPSED_EPOCHS = 5
_N_SUMS = 6
_ENOUGH_HELD_OUT = 20
"""Clips from which on the held-out part can tell whether a network has collapsed."""

_SLOWER = 0.2
"""A restarted training learns at this share of the rates."""

_FEATURE_BYTES = 2**31
"""Features that are kept in memory: those of five hours of audio with wav2vec2-base."""


@dataclass(slots=True)
class State:
    """Where a training stands: all that a checkpoint holds beside tensors.

    Parameters
    ----------
    attempt : int
        0, or 1 after a collapse.
    step : int
        Steps done.
    history : list of dict
        One a finished epoch: losses, accuracies, entropy of the predictions, rate, seconds.
    sums : list of float
        Of the running epoch: loss, weight, hits, clips, then the entropy of each step's predictions and of
        its labels.
    best_epoch : int
        Epoch (from 0) of the best weights; -1 before the first.
    best_loss : float or None
        Its held-out loss.
    stale : int
        Epochs since then.
    earlier : list of dict
        History of the attempt that collapsed.
    """

    attempt: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best_loss: float | None = None
    stale: int = 0
    earlier: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """One attempt to fine-tune a network.

    Parameters
    ----------
    network : Network
        On its device. Its best weights are in it when `run` returns.
    sampler : BatchSampler
        The training clips.
    held_out : ndarray of shape (m,), int
        Clips of the sampler's dataset that are judged after each epoch; none: the last weights are kept.
    settings : FineTuneSettings
        Rates, epochs, patience.
    processes : Processes
        Who takes part.
    budget : MemoryBudget
        Seconds at a time.
    checkpoints : Checkpoints
        Where the state is kept.
    """

    checkpoint_seconds = 300.0
    """A running epoch is checkpointed so often."""

    def __init__(
        self,
        network: Network,
        sampler: BatchSampler,
        held_out: NDArray[np.intp],
        settings: FineTuneSettings,
        *,
        processes: Processes,
        budget: MemoryBudget,
        checkpoints: Checkpoints,
        state: State | None = None,
    ) -> None:
        self.network, self.sampler, self.held_out, self.settings = network, sampler, held_out, settings
        self.processes, self.budget, self.checkpoints = processes, budget, checkpoints
        self.state = state or State()
        self.parameters = network.trainable()
        self.groups = [dict(group) for group in parameter_groups(network, settings)]
        self.rates = [group["lr"] for group in self.groups]
        self.optimizer = torch.optim.AdamW(self.groups)
        self.best: dict[str, torch.Tensor] = {}
        self.n_classes = int(sampler.targets.shape[1])
        self._saved_at = time.monotonic()

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.settings.epochs * self.sampler.n_steps

    @property
    def collapsed(self) -> bool:
        """Whether the weights that were kept predict (nearly) one class, or are no numbers."""
        kept = self.state.history[self.state.best_epoch] if self.state.history else None
        return kept is not None and bool(kept["collapsed"])

    def run(
        self,
        *,
        on_epoch: Callable[[int, float], None] | None = None,
        progress: Callable[..., None] | None = None,
    ) -> State:
        """Train to the end, from wherever the state stands, and put the best weights into the network.

        Ctrl-C ends it after the running step with `Interrupted`, the state kept.
        """
        with wait_for_step(wanted=self.checkpoints.folder is not None and self.processes.count == 1) as interrupt:
            self._run_epochs(interrupt, on_epoch, progress)
        self._restore(self.best)
        self.network.model.eval()
        return self.state

    def _run_epochs(
        self,
        interrupt: Interrupt,
        on_epoch: Callable[[int, float], None] | None,
        progress: Callable[..., None] | None,
    ) -> None:
        while self.state.step < self.n_steps and not self._is_over():
            self._run_epoch(interrupt, progress)
            entry = self._judge()
            self._remember(entry)
            self._save()
            if on_epoch is not None:
                done = len(self.state.earlier) + len(self.state.history)
                on_epoch(done - 1, entry["valid_loss"] if len(self.held_out) else entry["train_loss"])
            if interrupt.asked:
                raise Interrupted(self.checkpoints.what_is_kept)

    def _is_over(self) -> bool:
        """Say whether further epochs are pointless: no gain for long, or collapsed from the start."""
        if len(self.held_out) and self.settings.patience and self.state.stale >= self.settings.patience:
            return True
        recent = self.state.history[-_COLLAPSED_EPOCHS:]
        lost = any(not math.isfinite(entry["train_loss"]) for entry in recent)
        warm = self.settings.warmup_fraction * self.settings.epochs + self.settings.unfreeze_epochs
        enough = len(self.state.history) >= _COLLAPSED_EPOCHS + math.ceil(warm)
        return lost or (enough and all(entry["collapsed"] for entry in recent))

    # One epoch

    def _run_epoch(self, interrupt: Interrupt, progress: Callable[..., None] | None) -> None:
        epoch, first = divmod(self.state.step, self.sampler.n_steps)
        self._thaw(epoch)
        if not self.state.sums:
            self.state.sums = [0.0] * _N_SUMS
        for step in range(first, self.sampler.n_steps):
            self._set_rates()
            self._step(epoch, step)
            self.state.step += 1
            if progress is not None:
                progress(self.state.step, self.n_steps, **self._facts(epoch))
            if interrupt.asked or time.monotonic() - self._saved_at > self.checkpoint_seconds:
                self._save()
            if interrupt.asked:
                raise Interrupted(self.checkpoints.what_is_kept)

    def _facts(self, epoch: int) -> dict[str, str]:
        loss, weight, hits, clips = self.state.sums[:4]
        facts = {"epoch": f"{epoch + 1}/{self.settings.epochs}", "loss": f"{loss / max(weight, 1e-9):.3f}"}
        facts["accuracy"] = f"{hits / max(clips, 1):.2f}"
        if self.state.history and len(self.held_out):
            facts["held-out"] = f"{self.state.history[-1]['valid_accuracy']:.2f}"
        return facts

    def _thaw(self, epoch: int) -> None:
        """Gradual unfreezing (Howard and Ruder, 2018): the head first, then layer by layer from the top."""
        if not self.settings.unfreeze_epochs:
            return
        top = self.network.n_layers + 1
        open_layers = math.ceil(top * min(1.0, epoch / self.settings.unfreeze_epochs))
        for group in self.groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["depth"] >= top - open_layers)

    def _set_rates(self) -> None:
        factor = rate_factor(self.state.step, self.n_steps, self.settings.warmup_fraction)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    # One step

    def _step(self, epoch: int, step: int) -> None:
        """Move the weights once; processes and memory budget change nothing but the order of sums."""
        batch = self.sampler.batch(epoch, step)
        part = self.processes.number
        examples = self.sampler.examples(epoch, batch, part=part, n_parts=self.processes.count)
        self._clear_gradients()
        sums = self.budget.spend(
            lambda: self._backward(examples, self.sampler.weight(batch)), undo=self._clear_gradients
        )
        moving = [p for p in self.parameters.values() if p.requires_grad]
        for parameter in moving:
            if parameter.grad is None:  # LayerDrop, or a mask embedding without masks
                parameter.grad = torch.zeros_like(parameter)
        self.processes.sum([*(p.grad for p in moving if p.grad is not None), sums])
        torch.nn.utils.clip_grad_norm_(moving, _CLIP_NORM)
        self.optimizer.step()
        self._add_up(sums.tolist(), batch)

    def _add_up(self, sums: Sequence[float], batch: NDArray[np.intp]) -> None:
        """Take a step's sums (4 + n_classes,) into the epoch's.

        The entropy is taken step by step: a network that names one class at a time, another one after each step, has
        collapsed too.
        """
        named, truth = np.array(sums[4:]), self.sampler.targets[batch].sum(axis=0)
        new = [*sums[:4], entropy(named), entropy(truth)]
        self.state.sums = [old + more for old, more in zip(self.state.sums, new, strict=True)]

    def _clear_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _backward(self, examples: Sequence[Example], total_weight: float) -> torch.Tensor:
        """Add up the gradients of one process's share; returns its sums (4 + n_classes,)."""
        self.network.model.train()
        torch.manual_seed(self._dropout_seed())
        sums = torch.zeros(4 + self.n_classes, device=self.processes.device)
        for chosen in bucket_by_length([e.n_samples for e in examples], budget_samples=self.budget.samples):
            members = [examples[i] for i in chosen]
            targets = torch.from_numpy(np.stack([e.target for e in members])).to(sums.device)
            with self.budget.autocast():
                logits = self.network.logits([e.signal for e in members], [e.mask for e in members])
            loss = soft_cross_entropy(logits, targets, smoothing=self.settings.label_smoothing)
            (loss / total_weight).backward()
            sums += tally(loss.detach(), logits.detach(), targets)
        return sums

    def _dropout_seed(self) -> int:
        """Follow from the step and the process, so that a resumed run drops what an unbroken one drops."""
        parts = [self.settings.random_state, self.state.attempt, self.state.step, self.processes.number]
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])

    # After an epoch

    def _judge(self) -> dict[str, Any]:
        """Return what is known of the epoch that ended."""
        loss, weight, hits, clips, named, truth = self.state.sums
        entry: dict[str, Any] = {
            "epoch": self.state.step // self.sampler.n_steps - 1,
            "attempt": self.state.attempt,
            "train_loss": loss / max(weight, 1e-9),
            "train_accuracy": hits / max(clips, 1),
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "entropy": named / self.sampler.n_steps,
            "label_entropy": truth / self.sampler.n_steps,
        }
        if len(self.held_out):
            logits = clip_logits(
                self.network,
                self.sampler.dataset,
                self.held_out,
                budget=self.budget,
                processes=self.processes,
                cache=self.sampler.cache,
            )
            entry.update(held_out_scores(logits, self.sampler.targets[self.held_out]))
        finite = math.isfinite(entry["train_loss"]) and math.isfinite(entry.get("valid_loss", 0.0))
        entry["collapsed"] = not finite or entry["entropy"] < _COLLAPSED_SHARE * entry["label_entropy"]
        self.state.sums = []
        return entry

    def _remember(self, entry: dict[str, Any]) -> None:
        state = self.state
        state.history.append(entry)
        loss = entry.get("valid_loss")
        first = state.best_epoch < 0 or state.best_loss is None or math.isnan(state.best_loss)
        if first or loss is None or loss < (state.best_loss or 0.0):
            state.best_epoch, state.best_loss, state.stale = len(state.history) - 1, loss, 0
            self.best = {name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()}
        else:
            state.stale += 1

    def _restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.parameters[name].copy_(tensor)

    # Checkpoints

    def _save(self) -> None:
        tensors: dict[str, torch.Tensor] = {f"now.{name}": p for name, p in self.parameters.items()}
        tensors.update({f"best.{name}": tensor for name, tensor in self.best.items()})
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        self.checkpoints.save(asdict(self.state), tensors)
        self._saved_at = time.monotonic()

    def resume(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's tensors where they were; the state was given to the constructor."""
        self._restore({name.removeprefix("now."): t for name, t in tensors.items() if name.startswith("now.")})
        self.best = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
        for name, parameter in self.parameters.items():
            moments = {
                key: tensors[f"adam.{key}.{name}"].to("cpu" if key == "step" else parameter.device, copy=True)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{name}" in tensors
            }
            if moments:
                self.optimizer.state[parameter] = moments


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the share of the full rate at a step: a linear rise, then a linear fall to nothing.

    Examples
    --------
    >>> [round(rate_factor(step, 10, 0.2), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    n_warm = round(warmup_fraction * n_steps)
    if step < n_warm:
        return (step + 1) / n_warm
    return (n_steps - step) / max(1, n_steps - n_warm)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Return the summed cross-entropy (B, K) against shares of classes; a row's sum is its weight.

    Examples
    --------
    >>> loss = soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]))
    >>> round(float(loss), 4)
    1.3863
    """
    even = targets.sum(dim=1, keepdim=True) / targets.shape[1]
    aims = (1 - smoothing) * targets + smoothing * even
    return -(aims * log_softmax(logits, dim=1)).sum()


def held_out_scores(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> dict[str, float]:
    """Return the weighted loss and the accuracy of held-out clips, and, of enough of them, the entropies."""
    losses = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    guesses = logits.argmax(axis=1)
    scores = {
        "valid_loss": float(losses) / float(targets.sum()),
        "valid_accuracy": float((guesses == targets.argmax(axis=1)).mean()),
    }
    if len(logits) >= _ENOUGH_HELD_OUT:
        scores["entropy"] = entropy(np.bincount(guesses, minlength=logits.shape[1]))
        scores["label_entropy"] = entropy(targets.sum(axis=0))
    return scores


def tally(loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return what is summed up of a batch: loss, weight, hits, clips, then how often each class was named.

    Examples
    --------
    >>> tally(torch.tensor(0.5), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).tolist()
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    guesses = logits.argmax(dim=1)
    hits = (guesses == targets.argmax(dim=1)).sum()
    counts = torch.bincount(guesses, minlength=logits.shape[1])
    head = torch.stack([loss, targets.sum(), hits, torch.tensor(len(logits), device=logits.device)])
    return torch.cat([head, counts]).float()


def entropy(counts: NDArray[np.float64] | NDArray[np.intp]) -> float:
    """Return the entropy of a distribution given by counts, in nats.

    Examples
    --------
    >>> entropy(np.array([5, 5])), entropy(np.array([10, 0]))
    (0.6931471805599453, 0.0)
    """
    shares = np.asarray(counts, dtype=np.float64)
    shares = shares[shares > 0] / max(shares.sum(), 1)
    return float(abs((shares * np.log(shares)).sum()))


def fit_network(
    targets: Targets,
    info: EncoderInfo,
    recipe: Recipe,
    settings: FineTuneSettings,
    *,
    on_epoch: Callable[[int, float], None] | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Train a network on labelled clips: once, and once more with lower rates if it collapses.

    Parameters
    ----------
    targets : Targets
        Clips and what they are.
    info : EncoderInfo
        Where training begins.
    recipe : Recipe
        How the clips are read.
    settings : FineTuneSettings
        How, and with what.
    on_epoch, progress : callable, optional
        As `FineTuneClassifier.fit` calls them.

    Returns
    -------
    dict of str to object
        Learned attributes of `FineTuneClassifier`; the network holds the best weights, on the CPU.
    """
    processes = Processes(settings.device)
    network = build_network(info, targets.labels, settings)
    dataset = AudioDataset(targets.sources, recipe, min_samples=network.min_samples).require_all()
    identity = {"recipe": recipe.fingerprint(), "data": targets.hash, **settings.record()}
    checkpoints = Checkpoints(settings.checkpoint_folder, identity, writes=processes.is_first).require_folder()
    found = checkpoints.load() if settings.resume else None
    if not settings.resume:
        checkpoints.warn_if_replaced()
    state, tensors = (State(**found[0]), found[1]) if found else (State(), {})
    while True:
        current = _slower(settings) if state.attempt else settings
        network.model.to(processes.device)
        training = Training(
            network,
            BatchSampler(dataset, targets.train, targets.shares, network, current, _cache(network)),
            targets.held_out,
            current,
            processes=processes,
            budget=MemoryBudget.of(settings, processes, sample_rate=recipe.sample_rate),
            checkpoints=checkpoints,
            state=state,
        )
        training.resume(tensors)
        training.run(on_epoch=on_epoch, progress=progress)
        if training.collapsed:
            _say_collapsed(training, again=not state.attempt)
        if not training.collapsed or state.attempt:
            return _finish(training, processes)
        state, tensors = State(attempt=1, earlier=state.history), {}
        network = build_network(info, targets.labels, settings)


def _cache(network: Network) -> FeatureCache | None:
    """Return a place for what the convolutions make of clips, unless they learn."""
    return FeatureCache(network.features, most_bytes=_FEATURE_BYTES) if network.has_fixed_convolutions else None


def _finish(training: Training, processes: Processes) -> dict[str, Any]:
    network, state = training.network, training.state
    network.model.to("cpu").eval()
    network.merge()
    processes.wait()
    return {
        "network_": network,
        "history_": [*state.earlier, *state.history],
        "best_epoch_": len(state.earlier) + state.best_epoch,
        "collapsed_": training.collapsed,
        "n_restarts_": state.attempt,
        "n_processes_": processes.count,
    }


def _slower(settings: FineTuneSettings) -> FineTuneSettings:
    head = settings.head_learning_rate or HEAD_RATE_FACTOR * settings.learning_rate
    return replace(settings, learning_rate=_SLOWER * settings.learning_rate, head_learning_rate=_SLOWER * head)


def _say_collapsed(training: Training, *, again: bool) -> None:
    kept = training.state.history[training.state.best_epoch]
    rate = training.settings.learning_rate
    what = f"the fine-tuning collapsed at rate {rate:g}: its predictions hold {kept['entropy']:.3f} nats (one class)"
    then = f"it is repeated once at {_SLOWER * rate:g}" if again else "its scores say nothing about the encoder"
    warnings.warn(f"{what}; {then}", CollapsedTrainingWarning, stacklevel=4)
