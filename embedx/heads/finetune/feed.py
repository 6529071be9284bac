"""What each step is trained on: order, crops and masks follow from (seed, epoch, clip) and nothing else.

So a run that was killed goes on exactly, and neither the number of processes nor the memory budget changes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.heads.finetune.augment import mix, time_mask, vary
from embedx.heads.finetune.clips import ClipLibrary
from embedx.heads.finetune.frames import FeatureCache, Signal
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.settings import Settings

__all__ = ["Example", "Feed"]


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


class Feed:
    """The training clips, step by step.

    Parameters
    ----------
    library : ClipLibrary
        The audio.
    indices : ndarray of shape (n,), int
        Clips of the library that are trained on.
    targets : ndarray of shape (N, n_classes), float32
        For every clip of the library: its class, times its weight.
    network : Network
        Says how many frames so many samples give.
    settings : Settings
        Batch size, augmentation, seed.
    cache : FeatureCache, optional
        Keeps what frozen convolutions make of clips that are the same in every epoch.
    """

    def __init__(
        self,
        library: ClipLibrary,
        indices: NDArray[np.intp],
        targets: NDArray[np.float32],
        network: Network,
        settings: Settings,
        cache: FeatureCache | None = None,
    ) -> None:
        self.cache, self.is_varied = cache, settings.augmentation.changes_samples(normalized=network.normalized)
        self.library, self.indices, self.targets = library, indices, targets
        self.network, self.settings = network, settings
        self.window_samples = round(library.recipe.window_seconds * library.recipe.sample_rate)
        chosen = settings.augmentation.mask_time_prob
        self.mask_prob = network.mask_prob if chosen is None else chosen

    @property
    def n_steps(self) -> int:
        """Steps of an epoch; the last one may hold fewer clips."""
        return -(-len(self.indices) // self.settings.batch_size)

    def batch(self, epoch: int, step: int) -> NDArray[np.intp]:
        """Return the clips of one step, of all processes together."""
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(self.indices)
        return order[step * self.settings.batch_size : (step + 1) * self.settings.batch_size]

    def weight(self, batch: NDArray[np.intp]) -> float:
        """Return what a step's loss is divided by."""
        return float(self.targets[batch].sum())

    def examples(self, epoch: int, batch: NDArray[np.intp], *, part: int = 0, n_parts: int = 1) -> list[Example]:
        """Draw one process's share of a step."""
        return [self._example(epoch, batch, place) for place in range(part, len(batch), n_parts)]

    def _example(self, epoch: int, batch: NDArray[np.intp], place: int) -> Example:
        index, other = int(batch[place]), int(batch[(place + 1) % len(batch)])
        rng = np.random.default_rng([self.settings.seed, epoch, index, 1])
        if not self.is_varied and not self._is_cropped(index):
            samples = self.library.crop(index, 0, self.window_samples)
            signal = samples if self.cache is None else self.cache.find((index, 0.0), samples)
            return Example(signal, len(samples), self._mask(len(samples), rng), self.targets[index])
        samples, target = self._varied(index, rng), self.targets[index]
        alpha = self.settings.augmentation.mixup_alpha
        if alpha:
            share = float(rng.beta(alpha, alpha))
            partner = self._varied(other, np.random.default_rng([self.settings.seed, epoch, other, 2]))
            samples, target = mix(samples, partner, share), share * target + (1 - share) * self.targets[other]
        return Example(samples, len(samples), self._mask(len(samples), rng), target.astype(np.float32))

    def _is_cropped(self, index: int) -> bool:
        return self.settings.augmentation.crop and self.library.clips[index].n_samples > self.window_samples

    def _varied(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        n_spare = self.library.clips[index].n_samples - self.window_samples
        first = int(rng.integers(n_spare + 1)) if self._is_cropped(index) else 0
        samples = self.library.crop(index, first, self.window_samples)
        rate = self.library.recipe.sample_rate
        varied = vary(samples, self.settings.augmentation, rng, sample_rate=rate)[: self.window_samples]
        return varied if len(varied) >= self.library.min_samples else samples

    def _mask(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
        config = self.network.model.config
        return time_mask(
            self.network.n_frames(n_samples),
            prob=self.mask_prob,
            length=getattr(config, "mask_time_length", 10),
            least=getattr(config, "mask_time_min_masks", 2),
            rng=rng,
        )
