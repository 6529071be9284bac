"""The encoder with a classification layer, as transformers builds it, run as extraction runs it."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model, quiet_transformers
from embedx.encoders.description import describe
from embedx.encoders.forward import ForwardPass, SpectrogramPass
from embedx.encoders.frame_pooling import attend
from embedx.encoders.network import make_extractor
from embedx.encoders.networks import NETWORKS
from embedx.encoders.waveform import least_samples
from embedx.errors import EncoderError, MissingExtraError, ModelFormatError
from embedx.heads.finetune.settings import FineTuneSettings

__all__ = ["HEAD_RATE_FACTOR", "FeatureCache", "Network", "Signal", "build_network", "parameter_groups"]

HEAD_RATE_FACTOR = 10.0
"""How much faster the new layers learn than the encoder unless told."""

Signal = NDArray[np.float32] | torch.Tensor
"""A waveform (n_samples,), or what the convolutions make of it (T, C)."""

_ATTENTION = "attention_pooling"
_LAYER = re.compile(r"\b(?:encoder|audio_spectrogram_transformer)\.layers?\.(\d+)\.")
_MASKS = ("mask_time_prob", "mask_feature_prob")
_DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
_OTHER_DROPOUTS = {
    "whisper": ("dropout", "attention_dropout", "activation_dropout"),
    "audio-spectrogram-transformer": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "sew-d": ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"),
}
_LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj", "linear_q", "linear_k", "linear_v", "linear_out")


class Network:
    """A transformers model for sequence classification whose logits do not depend on the batch.

    Parameters
    ----------
    model : PreTrainedModel
        Such as ``Wav2Vec2ForSequenceClassification``.
    normalized : bool
        Whether the checkpoint expects zero mean and unit variance.
    info : EncoderInfo, optional
        The encoder, where it has a front end of its own.

    Attributes
    ----------
    mask_prob : float
        Share of the frames that SpecAugment hides, as the checkpoint's config says. While the network is
        trained here its config says 0: masks are drawn per clip by `BatchSampler`, not per batch by transformers.
    """

    def __init__(self, model: Any, *, normalized: bool, info: EncoderInfo | None = None) -> None:
        self.model, self.normalized, self.info = model, normalized, info
        self.peft_model: Any = None
        self.own_masks = {name: getattr(model.config, name, 0.0) for name in _MASKS}
        self.mask_prob = _masked_share(model.config)
        for name in _MASKS:
            setattr(model.config, name, 0.0)
        if info is not None:
            self.mask_prob = 0.0  # what is hidden are frames of the convolutions, which it does not have
        self._front: tuple[torch.device, SpectrogramPass] | None = None

    @property
    def base(self) -> Any:
        """The encoder inside."""
        return getattr(self.model, _base_name(self.model))

    @property
    def attention(self) -> torch.nn.Linear | None:
        """What scores the frames, where the mean over them is weighted."""
        return getattr(self.model, _ATTENTION, None)

    @property
    def forward_pass(self) -> ForwardPass | SpectrogramPass:
        """How waveforms go through it."""
        return ForwardPass(self.base, normalized=self.normalized) if self.info is None else self._spectrogram_pass()

    def _spectrogram_pass(self) -> SpectrogramPass:
        assert self.info is not None
        if self._front is None or self._front[0] != self.device or self._front[1].network.model is not self.base:
            kind, padding = NETWORKS[self.info.model_type], self.info.paddings[0]
            network = kind(self.info, padding=padding, device=self.device, model=self.base)
            self._front = self.device, SpectrogramPass(network)
        return self._front[1]

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
        return least_samples(self.model.config) if self.info is None else self.info.min_samples

    def n_frames(self, n_samples: int) -> int:
        """Return how many frames so many samples give."""
        if self.info is None:
            return int(self.model._get_feat_extract_output_lengths(torch.tensor(n_samples)))
        return self._spectrogram_pass().network.n_frames(n_samples)

    @property
    def has_fixed_convolutions(self) -> bool:
        """Whether the convolutional part never moves."""
        return self.info is not None or not any(p.requires_grad for p in self.base.feature_extractor.parameters())

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

        Projector, mean over the clip's own frames (weighted where there is `attention`), classifier: exactly
        ``Wav2Vec2ForSequenceClassification`` of transformers on a clip alone; or, where there are class tokens, a
        classifier on their mean, as ``ASTForAudioClassification`` does.

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
        if self.info is not None and self.info.n_class_tokens:
            tokens = torch.stack([clip[: self.info.n_class_tokens].mean(dim=0) for clip in frames])
            return self.model.classifier(tokens).float()
        lengths = torch.tensor([[len(clip)] for clip in frames], device=frames[0].device)
        projected = self.model.projector(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True))  # (B, T, P)
        real = torch.arange(projected.shape[1], device=projected.device)[None] < lengths
        if self.attention is None:
            pooled = (projected * real[..., None]).sum(dim=1) / lengths
        else:
            pooled = attend(projected, self.attention(projected), real)
        return self.model.classifier(pooled.to(projected.dtype)).float()

    def _frames(self, batch: Sequence[Signal], masks: Sequence[NDArray[np.bool_] | None] | None) -> list[torch.Tensor]:
        forward = self.forward_pass
        waves = [forward.wave(item, self.device) for item in batch if isinstance(item, np.ndarray)]
        computed = iter(forward.convolve(waves))
        features = [item if isinstance(item, torch.Tensor) else next(computed) for item in batch]
        return forward.last(features) if isinstance(forward, SpectrogramPass) else forward.frames(features, masks)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that may ever move, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def depth(self, name: str) -> int:
        """Return how far up a parameter lies: 0 below the transformer, 1 ... its layers, one more the head."""
        if not name.startswith(f"{_base_name(self.model)}."):
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
                if self.info is not None:
                    make_extractor(self.info).save_pretrained(folder)
            for path in Path(folder).glob("*.safetensors"):
                path.chmod((Path(folder) / "config.json").stat().st_mode)  # safetensors lets nobody else read
        except SafetensorError as error:
            raise OSError(str(error)) from error
        finally:
            for name in self.own_masks:
                setattr(config, name, 0.0)

    def to_bytes(self) -> dict[str, bytes]:
        """Return the files that `save` writes, by name."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder))
            return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    @classmethod
    def from_bytes(cls, files: Mapping[str, bytes], *, normalized: bool) -> Network:
        """Make a network of what `to_bytes` returned."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            return cls.load(Path(folder), normalized=normalized)

    @classmethod
    def load(cls, folder: Path, *, normalized: bool) -> Network:
        """Read what `save` wrote: safetensors only, nobody's code.

        Raises
        ------
        ModelFormatError
            It cannot be read, or weights are missing.
        """
        from safetensors import safe_open
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
        if f"{_ATTENTION}.weight" in report["unexpected_keys"]:
            _add_attention(model)
            with safe_open(folder / "model.safetensors", framework="pt") as file:
                scorer = getattr(model, _ATTENTION)
                scorer.load_state_dict({name: file.get_tensor(f"{_ATTENTION}.{name}") for name in scorer.state_dict()})
        kind, info = model.config.model_type, None
        if kind in NETWORKS:
            info = EncoderInfo(
                id=str(folder),
                location=str(folder),
                revision="local",
                weights_sha256="",
                **describe(folder, str(folder)),
            )
        return cls(model.eval(), normalized=normalized, info=info)


def _masked_share(config: Any) -> float:
    return float(getattr(config, "mask_time_prob", 0.0)) if getattr(config, "apply_spec_augment", True) else 0.0


class FeatureCache:
    """Features of windows that are the same in every epoch, kept while there is room.

    Parameters
    ----------
    compute : callable
        Turns samples (n,) float32 into features (T, C), without gradients.
    most_bytes : int
        What is beyond is computed again whenever it is needed.

    Examples
    --------
    >>> cache = FeatureCache(lambda samples: torch.from_numpy(samples)[:, None], most_bytes=100)
    >>> cache.find((0, 0.0), np.ones(3, np.float32)) is cache.find((0, 0.0), np.ones(3, np.float32))
    True
    >>> cache.find((1, 0.0), np.ones(99, np.float32)) is cache.find((1, 0.0), np.ones(99, np.float32))
    False
    """

    def __init__(self, compute: Callable[[NDArray[np.float32]], torch.Tensor], *, most_bytes: int) -> None:
        self._compute, self._bytes_left = compute, most_bytes
        self._kept: dict[tuple[int, float], torch.Tensor] = {}

    def find(self, key: tuple[int, float], samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the features of one window, whose clip and start are its key."""
        if key in self._kept:
            return self._kept[key]
        features = self._compute(samples)
        n_bytes = features.numel() * features.element_size()
        if n_bytes <= self._bytes_left:
            self._bytes_left -= n_bytes
            self._kept[key] = features
        return features


