"""What is computed at a time: the steps of a training, and the windows of clips that are classified.

Order, crops and masks of a step follow from (seed, epoch, clip) and nothing else, so a run that was killed is resumed
exactly, and neither the number of processes nor the memory budget changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import bucket_by_length
from embedx.audio.windows import added_seconds
from embedx.heads.finetune.dataset import AudioDataset
from embedx.heads.finetune.network import FeatureCache, Network, Signal
from embedx.heads.finetune.resources import MemoryBudget, Processes
from embedx.heads.finetune.settings import FineTuneSettings, mix, time_mask, vary
from embedx.manifest import Source
from embedx.recipe import Recipe

__all__ = ["BatchSampler", "Example", "clip_logits", "logits_in_parts"]

_WINDOWS_AHEAD = 4
_CLIPS_AT_A_TIME = 64
_CACHE_BYTES = 2**29

_Window = tuple[int, float, float, NDArray[np.float32]]  # clip, start and end in seconds, samples


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One clip of one step.

    Parameters
    ----------
    signal : ndarray of shape (n,), float32, or tensor of shape (T, C)
        At most a window of audio, or what frozen convolutions make of it.
    n_samples : int
        Length of that audio.
    mask : ndarray of shape (n_frames,), bool, or None
        Frames that are hidden.
    target : ndarray of shape (n_classes,), float32
        Shares of the classes, times the clip's weight.
    """

    signal: Signal
    n_samples: int
    mask: NDArray[np.bool_] | None
    target: NDArray[np.float32]


