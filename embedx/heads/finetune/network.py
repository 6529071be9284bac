"""The encoder with a classification layer, as transformers builds it, run as extraction runs it."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.base import EncoderInfo
from embedx.encoders.wav2vec2 import frames_with_gradients, least_samples, load_network, normalize
from embedx.errors import EncoderError, MissingExtraError, ModelFormatError
from embedx.heads.finetune.settings import Settings

__all__ = ["HEAD_RATE_FACTOR", "Network", "build_network", "parameter_groups"]

_LAYER = re.compile(r"\bencoder\.layers\.(\d+)\.")
_DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
_LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
_MASKS = ("mask_time_prob", "mask_feature_prob")
HEAD_RATE_FACTOR = 10.0
"""How much faster the new layers learn than the encoder unless told."""


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

    def waves(self, batch: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
        """Normalise clips as the checkpoint expects and put them on the device."""
        ready = [normalize(samples) if self.normalized else samples for samples in batch]
        return [torch.from_numpy(np.ascontiguousarray(samples)).to(self.device) for samples in ready]

    def logits(
        self, batch: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_] | None] | None = None
    ) -> torch.Tensor:
        """Classify waveforms of any lengths.

        Projector, mean over the clip's own frames, classifier: exactly ``Wav2Vec2ForSequenceClassification``
        of transformers on a clip alone.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            Waveforms as they were decoded.
        masks : sequence of ndarray of shape (n_frames,), bool, or None
            Frames that are hidden (training only).

        Returns
        -------
        Tensor of shape (B, n_classes), float32
        """
        frames = frames_with_gradients(self.base, self.waves(batch), masks=masks)
        pooled = [self.model.projector(clip).mean(dim=0) for clip in frames]  # B times (P,)
        return self.model.classifier(torch.stack(pooled)).float()

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
        """Write config and weights as transformers does, masks as the checkpoint's config had them."""
        config = self.model.config
        for name, value in self.own_masks.items():
            setattr(config, name, value)
        try:
            with quiet_transformers():
                self.model.save_pretrained(folder)
            for path in Path(folder).glob("*.safetensors"):
                path.chmod((Path(folder) / "config.json").stat().st_mode)  # safetensors lets nobody else read
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


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' messages and bars off the screen: what matters is raised as errors."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _masked_share(config: Any) -> float:
    return float(getattr(config, "mask_time_prob", 0.0)) if getattr(config, "apply_spec_augment", True) else 0.0


def build_network(
    info: EncoderInfo, labels: Sequence[str], settings: Settings, *, checkpointing: bool = False
) -> Network:
    """Load an encoder and put a fresh classification layer on it.

    Parameters
    ----------
    info : EncoderInfo
        The encoder.
    labels : sequence of str
        Names of the classes, in the order of the logits.
    settings : Settings
        What is frozen, LoRA, dropout, seed of the new layers.
    checkpointing : bool
        Whether activations are computed again in the backward pass to save memory.

    Raises
    ------
    EncoderError
        The encoder has no classification model in transformers, or its weights cannot be read.
    MissingExtraError
        LoRA without peft.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(_assemble(info, labels, settings), normalized=info.normalize)
        _freeze(network, settings)
        if settings.lora_rank:
            _add_lora(network, settings)
    if checkpointing:
        network.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return network


def _assemble(info: EncoderInfo, labels: Sequence[str], settings: Settings) -> Any:
    from transformers import AutoModelForAudioClassification

    base = load_network(info, **_overrides(settings))
    config = copy.deepcopy(base.config)
    config.use_weighted_layer_sum = False
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    try:
        model = AutoModelForAudioClassification.from_config(config)
        setattr(model, model.base_model_prefix, base)
    except (ValueError, AttributeError) as error:
        raise EncoderError(f"encoder {info.id!r} cannot be fine-tuned: {error}") from error
    base.config = model.config
    return model


def _overrides(settings: Settings) -> dict[str, Any]:
    """Return the fields of the checkpoint's config that a fine-tuning sets."""
    changed: dict[str, Any] = {"layerdrop": settings.layerdrop}
    if settings.dropout is not None:
        changed.update(dict.fromkeys(_DROPOUTS, settings.dropout))
    if settings.augmentation.mask_time_prob:
        changed.update(mask_time_prob=settings.augmentation.mask_time_prob, apply_spec_augment=True)
    return changed


def _freeze(network: Network, settings: Settings) -> None:
    model, base = network.model, network.base
    if settings.freeze != "none":
        model.freeze_feature_encoder()
    for name, parameter in base.named_parameters():
        low = (
            settings.n_frozen_layers > 0
            and network.depth(f"{model.base_model_prefix}.{name}") <= settings.n_frozen_layers
        )
        if settings.freeze == "encoder" or low:
            parameter.requires_grad_(False)


def _add_lora(network: Network, settings: Settings) -> None:
    """Train small matrices beside the attention's (Hu et al., 2021) instead of the encoder."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError.for_extra("peft", "lora", "lora_rank") from error
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=settings.dropout or 0.0,
        target_modules=list(_LORA_TARGETS),
    )
    network.peft_model = get_peft_model(network.model, config)
    for layer in (network.model.projector, network.model.classifier):
        layer.requires_grad_(True)


def parameter_groups(network: Network, settings: Settings) -> Iterator[Mapping[str, Any]]:
    """Yield the optimizer's groups: one a depth, its rate lower the deeper it lies; no decay of vectors.

    The rates fall by ``layer_decay`` from layer to layer, as ELECTRA's and BEiT's fine-tuning do.
    """
    top = network.n_layers + 1
    head_rate = settings.head_learning_rate or HEAD_RATE_FACTOR * settings.learning_rate
    members: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in network.trainable().items():
        members.setdefault((network.depth(name), parameter.ndim > 1), []).append(parameter)
    for (depth, is_matrix), parameters in sorted(members.items(), key=lambda item: item[0]):
        rate = head_rate if depth == top else settings.learning_rate * settings.layer_decay ** (top - 1 - depth)
        decay = settings.weight_decay if is_matrix else 0.0
        yield {"params": parameters, "lr": rate, "weight_decay": decay, "depth": depth}
