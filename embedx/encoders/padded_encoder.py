"""The raw-waveform encoders as one torch module without a loop over clips, such as other runtimes take it.

Clips of different lengths lie beside each other, padded; every clip's numbers are those of the clip alone, because what
looks at more than a frame's own samples (the waveform's mean and variance, group norm, the positional convolution,
attention, pooling) is told which places are real.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from embedx.encoders.convolutions import ConvFrontend
from embedx.encoders.forward import ForwardPass
from embedx.encoders.frame_pooling import attend, pool_layer
from embedx.encoders.waveform_batch import real
from embedx.errors import EncoderError

__all__ = ["PaddedClassifier", "PaddedEncoder"]

_FAMILIES = frozenset({"wav2vec2", "hubert", "unispeech", "unispeech-sat"})
"""Whose layers take a mask of frames and nothing else."""


class _PaddedLayers(torch.nn.Module):
    """A model of the raw-waveform family, copied, layer after layer."""

    def __init__(self, model: Any, *, normalized: bool) -> None:
        super().__init__()
        _require_family(model, normalized=normalized)
        self.normalized = normalized
        self.model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
        self.model.config._attn_implementation = "eager"
        for module in list(self.model.modules()):
            for name, part in module.named_children():
                if hasattr(part, "parametrizations"):  # the positional convolution's weight norm
                    setattr(module, name, _plain(part))
        self.is_stable = type(self.model.encoder).__name__.endswith("StableLayerNorm")

    def states(self, waveform: torch.Tensor, n_samples: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the input of the first layer and the output of each, (B, T, D), and the frames of each clip, (B,)."""
        hidden, n_frames = self._features(waveform, n_samples)
        is_real = real(hidden.shape[1], n_frames)
        projected = self.model.feature_projection(hidden)  # wav2vec2 gives (projected, normed)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        hidden = hidden.masked_fill(~is_real[..., None], 0)
        encoder = self.model.encoder
        hidden = hidden + encoder.pos_conv_embed(hidden)
        if not self.is_stable:
            hidden = encoder.layer_norm(hidden)
        yield hidden, n_frames
        lowest = torch.finfo(hidden.dtype).min
        bias = torch.zeros_like(is_real, dtype=hidden.dtype).masked_fill(~is_real, lowest)[:, None, None]
        for layer in encoder.layers:
            output = layer(hidden, attention_mask=bias)
            hidden = output[0] if isinstance(output, tuple) else output
            yield hidden, n_frames

    def _features(self, waveform: torch.Tensor, n_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn waveforms into frames, (B, T, C), as the convolutions see each clip alone."""
        x = _normed(waveform, n_samples, 1e-7) if self.normalized else waveform
        x, n = x[:, None], n_samples
        for layer in self.model.feature_extractor.conv_layers:
            n = torch.div(n - layer.conv.kernel_size[0], layer.conv.stride[0], rounding_mode="floor") + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, torch.nn.GroupNorm):  # over the time of a clip, channel by channel
                x = _normed(layer.conv(x), n[:, None], norm.eps)
                x = layer.activation(x * norm.weight[:, None] + norm.bias[:, None])
            else:
                x = layer(x)
        return x.transpose(1, 2), n


def _plain(conv: Any) -> torch.nn.Conv1d:
    """Return a convolution with its weights as they are; a copy shares its class, and what is computed in it."""
    shape = (conv.in_channels, conv.out_channels, conv.kernel_size[0])
    plain = torch.nn.Conv1d(*shape, conv.stride[0], conv.padding[0], conv.dilation[0], conv.groups)
    with torch.no_grad():
        plain.weight.copy_(conv.weight)
        plain.bias.copy_(conv.bias)  # type: ignore[union-attr]
    return plain.requires_grad_(False)


def _normed(values: torch.Tensor, n: torch.Tensor, eps: float) -> torch.Tensor:
    """Give the first n of the last axis zero mean and unit variance, and zero the rest; n is as long as the others."""
    padding = torch.arange(values.shape[-1], device=values.device) >= n[..., None]
    count = n[..., None].to(values.dtype)
    centred = values - values.masked_fill(padding, 0).sum(-1, keepdim=True) / count
    centred = centred.masked_fill(padding, 0)
    return centred / torch.sqrt(centred.square().sum(-1, keepdim=True) / count + eps)


def _require_family(model: Any, *, normalized: bool) -> None:
    kind = model.config.model_type
    plain = kind in _FAMILIES and ConvFrontend.fits(model.feature_extractor)
    if not (plain and ForwardPass(model, normalized=normalized).pads and getattr(model, "adapter", None) is None):
        known = ", ".join(sorted(_FAMILIES))
        raise EncoderError(f"an encoder of the kind {kind!r} cannot be written as one graph: {known} can")


class PaddedEncoder(_PaddedLayers):
    """Waveforms to pooled layers.

    Parameters
    ----------
    model : PreTrainedModel
        Of the raw-waveform family; it is copied.
    normalized : bool
        Whether the checkpoint expects zero mean and unit variance per clip.
    layers : sequence of int
        Which layers are wanted, in this order.
    pooling : str
        As for `pool_layer`.
    store_dtype : torch.dtype
        What the result is rounded to, as a store does.

    Raises
    ------
    EncoderError
        A family whose layers need more than a mask.
    """

    def __init__(
        self, model: Any, *, normalized: bool, layers: Sequence[int], pooling: str, store_dtype: torch.dtype
    ) -> None:
        super().__init__(model, normalized=normalized)
        self.layers, self.pooling, self.store_dtype = tuple(layers), pooling, store_dtype
        del self.model.encoder.layers[max(layers) :]

    def forward(self, waveform: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Return embeddings, (B, L * D), float32, of waveforms (B, S), float32, with the samples of each, (B,)."""
        kept = {}
        for number, (state, n_frames) in enumerate(self.states(waveform, n_samples)):
            if number in self.layers:
                padding = ~real(state.shape[1], n_frames)[..., None]
                kept[number] = pool_layer(state, pooling=self.pooling, n=n_frames[:, None], padding=padding)
        rows = torch.cat([kept[layer] for layer in self.layers], dim=1)
        return rows.to(self.store_dtype).float()


class PaddedClassifier(_PaddedLayers):
    """Waveforms to probabilities, by a fine-tuned network for sequence classification.

    Parameters
    ----------
    model : PreTrainedModel
        The encoder in it; it is copied.
    projector, classifier : torch.nn.Module
        What lies on it.
    normalized : bool
        As for `PaddedEncoder`.
    attention : torch.nn.Module, optional
        What scores the frames, where their mean is weighted.
    """

    def __init__(self, model: Any, projector: Any, classifier: Any, *, normalized: bool, attention: Any = None) -> None:
        super().__init__(model, normalized=normalized)
        parts = (projector, classifier, attention or torch.nn.Identity())
        self.projector, self.classifier, self.attention = (copy.deepcopy(one).cpu().float().eval() for one in parts)
        self.is_weighted = attention is not None

    def forward(self, waveform: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Return probabilities, (B, n_classes), of waveforms (B, S), float32, with the samples of each, (B,)."""
        *_, (state, n_frames) = self.states(waveform, n_samples)
        if self.is_stable:
            state = self.model.encoder.layer_norm(state)
        padding = ~real(state.shape[1], n_frames)[..., None]
        projected = self.projector(state)
        if self.is_weighted:
            pooled = attend(projected, self.attention(projected), ~padding[..., 0])
        else:
            pooled = pool_layer(projected, pooling="mean", n=n_frames[:, None], padding=padding)
        return torch.softmax(self.classifier(pooled), dim=-1)
