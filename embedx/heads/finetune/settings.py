"""What a fine-tuning is told: checked once, before audio is read or weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from embedx.checks import require_choice, require_number

__all__ = ["FREEZE", "Augmentation", "Settings"]

FREEZE = ("conv", "none", "encoder")
"""What never moves: the convolutional part (as the wav2vec 2.0 paper does), nothing, or all but the new layers."""


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
    """

    crop: bool = True
    mask_time_prob: float | None = None
    gain_db: float = 6.0
    noise_snr_db: float | None = None
    speed_percent: float = 0.0
    mixup_alpha: float = 0.0

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

    def check(self) -> None:
        """Refuse values that mean nothing, with `ParameterError`."""
        require_number("mask_time_prob", self.mask_time_prob, 0, 1, optional=True)
        require_number("gain_db", self.gain_db, 0, 60)
        require_number("noise_snr_db", self.noise_snr_db, -20, 100, optional=True)
        require_number("speed_percent", self.speed_percent, 0, 50)
        require_number("mixup_alpha", self.mixup_alpha, 0, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides where a training ends; see `FineTuneClassifier` for what each means."""

    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float | None
    layer_decay: float
    weight_decay: float
    warmup_fraction: float
    freeze: str
    n_frozen_layers: int
    unfreeze_epochs: int
    lora_rank: int
    dropout: float | None
    layerdrop: float
    label_smoothing: float
    class_weight: str | None
    augmentation: Augmentation
    validation_fraction: float
    patience: int
    seed: int

    def check(self, *, n_layers: int) -> None:
        """Refuse values that mean nothing.

        Parameters
        ----------
        n_layers : int
            Transformer layers of the encoder.

        Raises
        ------
        ParameterError
            The first such value, with what is allowed.
        """
        whole: Mapping[str, tuple[int, int]] = {
            "epochs": (1, 100_000),
            "batch_size": (1, 100_000),
            "n_frozen_layers": (0, n_layers),
            "unfreeze_epochs": (0, self.epochs),
            "lora_rank": (0, 1024),
            "patience": (0, 100_000),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in whole.items():
            require_number(name, getattr(self, name), low, high, whole=True)
        for name in ("warmup_fraction", "layer_decay", "label_smoothing", "layerdrop", "weight_decay"):
            require_number(name, getattr(self, name), 0, 1)
        require_number("learning_rate", self.learning_rate, 1e-9, 10)
        require_number("head_learning_rate", self.head_learning_rate, 1e-9, 10, optional=True)
        require_number("dropout", self.dropout, 0, 0.99, optional=True)
        require_number("validation_fraction", self.validation_fraction, 0, 0.5)
        require_choice("freeze", self.freeze, FREEZE)
        require_choice("class_weight", self.class_weight, ("balanced",), optional=True)
        self.augmentation.check()

    def record(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)
