"""The transformer layers of the wav2vec2 family, for one clip or for a batch.

Equal to transformers' layers in evaluation mode, in fewer operations: query, key and value are one product.
One clip on a CPU has packed products, and attention goes head by head and in blocks of queries that stay in
the cache: torch's fused kernel computes at a fifth of the machine's bfloat16 rate on CPUs without AMX, plain
products over all heads at once leave the cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from embedx.encoders.convolutions import is_exact_gelu
from embedx.encoders.packed_linear import Linear, can_pack
from embedx.encoders.torch_compile import compile_each, say_why_not

__all__ = ["LayerStack"]

_SCORES_PER_BLOCK = 400_000  # numbers of a block of attention scores: within a core's cache


class LayerStack:
    """Layers 0 to N.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``model.encoder`` of transformers, in float32.
    dtype : torch.dtype
        What is computed in.
    pack : bool
        Whether weights are packed where that can be; what is packed cannot be compiled.
    """

    FAMILIES = frozenset({"wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio"})

    def __init__(self, encoder: Any, *, dtype: torch.dtype, pack: bool = True) -> None:
        self.is_packed = pack and can_pack(dtype, encoder.layer_norm.weight.device)
        self.is_stable = type(encoder).__name__.endswith("StableLayerNorm")
        self._positions = encoder.pos_conv_embed.to(dtype)
        self._norm = encoder.layer_norm.to(dtype)
        self._layers: list[Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]] = [
            _Layer(layer, dtype=dtype, is_stable=self.is_stable, pack=pack) for layer in encoder.layers
        ]

    @classmethod
    def fits(cls, model_type: str, encoder: Any) -> bool:
        """Say whether the layers have the form that is computed here."""
        return model_type in cls.FAMILIES and all(
            getattr(layer, "adapter_layer", None) is None and is_exact_gelu(layer.feed_forward.intermediate_act_fn)
            for layer in encoder.layers
        )

    def compile(self) -> None:
        """Let torch compile the layers when they are first called."""
        if self.is_packed:
            say_why_not("oneDNN's packed products, which are used here, cannot be compiled")
        else:
            self._layers = compile_each(self._layers)

    def __call__(self, x: torch.Tensor, is_real: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Yield the input of the first layer and the output of each, shaped as what is given.

        Parameters
        ----------
        x : tensor of shape (T, D) or (B, T, D)
            One clip, or several; padding is zero.
        is_real : tensor of shape (B, T), bool, optional
            Which frames are no padding; None where all are real.
        """
        x = x + (self._positions(x[None])[0] if x.dim() == 2 else self._positions(x))
        if not self.is_stable:
            x = self._norm(x)
        yield x
        bias = None
        if is_real is not None:
            bias = torch.zeros_like(is_real, dtype=x.dtype).masked_fill(~is_real, -torch.inf)[:, None, None]
        for layer in self._layers:
            x = layer(x, bias)
            yield x


class _Layer:
    """One transformer layer; norms behind the residual (base) or ahead of the branch (stable, large)."""

    def __init__(self, layer: Any, *, dtype: torch.dtype, is_stable: bool, pack: bool) -> None:
        attention, feed = layer.attention, layer.feed_forward
        self.is_stable, self.n_heads = is_stable, attention.num_heads
        self._norms = (layer.layer_norm.to(dtype), layer.final_layer_norm.to(dtype))
        scale = attention.scaling
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        weights = torch.cat([part.weight * (scale if i == 0 else 1) for i, part in enumerate(parts)])
        biases = torch.cat([part.bias * (scale if i == 0 else 1) for i, part in enumerate(parts)])
        linear = functools.partial(Linear, dtype=dtype, pack=pack)
        self._qkv = linear(weights, biases)
        self._out = linear(attention.out_proj.weight, attention.out_proj.bias)
        self._up = linear(feed.intermediate_dense.weight, feed.intermediate_dense.bias, gelu=True)
        self._down = linear(feed.output_dense.weight, feed.output_dense.bias)

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        first, second = self._norms
        if self.is_stable:
            x = x + self._out(self._attend(first(x), bias))
            return x + self._down(self._up(second(x)))
        x = first(x + self._out(self._attend(x, bias)))
        return second(x + self._down(self._up(x)))

    def _attend(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        qkv = self._qkv(x).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)  # (3, ..., H, T, d)
        if x.dim() == 2 and x.dtype is not torch.float32:
            mixed = torch.stack([_attend_one(*parts) for parts in qkv.contiguous().unbind(1)])
        else:
            query, key, value = qkv if x.dim() == 3 else qkv.contiguous()[:, None]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return mixed.transpose(-3, -2).reshape(x.shape)


def _attend_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Softmax attention of one head, (T, d) each; queries are scaled already."""
    rows = max(32, _SCORES_PER_BLOCK // len(key))
    blocks = [torch.softmax(part @ key.T, dim=-1) @ value for part in query.split(rows)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
