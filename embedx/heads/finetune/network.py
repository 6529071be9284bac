"""The encoder with a classification layer, as transformers builds it, run as extraction runs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.checkpoint import quiet_transformers
from embedx.encoders.forward import ForwardPass
from embedx.encoders.wav2vec2 import least_samples
from embedx.errors import ModelFormatError
from embedx.heads.finetune.frames import Signal

__all__ = ["Network"]

_LAYER = re.compile(r"\bencoder\.layers\.(\d+)\.")
_MASKS = ("mask_time_prob", "mask_feature_prob")


class Network:
    """A transformers model for sequence classification whose logits do not depend on the batch.

    Parameters
    ----------
    model : PreTrainedModel
        Such as ``Wav2Vec2ForSequenceClassification``.
    normalized : bool
        Whether the checkpoint expects zero mean and unit variance.

    Attributes
    ----------
    mask_prob : float
        Share of the frames that SpecAugment hides, as the checkpoint's config says. While the network is
        trained here its config says 0: masks are drawn per clip by `Feed`, not per batch by transformers.
    """

    def __init__(self, model: Any, *, normalized: bool) -> None:
        self.model, self.normalized = model, normalized
        self.peft_model: Any = None
        self.own_masks = {name: getattr(model.config, name, 0.0) for name in _MASKS}
        self.mask_prob = _masked_share(model.config)
        for name in _MASKS:
            setattr(model.config, name, 0.0)

    @property
    def base(self) -> Any:
        """The encoder inside."""
        return getattr(self.model, self.model.base_model_prefix)

    @property
    def forward_pass(self) -> ForwardPass:
        """How waveforms go through it."""
        return ForwardPass(self.base, normalized=self.normalized)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @property
    def n_layers(self) -> int:
        """Transformer layers."""
        return int(self.model.config.num_hidden_layers)

    @property
    def min_samples(self) -> int:
        """Samples of one frame."""
        return least_samples(self.model.config)

    def n_frames(self, n_samples: int) -> int:
        """Return how many frames so many samples give."""
        return int(self.model._get_feat_extract_output_lengths(torch.tensor(n_samples)))

    @property
    def has_fixed_convolutions(self) -> bool:
        """Whether the convolutional part never moves."""
        return not any(p.requires_grad for p in self.base.feature_extractor.parameters())

    def features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return what the convolutions make of a waveform, (T, C), without gradients."""
        forward = self.forward_pass
        with torch.no_grad():
            return forward.convolve([forward.wave(samples, self.device)])[0]

    def logits(
        self,
        batch: Sequence[Signal],
        masks: Sequence[NDArray[np.bool_] | None] | None = None,
    ) -> torch.Tensor:
        """Classify waveforms of any lengths.

        Projector, mean over the clip's own frames, classifier: exactly ``Wav2Vec2ForSequenceClassification``
        of transformers on a clip alone.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32, or tensor of shape (T, C)
            Waveforms as they were decoded, or what `features` made of them.
        masks : sequence of ndarray of shape (n_frames,), bool, or None
            Frames that are hidden (training only).

        Returns
        -------
        Tensor of shape (B, n_classes), float32
        """
        frames = self._frames(batch, masks)
        lengths = torch.tensor([[len(clip)] for clip in frames], device=frames[0].device)
        projected = self.model.projector(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True))  # (B, T, P)
        real = torch.arange(projected.shape[1], device=projected.device)[None] < lengths
        pooled = (projected * real[..., None]).sum(dim=1) / lengths
        return self.model.classifier(pooled.to(projected.dtype)).float()

    def _frames(self, batch: Sequence[Signal], masks: Sequence[NDArray[np.bool_] | None] | None) -> list[torch.Tensor]:
        forward = self.forward_pass
        waves = [forward.wave(item, self.device) for item in batch if isinstance(item, np.ndarray)]
        computed = iter(forward.convolve(waves))
        features = [item if isinstance(item, torch.Tensor) else next(computed) for item in batch]
        return forward.frames(features, masks)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that may ever move, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def depth(self, name: str) -> int:
        """Return how far up a parameter lies: 0 below the transformer, 1 ... its layers, one more the head."""
        if not name.startswith(f"{self.model.base_model_prefix}."):
            return self.n_layers + 1
        found = _LAYER.search(name)
        return int(found.group(1)) + 1 if found else 0

    def merge(self) -> None:
        """Fold LoRA's matrices into the weights: from now on a plain transformers model."""
        if self.peft_model is not None:
            self.model, self.peft_model = self.peft_model.merge_and_unload(), None

    def save(self, folder: Path) -> None:
        """Write config and weights as transformers does, masks as the checkpoint's config had them.

        Raises
        ------
        OSError
            They cannot be written.
        """
        from safetensors import SafetensorError

        config = self.model.config
        for name, value in self.own_masks.items():
            setattr(config, name, value)
        try:
            with quiet_transformers():
                self.model.save_pretrained(folder)
            for path in Path(folder).glob("*.safetensors"):
                path.chmod((Path(folder) / "config.json").stat().st_mode)  # safetensors lets nobody else read
        except SafetensorError as error:
            raise OSError(str(error)) from error
        finally:
            for name in self.own_masks:
                setattr(config, name, 0.0)

    @classmethod
    def load(cls, folder: Path, *, normalized: bool) -> Network:
        """Read what `save` wrote: safetensors only, nobody's code.

        Raises
        ------
        ModelFormatError
            It cannot be read, or weights are missing.
        """
        from transformers import AutoModelForAudioClassification

        try:
            with quiet_transformers():
                model, report = AutoModelForAudioClassification.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                    dtype=torch.float32,
                )
        except Exception as error:
            raise ModelFormatError(f"{folder}: the network cannot be loaded: {error}") from error
        if report["missing_keys"] or report["mismatched_keys"]:
            raise ModelFormatError(f"{folder}: weights are missing or of another shape: {report}")
        return cls(model.eval(), normalized=normalized)


def _masked_share(config: Any) -> float:
    return float(getattr(config, "mask_time_prob", 0.0)) if getattr(config, "apply_spec_augment", True) else 0.0
