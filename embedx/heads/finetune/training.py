"""The loop: steps, epochs, the best weights, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import bucket_by_length
from embedx.heads.finetune.building import parameter_groups
from embedx.heads.finetune.checkpoints import Checkpoints
from embedx.heads.finetune.feed import Example, Feed
from embedx.heads.finetune.interrupt import Interrupt, wait_for_step
from embedx.heads.finetune.losses import held_out_scores, rate_factor, soft_cross_entropy, tally
from embedx.heads.finetune.memory import Budget
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.processes import Processes
from embedx.heads.finetune.scoring import entropy, library_logits
from embedx.heads.finetune.settings import Settings
from embedx.heads.finetune.state import State

__all__ = ["Training"]

_CLIP_NORM = 1.0
_COLLAPSED_SHARE = 0.1
_N_SUMS = 6
_COLLAPSED_EPOCHS = 5


class Training:
    """One attempt to fine-tune a network.

    Parameters
    ----------
    network : Network
        On its device. Its best weights are in it when `run` returns.
    feed : Feed
        The training clips.
    held_out : ndarray of shape (m,), int
        Clips of the feed's library that are judged after each epoch; none: the last weights are kept.
    settings : Settings
        Rates, epochs, patience.
    processes : Processes
        Who takes part.
    budget : Budget
        Seconds at a time.
    checkpoints : Checkpoints
        Where the state is kept.
    """

    checkpoint_seconds = 300.0
    """A running epoch is checkpointed so often."""

    def __init__(
        self,
        network: Network,
        feed: Feed,
        held_out: NDArray[np.intp],
        settings: Settings,
        *,
        processes: Processes,
        budget: Budget,
        checkpoints: Checkpoints,
        state: State | None = None,
    ) -> None:
        self.network, self.feed, self.held_out, self.settings = network, feed, held_out, settings
        self.processes, self.budget, self.checkpoints = processes, budget, checkpoints
        self.state = state or State()
        self.parameters = network.trainable()
        self.groups = [dict(group) for group in parameter_groups(network, settings)]
        self.rates = [group["lr"] for group in self.groups]
        self.optimizer = torch.optim.AdamW(self.groups)
        self.best: dict[str, torch.Tensor] = {}
        self.n_classes = int(feed.targets.shape[1])
        self._saved_at = time.monotonic()

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.settings.epochs * self.feed.n_steps

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

        Ctrl-C ends it after the running step, with the state kept.
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
        epoch, first = divmod(self.state.step, self.feed.n_steps)
        self._thaw(epoch)
        if not self.state.sums:
            self.state.sums = [0.0] * _N_SUMS
        for step in range(first, self.feed.n_steps):
            self._set_rates()
            self._step(epoch, step)
            self.state.step += 1
            if progress is not None:
                progress(self.state.step, self.n_steps, **self._facts(epoch))
            if interrupt.asked or time.monotonic() - self._saved_at > self.checkpoint_seconds:
                self._save()
            if interrupt.asked:
                raise KeyboardInterrupt

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
        batch = self.feed.batch(epoch, step)
        part = self.processes.number
        examples = self.feed.examples(epoch, batch, part=part, n_parts=self.processes.count)
        self._clear_gradients()
        sums = self.budget.spend(lambda: self._backward(examples, self.feed.weight(batch)), undo=self._clear_gradients)
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
        named, truth = np.array(sums[4:]), self.feed.targets[batch].sum(axis=0)
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
        parts = [self.settings.seed, self.state.attempt, self.state.step, self.processes.number]
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])

    # After an epoch

    def _judge(self) -> dict[str, Any]:
        """Return what is known of the epoch that ended."""
        loss, weight, hits, clips, named, truth = self.state.sums
        entry: dict[str, Any] = {
            "epoch": self.state.step // self.feed.n_steps - 1,
            "attempt": self.state.attempt,
            "train_loss": loss / max(weight, 1e-9),
            "train_accuracy": hits / max(clips, 1),
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "entropy": named / self.feed.n_steps,
            "label_entropy": truth / self.feed.n_steps,
        }
        if len(self.held_out):
            logits = library_logits(
                self.network,
                self.feed.library,
                self.held_out,
                budget=self.budget,
                processes=self.processes,
                cache=self.feed.cache,
            )
            entry.update(held_out_scores(logits, self.feed.targets[self.held_out]))
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