class BatchSampler:
    """The training clips, step by step.

    Parameters
    ----------
    dataset : AudioDataset
        The audio.
    indices : ndarray of shape (n,), int
        Clips of the dataset that are trained on.
    targets : ndarray of shape (N, n_classes), float32
        For every clip of the dataset: its class, times its weight.
    network : Network
        Says how many frames so many samples give.
    settings : FineTuneSettings
        Batch size, augmentation, seed.
    cache : FeatureCache, optional
        Keeps what frozen convolutions make of clips that are the same in every epoch.
    """

    def __init__(
        self,
        dataset: AudioDataset,
        indices: NDArray[np.intp],
        targets: NDArray[np.float32],
        network: Network,
        settings: FineTuneSettings,
        cache: FeatureCache | None = None,
    ) -> None:
        self.cache, self.is_varied = cache, settings.variation.changes_samples(normalized=network.normalized)
        self.dataset, self.indices, self.targets = dataset, indices, targets
        self.network, self.settings = network, settings
        self.window_samples = round(dataset.recipe.window_seconds * dataset.recipe.sample_rate)
        chosen = settings.variation.mask_time_prob
        self.mask_prob = network.mask_prob if chosen is None else chosen

    @property
    def n_steps(self) -> int:
        """Steps of an epoch; the last one may hold fewer clips."""
        return -(-len(self.indices) // self.settings.batch_size)

    def batch(self, epoch: int, step: int) -> NDArray[np.intp]:
        """Return the clips of one step, of all processes together."""
        order = np.random.default_rng([self.settings.random_state, epoch]).permutation(self.indices)
        return order[step * self.settings.batch_size : (step + 1) * self.settings.batch_size]

    def weight(self, batch: NDArray[np.intp]) -> float:
        """Return what a step's loss is divided by."""
        return float(self.targets[batch].sum())

    def examples(self, epoch: int, batch: NDArray[np.intp], *, part: int = 0, n_parts: int = 1) -> list[Example]:
        """Draw one process's share of a step."""
        return [self._example(epoch, batch, place) for place in range(part, len(batch), n_parts)]

    def _example(self, epoch: int, batch: NDArray[np.intp], place: int) -> Example:
        index, other = int(batch[place]), int(batch[(place + 1) % len(batch)])
        rng = np.random.default_rng([self.settings.random_state, epoch, index, 1])
        if not self.is_varied and not self._is_cropped(index):
            samples = self.dataset.crop(index, 0, self.window_samples)
            signal = samples if self.cache is None else self.cache.find((index, 0.0), samples)
            return Example(signal, len(samples), self._mask(len(samples), rng), self.targets[index])
        samples, target = self._varied(index, rng), self.targets[index]
        alpha = self.settings.variation.mixup_alpha
        if alpha:
            share = float(rng.beta(alpha, alpha))
            partner = self._varied(other, np.random.default_rng([self.settings.random_state, epoch, other, 2]))
            samples, target = mix(samples, partner, share), share * target + (1 - share) * self.targets[other]
        return Example(samples, len(samples), self._mask(len(samples), rng), target.astype(np.float32))

    def _is_cropped(self, index: int) -> bool:
        return self.settings.variation.crop and self.dataset.clips[index].n_samples > self.window_samples

    def _varied(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        n_spare = self.dataset.clips[index].n_samples - self.window_samples
        first = int(rng.integers(n_spare + 1)) if self._is_cropped(index) else 0
        samples = self.dataset.crop(index, first, self.window_samples)
        rate = self.dataset.recipe.sample_rate
        varied = vary(samples, self.settings.variation, rng, sample_rate=rate)[: self.window_samples]
        return varied if len(varied) >= self.dataset.min_samples else samples

    def _mask(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
        config = self.network.model.config
        return time_mask(
            self.network.n_frames(n_samples),
            prob=self.mask_prob,
            length=getattr(config, "mask_time_length", 10),
            least=getattr(config, "mask_time_min_masks", 2),
            rng=rng,
        )


def clip_logits(
    network: Network,
    dataset: AudioDataset,
    indices: Sequence[int] | NDArray[np.intp],
    *,
    budget: MemoryBudget,
    processes: Processes,
    cache: FeatureCache | None = None,
) -> NDArray[np.float32]:
    """Classify clips as prediction does: nothing is varied, every second counts once.

    Parameters
    ----------
    network : Network
        It is left in evaluation mode.
    dataset : AudioDataset
        The audio.
    indices : sequence of int
        Clips of the dataset.
    budget : MemoryBudget
        Seconds in a batch.
    processes : Processes
        Each takes a share.
    cache : FeatureCache, optional
        Of frozen convolutions, when the same clips are classified again and again.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
        The mean of the window logits, weighted by the seconds that each window adds.
    """
    network.model.eval()
    mine = range(processes.number, len(indices), processes.count)
    table = torch.zeros(len(indices), network.model.config.num_labels, device=processes.device)
    rows: dict[int, list[tuple[float, float, NDArray[np.float32]]]] = {row: [] for row in mine}
    for part in _parts(_windows(dataset, indices, mine), budget):
        signals = [w[3] if cache is None else cache.find((int(indices[w[0]]), w[1]), w[3]) for w in part]
        for (row, start, end, _), logits in zip(part, _logits(network, part, signals, budget), strict=True):
            rows[row].append((start, end, logits))
    for row, windows in rows.items():
        starts, ends, logits = (np.array(column) for column in zip(*windows, strict=True))
        added = added_seconds(starts, ends)
        table[row] = torch.from_numpy((added / added.sum()).astype(np.float32) @ logits)
    processes.sum([table])
    return table.cpu().numpy()


def _windows(dataset: AudioDataset, indices: Sequence[int] | NDArray[np.intp], rows: range) -> Iterator[_Window]:
    for row in rows:
        for start, end, samples in dataset.windows(int(indices[row])):
            yield row, start, end, samples


def _parts(windows: Iterator[_Window], budget: MemoryBudget) -> Iterator[list[_Window]]:
    """Cut the stream of windows into parts of a few batches, so that lengths can be sorted."""
    part: list[_Window] = []
    for window in windows:
        part.append(window)
        if sum(len(w[3]) for w in part) >= _WINDOWS_AHEAD * budget.samples:
            yield part
            part = []
    if part:
        yield part


def _logits(
    network: Network, part: Sequence[_Window], signals: Sequence[Signal], budget: MemoryBudget
) -> list[NDArray[np.float32]]:
    def compute() -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}
        for batch in bucket_by_length([len(w[3]) for w in part], budget_samples=budget.samples):
            with torch.inference_mode(), budget.autocast():
                logits = network.logits([signals[i] for i in batch])
            found.update(zip(batch, logits.cpu().numpy(), strict=True))
        return [found[i] for i in range(len(part))]

    return budget.spend(compute)


def logits_in_parts(
    network: Network, sources: Sequence[Source], recipe: Recipe, budget: MemoryBudget, processes: Processes
) -> Iterator[tuple[AudioDataset, NDArray[np.float32]]]:
    """Yield any number of clips a few at a time, each read once, with their logits; NaN where one cannot be used."""
    network.model.to(processes.device)
    try:
        for start in range(0, len(sources), _CLIPS_AT_A_TIME):
            some = sources[start : start + _CLIPS_AT_A_TIME]
            dataset = AudioDataset(some, recipe, min_samples=network.min_samples, cache_bytes=_CACHE_BYTES)
            good = [i for i in range(len(dataset)) if i not in dataset.errors]
            logits = np.full((len(dataset), network.model.config.num_labels), np.nan, np.float32)
            logits[good] = clip_logits(network, dataset, good, budget=budget, processes=processes)
            yield dataset, logits
    finally:
        network.model.to("cpu")
