"""A network made ready: an encoder with a fresh classification layer, what is frozen, who learns how fast."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model
from embedx.errors import EncoderError, MissingExtraError
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.settings import Settings

__all__ = ["HEAD_RATE_FACTOR", "build_network", "parameter_groups"]

_DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
_LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
HEAD_RATE_FACTOR = 10.0
"""How much faster the new layers learn than the encoder unless told."""


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

    base = load_model(info, **_overrides(settings))
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