def build_network(info: EncoderInfo, labels: Sequence[str], settings: FineTuneSettings) -> Network:
    """Load an encoder and put a fresh classification layer on it.

    Parameters
    ----------
    info : EncoderInfo
        The encoder.
    labels : sequence of str
        Names of the classes, in the order of the logits.
    settings : FineTuneSettings
        What is frozen, LoRA, dropout, seed of the new layers, checkpointing of gradients.

    Raises
    ------
    EncoderError
        The encoder has no classification model in transformers, or its weights cannot be read.
    MissingExtraError
        LoRA without peft.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.random_state)
        own = info if info.model_type in NETWORKS else None
        network = Network(_assemble(info, labels, settings), normalized=info.normalize, info=own)
        _freeze(network, settings)
        if settings.lora_rank:
            _add_lora(network, settings)
    if settings.gradient_checkpointing:
        network.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return network


def _assemble(info: EncoderInfo, labels: Sequence[str], settings: FineTuneSettings) -> Any:
    from transformers import AutoModelForAudioClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES as known

    if info.model_type not in known:
        raise EncoderError(
            f"encoder {info.id!r} cannot be fine-tuned: transformers has no classification model of model_type "
            f"{info.model_type!r}; a head on its embeddings can be fitted (logreg, mlp, lgbm ...)"
        )
    load = NETWORKS[info.model_type].load if info.model_type in NETWORKS else load_model
    base = load(info, **_overrides(settings, info.model_type))
    config = copy.deepcopy(base.config)
    config.use_weighted_layer_sum = False
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    try:
        model = AutoModelForAudioClassification.from_config(config)
        setattr(model, _base_name(model), base)
    except (ValueError, AttributeError) as error:
        raise EncoderError(f"encoder {info.id!r} cannot be fine-tuned: {error}") from error
    base.config = model.config
    if settings.pooling == "attention":
        _require_frames(info, model)
        _add_attention(model)
    return model


def _require_frames(info: EncoderInfo, model: Any) -> None:
    if not hasattr(model, "projector") or info.n_class_tokens:
        raise EncoderError(
            f"encoder {info.id!r} is classified by its class tokens, so there are no frames to weigh: pooling='mean'"
        )


def _add_attention(model: Any) -> None:
    """Add what scores the frames; with zeros it is their mean."""
    scorer = torch.nn.Linear(model.projector.out_features, 1)
    torch.nn.init.zeros_(scorer.weight)
    torch.nn.init.zeros_(scorer.bias)
    setattr(model, _ATTENTION, scorer)


def _base_name(model: Any) -> str:
    """Return the name of the encoder inside a classification model."""
    return "encoder" if model.config.model_type == "whisper" else str(model.base_model_prefix)


def _overrides(settings: FineTuneSettings, family: str) -> dict[str, Any]:
    """Return the fields of the checkpoint's config that a fine-tuning sets."""
    changed: dict[str, Any] = {} if family in (*NETWORKS, "sew-d") else {"layerdrop": settings.layerdrop}
    if settings.dropout is not None:
        changed.update(dict.fromkeys(_OTHER_DROPOUTS.get(family, _DROPOUTS), settings.dropout))
    if family in NETWORKS:
        return changed
    if settings.variation.mask_time_prob:
        changed.update(mask_time_prob=settings.variation.mask_time_prob, apply_spec_augment=True)
    return changed


def _freeze(network: Network, settings: FineTuneSettings) -> None:
    model, base = network.model, network.base
    if settings.freeze != "none" and network.info is None:
        model.freeze_feature_encoder()
    for name, parameter in base.named_parameters():
        low = (
            settings.n_frozen_layers > 0
            and network.depth(f"{model.base_model_prefix}.{name}") <= settings.n_frozen_layers
        )
        if settings.freeze == "encoder" or low:
            parameter.requires_grad_(False)


def _add_lora(network: Network, settings: FineTuneSettings) -> None:
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
    for name in ("projector", "classifier", _ATTENTION):
        if hasattr(network.model, name):
            getattr(network.model, name).requires_grad_(True)


def parameter_groups(network: Network, settings: FineTuneSettings) -> Iterator[Mapping[str, Any]]:
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
