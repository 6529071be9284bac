"""The convolutions from waveform to frames, in pieces of a second or two: the same numbers in bounded memory.

A plain call computes a convolution over the whole clip before the next one begins: a 10 s clip of
wav2vec2-base makes 33 MB at the first layer alone, which no cache holds. The convolutions are local, so
any stretch of frames can be computed from its own samples, and clips laid end to end give each clip's frames,
which is how a GPU computes a batch at once. Only the group norm of the first layer looks at
the whole clip; its statistics follow from the mean and the covariance of the waveform's patches, since a
convolution is linear: ``mean = w . mean(patch)``, ``var = w' cov(patch) w``. They are folded into the
weights, clip by clip, so the normalisation costs nothing and no padding can reach it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from embedx.encoders.description import reach
from embedx.encoders.packed_linear import Linear
from embedx.encoders.waveform_batch import Waves, real

__all__ = ["ConvFrontend"]

_FRAMES_PER_PIECE = 100
_PATCHES_PER_PIECE = 100_000  # half a minute, 8 MB in double precision


@dataclass(frozen=True, slots=True, eq=False)
class _Conv:
    """One convolution as a matrix product over patches, time first."""

    kernel: int
    stride: int
    linear: Linear | None  # None: the first layer with group norm, whose weights depend on the clip
    norm: Any = None  # a LayerNorm over channels, between convolution and GELU

    def n_out(self, n: int) -> int:
        return (n - self.kernel) // self.stride + 1

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """Lay out (T, C) as (T', kernel * C), without a copy where patches do not overlap."""
        n_channels = x.shape[1]
        shape = (self.n_out(len(x)), self.kernel * n_channels)
        return x.as_strided(shape, (self.stride * n_channels, 1)).contiguous()

    def __call__(self, x: torch.Tensor, linear: Linear | None = None) -> torch.Tensor:
        y = (linear or self.linear)(self.patches(x))  # type: ignore[misc]
        return y if self.norm is None else F.gelu(self.norm(y))


class ConvFrontend:
    """Waveform to features, equal to transformers' feature encoder.

    Parameters
    ----------
    extractor : torch.nn.Module
        ``model.feature_extractor`` of the raw-waveform family, in float32.
    dtype : torch.dtype
        What is computed in.

    Notes
    -----
    In half precision the waveform enters as the sum of two numbers (high and low part), which costs
    nothing at a kernel of ten samples and keeps the input's own precision.
    """

    def __init__(self, extractor: Any, *, dtype: torch.dtype) -> None:
        self.dtype = dtype
        first = extractor.conv_layers[0]
        norm = getattr(first, "layer_norm", None)
        self._group_norm = norm if isinstance(norm, torch.nn.GroupNorm) else None
        self._first = first.conv
        self._convs = [self._describe(layer, number) for number, layer in enumerate(extractor.conv_layers)]
        self.stride = math.prod(conv.stride for conv in self._convs)
        self._reach = reach([conv.kernel for conv in self._convs], [conv.stride for conv in self._convs])

    @staticmethod
    def fits(extractor: Any) -> bool:
        """Say whether an extractor has the form that is computed here."""
        return all(_is_plain(layer) for layer in extractor.conv_layers)

    def n_frames(self, n_samples: int) -> int:
        """Return the frames that so many samples give; 0 or less when there are too few."""
        for conv in self._convs:
            n_samples = conv.n_out(n_samples)
        return n_samples

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        """Turn a waveform of shape (n_samples,), float32, into features of shape (T, C)."""
        first = self._convs[0].linear or self._first_linear(wave)
        n_frames = self.n_frames(len(wave))
        pieces = [
            self._piece(wave, first, start, min(start + _FRAMES_PER_PIECE, n_frames))
            for start in range(0, n_frames, _FRAMES_PER_PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def batch(self, waves: Waves) -> torch.Tensor:
        """Compute a batch in one go, every convolution in a few operations however many clips there are.

        Parameters
        ----------
        waves : Waves
            Clips whose common width is a multiple of ``stride``, so that each begins with a frame of its own when
            they are laid end to end.

        Returns
        -------
        tensor of shape (B, T, C)
            What lies behind a clip's last frame is unspecified.
        """
        n_clips, width = waves.values.shape
        n_frames = width // self.stride
        x = self._split(F.pad(waves.values.flatten(), (0, self._reach - self.stride)))
        first = self._convs[0]
        x = first(x) if first.linear is not None else self._normed_first(first.patches(x), waves)
        for conv in self._convs[1:]:
            x = conv(x)
        return x.view(n_clips, n_frames, -1)

    def _piece(self, wave: torch.Tensor, first: Linear, start: int, stop: int) -> torch.Tensor:
        """Compute the frames from start to stop, from just their samples."""
        begin, end = start, stop
        for conv in reversed(self._convs):
            begin, end = begin * conv.stride, (end - 1) * conv.stride + conv.kernel
        x = self._convs[0](self._split(wave[begin:end]), first)
        for conv in self._convs[1:]:
            x = conv(x)
        return x

    def _split(self, wave: torch.Tensor) -> torch.Tensor:
        """Return the waveform as (n, 1), or as its high and low parts (n, 2) in half precision."""
        if self.dtype is torch.float32:
            return wave[:, None]
        high = wave.to(self.dtype)
        return torch.stack([high, (wave - high).to(self.dtype)], dim=1)

    def _describe(self, layer: Any, number: int) -> _Conv:
        conv, norm = layer.conv, getattr(layer, "layer_norm", None)
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        if number == 0 and self._group_norm is not None:
            return _Conv(kernel, stride, None)
        weight = conv.weight
        if number == 0 and self.dtype is not torch.float32:
            weight = weight.repeat(1, 2, 1)
        flat = weight.permute(0, 2, 1).flatten(1)  # (C_out, kernel * C_in)
        norm = None if norm is None else norm.to(self.dtype)
        return _Conv(kernel, stride, Linear(flat, conv.bias, gelu=norm is None, dtype=self.dtype), norm)

    def _first_linear(self, wave: torch.Tensor) -> Linear:
        """Put this clip's normalisation into the weights of the first convolution."""
        first = self._convs[0]
        n = first.n_out(len(wave))
        pieces = [  # (T', kernel) each, in double precision only while it is looked at
            wave[start * first.stride : (min(start + _PATCHES_PER_PIECE, n) - 1) * first.stride + first.kernel]
            for start in range(0, n, _PATCHES_PER_PIECE)
        ]
        mean = torch.stack([self._first_patches(piece).sum(dim=0) for piece in pieces]).sum(dim=0) / n
        centred = (self._first_patches(piece) - mean for piece in pieces)
        covariance = torch.stack([part.T @ part for part in centred]).sum(dim=0) / n
        weight, shift = self._fold_group_norm(mean, covariance)
        return Linear(weight, shift, gelu=True, dtype=self.dtype)

    def _first_patches(self, waves: torch.Tensor) -> torch.Tensor:
        """Lay out what the first convolution sees, (..., T, kernel), in double precision."""
        return waves.double().unfold(-1, self._convs[0].kernel, self._convs[0].stride)

    def _normed_first(self, patches: torch.Tensor, waves: Waves) -> torch.Tensor:
        """Compute the first convolution of a batch, every clip with weights that hold its own normalisation."""
        first, (n_clips, width) = self._convs[0], waves.values.shape
        own = self._first_patches(waves.values)
        n = (waves.lengths - first.kernel).div(first.stride, rounding_mode="floor") + 1
        padding, n = ~real(own.shape[1], n)[..., None], n[:, None]
        mean = own.masked_fill(padding, 0).sum(1) / n
        centred = (own - mean[:, None]).masked_fill(padding, 0)
        weight, shift = self._fold_group_norm(mean, centred.mT @ centred / n[..., None])
        y = patches.new_empty(len(patches), weight.shape[1])
        n_rows = width // first.stride  # of a clip; the few behind the last clip serve no clip's frames
        y[n_clips * n_rows :] = 0
        rows, out = (x[: n_clips * n_rows].view(n_clips, n_rows, -1) for x in (patches, y))
        torch.baddbmm(shift.to(self.dtype)[:, None], rows, weight.to(self.dtype).mT, out=out)
        return F.gelu(y)

    def _fold_group_norm(self, mean: torch.Tensor, covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn the statistics of patches, (..., kernel) and (..., kernel, kernel), into weights and shifts."""
        conv: Any = self._first
        norm: Any = self._group_norm
        weight = conv.weight[:, 0].double()  # (C, kernel)
        variance = ((weight @ covariance) * weight).sum(dim=-1).clamp_min(0)  # (..., C)
        scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
        shift = norm.bias.double() - (weight @ mean[..., None])[..., 0] * scale
        folded = weight * scale[..., None]
        if self.dtype is not torch.float32:
            folded = folded.repeat_interleave(2, dim=-1)
        return folded.float(), shift.float()


def _is_plain(layer: Any) -> bool:
    norm = getattr(layer, "layer_norm", None)
    simple_conv = layer.conv.dilation == (1,) and layer.conv.padding == (0,) and layer.conv.groups == 1
    simple_norm = norm is None or isinstance(norm, torch.nn.LayerNorm) or norm.num_groups == norm.num_channels
    return simple_conv and simple_norm and is_exact_gelu(layer.activation)


def is_exact_gelu(activation: Any) -> bool:
    """Say whether an activation is GELU by erf, whatever it is called."""
    probe = torch.linspace(-4, 4, 17)
    return torch.equal(activation(probe), F.gelu(probe))
