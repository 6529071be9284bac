"""All that a fine-tuning is told, once: default, bounds, what each is for; and how training clips are varied."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_choice, require_number
from embedx.encoders.resolve import DEFAULT_ENCODER
from embedx.errors import ParameterError
from embedx.recipe import Recipe

__all__ = ["Augmentation", "FineTuneSettings", "mix", "time_mask", "vary"]

_SNR_SPAN_DB = 20.0
_SPEED_STEP_PERCENT = 5


def _number(default: Any, low: float, high: float, **bounds: Any) -> Any:
    return field(default=default, metadata={"bounds": {"low": low, "high": high, **bounds}})


def _choice(default: Any, *allowed: str, **more: Any) -> Any:
    return field(default=default, metadata={"choice": {"allowed": allowed, **more}})


def _check(settings: Any) -> None:
    """Refuse values outside the bounds that are written beside their defaults."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if "bounds" in one.metadata:
            require_number(one.name, value, **one.metadata["bounds"])
        elif "choice" in one.metadata:
            require_choice(one.name, value, **one.metadata["choice"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How training clips are varied; every draw comes from (seed, epoch, clip), so a run can be repeated.

    Evaluation and prediction never vary a clip.

    Parameters
    ----------
    crop : bool
        A clip longer than the window gives a random window each epoch; otherwise its first one.
    mask_time_prob : float or None
        Share of the frames that SpecAugment's time masks hide (Park et al., 2019); None is what the
        checkpoint's config says, 0 is off. Span length and least number of spans are the config's.
    gain_db : float
        Loudness is changed by up to so many decibels, either way (no effect on encoders that
        normalise each clip, except beside noise).
    noise_snr_db : float or None
        White noise is added at a signal-to-noise ratio drawn between this and 20 dB above it.
    speed_percent : float
        Played up to so many percent faster or slower, in steps of 5 (resampled by torchaudio: pitch moves too).
    mixup_alpha : float
        Mixup (Zhang et al., 2018) of waveforms and labels, with shares from Beta(alpha, alpha); 0 is off.

    Examples
    --------
    >>> Augmentation(noise_snr_db=10.0, speed_percent=5.0).gain_db
    6.0
    """

    crop: bool = True
    mask_time_prob: float | None = _number(None, 0, 1, optional=True)
    gain_db: float = _number(6.0, 0, 60)
    noise_snr_db: float | None = _number(None, -20, 100, optional=True)
    speed_percent: float = _number(0.0, 0, 50)
    mixup_alpha: float = _number(0.0, 0, 10)

    @classmethod
    def off(cls) -> Augmentation:
        """Return one that leaves every clip as it is.

        Examples
        --------
        >>> Augmentation.off()
        Augmentation(crop=False, mask_time_prob=0.0, gain_db=0.0, noise_snr_db=None, speed_percent=0.0, mixup_alpha=0.0)
        """
        return cls(crop=False, mask_time_prob=0.0, gain_db=0.0)

    def changes_samples(self, *, normalized: bool) -> bool:
        """Say whether a clip differs from epoch to epoch, crops and masks aside.

        Parameters
        ----------
        normalized : bool
            Whether the encoder gives each clip zero mean and unit variance; then loudness changes nothing.

        Examples
        --------
        >>> Augmentation().changes_samples(normalized=True), Augmentation().changes_samples(normalized=False)
        (False, True)
        """
        audible_gain = self.gain_db > 0 and not normalized
        return bool(audible_gain or self.noise_snr_db is not None or self.speed_percent or self.mixup_alpha)


_MACHINE = frozenset(
    {"device", "compute_dtype", "batch_seconds", "gradient_checkpointing", "checkpoint_folder", "resume"}
)
"""Settings that change speed, memory and what survives a kill, not where a training ends."""

_START = frozenset({"encoder", "recipe", "window_seconds"})


@dataclass(kw_only=True, eq=False, repr=False)
class FineTuneSettings:
    """What `FineTuneClassifier` takes; its docstring says what each is for."""

    encoder: str = DEFAULT_ENCODER
    recipe: Recipe | None = None
    window_seconds: float = _number(10.0, 0.05, 3600)
    epochs: int = _number(20, 1, 100_000, whole=True)
    batch_size: int = _number(16, 1, 100_000, whole=True)
    learning_rate: float = _number(1e-4, 1e-9, 10)
    head_learning_rate: float | None = _number(None, 1e-9, 10, optional=True)
    layer_decay: float = _number(0.9, 0, 1)
    weight_decay: float = _number(0.01, 0, 1)
    warmup_fraction: float = _number(0.1, 0, 1)
    freeze: str = _choice("conv", "conv", "none", "encoder")
    n_frozen_layers: int = _number(0, 0, 1000, whole=True)
    unfreeze_epochs: int = _number(0, 0, 100_000, whole=True)
    lora_rank: int = _number(0, 0, 1024, whole=True)
    dropout: float | None = _number(None, 0, 0.99, optional=True)
    layerdrop: float = _number(0.0, 0, 1)
    pooling: str = _choice("mean", "mean", "attention")
    label_smoothing: float = _number(0.0, 0, 1)
    class_weight: str | None = _choice(None, "balanced", optional=True)
    augmentation: Augmentation | None = None
    validation_fraction: float = _number(0.15, 0, 0.5)
    patience: int = _number(5, 0, 100_000, whole=True)
    batch_seconds: float | None = _number(None, 0, float("inf"), open_low=True, optional=True)
    gradient_checkpointing: bool = False
    device: str = "auto"
    compute_dtype: str = _choice("auto", "auto", "float32", "bfloat16")
    checkpoint_folder: str | os.PathLike[str] | None = None
    resume: bool = False
    random_state: int = _number(0, 0, 2**32 - 1, whole=True)

    def _settings(self) -> FineTuneSettings:
        """Return the settings alone, as they are now."""
        return FineTuneSettings(**{one.name: getattr(self, one.name) for one in fields(FineTuneSettings)})

    @property
    def variation(self) -> Augmentation:
        """How training clips are varied: ``augmentation``, or the default."""
        return Augmentation() if self.augmentation is None else self.augmentation

    def check(self) -> None:
        """Refuse values that mean nothing.

        Raises
        ------
        ParameterError
            The first such value, with what is allowed.
        """
        _check(self)
        require_number("unfreeze_epochs", self.unfreeze_epochs, 0, self.epochs, whole=True)
        if not isinstance(self.augmentation, Augmentation | None):
            raise ParameterError(f"augmentation={self.augmentation!r}: an Augmentation or None is needed")
        _check(self.variation)
        if self.resume and self.checkpoint_folder is None:
            raise ParameterError("resume=True needs the checkpoint_folder that the killed training wrote to")

    def record(self) -> dict[str, Any]:
        """Return what decides where a training ends, as JSON can hold it: the identity of its checkpoints."""
        names = [one.name for one in fields(FineTuneSettings) if one.name not in _MACHINE | _START]
        found = {name: getattr(self, name) for name in names}
        seed = found.pop("random_state")
        return {**found, "augmentation": asdict(self.variation), "seed": seed}


def vary(
    samples: NDArray[np.float32], augmentation: Augmentation, rng: np.random.Generator, *, sample_rate: int = 16_000
) -> NDArray[np.float32]:
    """Return a clip as it might also have been recorded: faster, louder, noisier.

    Parameters
    ----------
    samples : ndarray of shape (n,), float32
        The clip.
    augmentation : Augmentation
        What is switched on.
    rng : Generator
        Where the draws come from; as many are made whatever is switched on.
    sample_rate : int
        Hertz.

    Returns
    -------
    ndarray of shape (m,), float32
        ``m`` differs from ``n`` only when the speed was changed.

    Examples
    --------
    >>> clip = np.ones(8, np.float32)
    >>> vary(clip, Augmentation.off(), np.random.default_rng(0)).tolist() == clip.tolist()
    True
    """
    speed, gain, snr = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, _SNR_SPAN_DB)
    steps = round(speed * augmentation.speed_percent / _SPEED_STEP_PERCENT)
    if steps:
        samples = _change_speed(samples, 1 + steps * _SPEED_STEP_PERCENT / 100, sample_rate)
    if augmentation.gain_db:
        samples = samples * np.float32(10 ** (gain * augmentation.gain_db / 20))
    if augmentation.noise_snr_db is not None:
        samples = _add_noise(samples, augmentation.noise_snr_db + snr, rng)
    return samples


def _change_speed(samples: NDArray[np.float32], factor: float, sample_rate: int) -> NDArray[np.float32]:
    """Play faster (factor above 1) or slower, as Ko et al. (2015) do: pitch and length both change."""
    import torch
    from torchaudio.functional import speed

    changed, _ = speed(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate, factor)
    return changed.numpy()


def _add_noise(samples: NDArray[np.float32], snr_db: float, rng: np.random.Generator) -> NDArray[np.float32]:
    level = np.sqrt(np.mean(np.square(samples), dtype=np.float64)) * 10 ** (-snr_db / 20)
    return (samples + level * rng.standard_normal(len(samples))).astype(np.float32)


def mix(samples: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Add another clip: ``share`` of this one, the rest of that one, repeated or cut to this one's length.

    Examples
    --------
    >>> mix(np.ones(4, np.float32), np.array([0.0, 2.0], np.float32), 0.5).tolist()
    [0.5, 1.5, 0.5, 1.5]
    """
    return (share * samples + (1 - share) * np.resize(other, len(samples))).astype(np.float32)


def time_mask(
    n_frames: int, *, prob: float, length: int, least: int, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Say which frames SpecAugment hides: spans at random places, as wav2vec 2.0 draws them.

    Parameters
    ----------
    n_frames : int
        Frames of the clip.
    prob : float
        Share of frames in spans, were there no overlap.
    length, least : int
        Frames of a span, and the least number of spans.
    rng : Generator
        Where the draws come from.

    Returns
    -------
    ndarray of shape (n_frames,), bool
        None when nothing is hidden: masks are off, or the clip is no longer than a span.

    Examples
    --------
    >>> mask = time_mask(50, prob=0.1, length=10, least=0, rng=np.random.default_rng(0))
    >>> mask is None or int(mask.sum()) in (0, 10)
    True
    """
    if prob <= 0 or n_frames <= length:
        return None
    n_spans = max(least, int(prob * n_frames / length + rng.uniform()))
    n_spans = min(n_spans, n_frames // length)
    mask = np.zeros(n_frames, dtype=bool)
    for start in rng.choice(n_frames - length + 1, n_spans, replace=False):
        mask[start : start + length] = True
    return mask if n_spans else None
