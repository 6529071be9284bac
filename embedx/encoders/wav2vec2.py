"""Every layer of wav2vec2 and its relatives, the same alone and in any batch.

Batching changes the embeddings of a plain call: group
norm takes its statistics over the padding, the positional convolution reads it, attention attends to it.
On a CPU one clip is computed at a time. On a GPU the convolutions see clips laid end to end, each normalised by
itself, and the transformer layers a batch whose padding is zeroed and masked, or, in families whose layers would
read it even so, only clips with equally many frames.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import equal_lengths
from embedx.encoders.base import EncoderInfo, Frames
from embedx.encoders.checkpoint import load_model
from embedx.encoders.compiled import compile_each
from embedx.encoders.description import reach
from embedx.encoders.device import as_memory_error, exact_float32
from embedx.encoders.frontend import ConvFrontend
from embedx.encoders.gradients import frames_with_gradients, load_network
from embedx.encoders.pooling import pool_layer, require_pooling
from embedx.encoders.stack import LayerStack
from embedx.encoders.waves import lay_out, normalize, normalize_each, real
from embedx.errors import ClipTooShortError

__all__ = ["DTYPES", "Wav2Vec2Encoder", "frames_with_gradients", "least_samples", "load_network", "normalize"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_PADDABLE = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
"""Families whose layers leave real frames alone when padding is zero at the start and masked in attention."""


def least_samples(config: Any) -> int:
    """Return the samples of one frame of an encoder with this config."""
    return reach(config.conv_kernel, config.conv_stride, int(getattr(config, "squeeze_factor", 1)))


class Wav2Vec2Encoder:
    """An encoder of the raw-waveform family.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    layers : tuple of int
        Layers to keep.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    compute_dtype : {'float32', 'bfloat16', 'float16'}
        What it computes in.
    batched : bool, optional
        Whether transformer layers see several clips at a time; by default on a GPU only.
    compiled : bool
        Whether torch compiles the transformer layers; one warning, and no more, where it cannot.

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    """

    def __init__(
        self,
        info: EncoderInfo,
        *,
        layers: tuple[int, ...],
        device: str = "cpu",
        compute_dtype: str = "float32",
        batched: bool | None = None,
        compiled: bool = False,
    ) -> None:
        self.info, self.layers, self.device = info, layers, torch.device(device)
        self.compute_dtype, self.dtype = compute_dtype, DTYPES[compute_dtype]
        self.batched = self.device.type == "cuda" if batched is None else batched
        self._kept = threading.local()
        self._take_apart(load_model(info).eval().requires_grad_(False))
        if compiled:
            self._compile()

    def _take_apart(self, model: Any) -> None:
        """Keep the parts in the form that this device computes fastest; what is not needed is let go."""
        self._config = model.config
        for module in model.modules():
            if hasattr(module, "parametrizations"):  # the positional convolution's weight norm, once and for all
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        model.to(self.device)
        plain = ConvFrontend.fits(model.feature_extractor)
        self._front = ConvFrontend(model.feature_extractor, dtype=self.dtype) if plain else None
        self._extractor: Any = None if plain else model.feature_extractor.to(self.dtype)
        self._first_norm = getattr(model, "layer_norm", None)  # sew
        self._projection = getattr(model, "feature_projection", None)
        for part in (self._first_norm, self._projection):
            if part is not None:
                part.to(self.dtype)
        self._stack = None
        if LayerStack.fits(self.info.model_type, model.encoder):
            self._stack = LayerStack(model.encoder, dtype=self.dtype)
        else:
            self._encoder = model.encoder.to(self.dtype)
            self._watch_layers()

    def _compile(self) -> None:
        """Compile layer by layer; what watches layers stays outside."""
        if self._stack is not None:
            self._stack.compile()
            return
        for forward, layer in zip(
            compile_each([layer.forward for layer in self._encoder.layers]), self._encoder.layers, strict=True
        ):
            layer.forward = forward

    @property
    def dim(self) -> int:
        """Width D of a layer."""
        return self.info.dim

    @property
    def n_layers(self) -> int:
        """Number L of layers that `encode` returns."""
        return len(self.layers)

    @property
    def sample_rate(self) -> int:
        """Hertz."""
        return self.info.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples of one frame (25 ms for wav2vec2)."""
        return least_samples(self._config)

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of any lengths; a clip's frames do not depend on its neighbours.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            Waveforms within -1 to 1.

        Returns
        -------
        Frames
            L tensors of shape (B, T, D); what lies behind a clip's last frame is unspecified.

        Raises
        ------
        ClipTooShortError
            A waveform is shorter than `min_samples`.
        MemoryError
            The device's memory does not hold the batch.
        """
        self._require_long_enough(batch)
        with as_memory_error(), torch.inference_mode(), exact_float32:
            if self.batched:
                return self._in_groups(*self._features_of_batch(batch))
            return _join([self._alone(samples) for samples in batch])

    def pooled(self, batch: Sequence[NDArray[np.float32]], pooling: str = "mean") -> NDArray[np.float32]:
        """Encode waveforms and pool every layer as soon as it is there, so that one at a time takes memory.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            As for `encode`.
        pooling : {'mean', 'mean+std'}
            As for `pool_frames`, whose numbers these are.

        Returns
        -------
        ndarray of shape (B, L, D) or (B, L, 2 * D), float32

        Raises
        ------
        ClipTooShortError, MemoryError
            As `encode`.
        ParameterError
            Unknown pooling.
        """
        require_pooling(pooling)
        self._require_long_enough(batch)
        with as_memory_error(), torch.inference_mode(), exact_float32:
            if not self.batched:
                rows = [torch.cat(self._alone(samples, pooling)) for samples in batch]  # (L, D) each
                return torch.stack(rows).cpu().numpy()
            features, n_frames = self._features_of_batch(batch)
            groups = self._groups(n_frames)
            found = [torch.stack(self._run_group(features, n_frames, group, pooling), dim=1) for group in groups]
            if len(groups) == 1:
                return found[0].cpu().numpy()
            order = sorted(range(len(n_frames)), key=[i for group in groups for i in group].__getitem__)
            return torch.cat(found).cpu()[torch.tensor(order)].numpy()

    def _require_long_enough(self, batch: Sequence[NDArray[np.float32]]) -> None:
        shortest = min((len(samples) for samples in batch), default=self.min_samples)
        if shortest < self.min_samples:
            need, rate = self.min_samples, self.sample_rate
            raise ClipTooShortError(
                f"{shortest} samples ({1000 * shortest / rate:.1f} ms) are less than one frame of {self.info.id} "
                f"({need} samples, {1000 * need / rate:.1f} ms)"
            )

    def _alone(self, samples: NDArray[np.float32], pooling: str = "") -> list[torch.Tensor]:
        """Compute the wanted layers of one clip: (T, D) each, or, pooled, (1, D)."""
        features = self._features(samples)
        if self._stack is not None or pooling:
            return self._run_layers(features if self._stack is not None else features[None], pooling=pooling)
        return [state[0] for state in self._run_layers(features[None])]

    def _features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Turn a waveform into the transformer's input, (T, D)."""
        wave = torch.from_numpy(np.ascontiguousarray(normalize(samples) if self.info.normalize else samples))
        wave = wave.to(self.device)
        return self._project(self._front(wave) if self._front else self._extractor(wave[None].to(self.dtype))[0].T)

    def _features_of_batch(self, batch: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, list[int]]:
        """Turn waveforms into the transformer's input, (B, T, D), and say how many frames each has."""
        if self._front is None:
            features = [self._features(samples) for samples in batch]
            return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), list(map(len, features))
        waves = lay_out(batch, device=self.device, multiple=self._front.stride)
        if self.info.normalize:
            waves = normalize_each(waves)
        n_frames = [self._front.n_frames(n) for n in waves.n_samples]
        return self._project(self._front.batch(waves)[:, : max(n_frames)]), n_frames

    def _project(self, features: torch.Tensor) -> torch.Tensor:
        """Bring features, (T, C) or (B, T, C), to the layers' width."""
        if self._first_norm is not None:
            features = self._first_norm(features)
        if self._projection is None:
            return features
        projected = self._projection(features)  # wav2vec2 gives (projected, normed)
        return projected[0] if isinstance(projected, tuple) else projected

    def _groups(self, n_frames: Sequence[int]) -> Sequence[Sequence[int]]:
        """Say which clips the layers see at a time: all where padding does no harm, else those of one length."""
        return [range(len(n_frames))] if self.pads else equal_lengths(n_frames)

    def _in_groups(self, features: torch.Tensor, n_frames: Sequence[int]) -> Frames:
        """Run the layers over one group after the other."""
        groups = self._groups(n_frames)
        if len(groups) == 1:
            states = self._run_layers(features, n_frames)
            squeezed = states[0].shape[1] < features.shape[1]  # sew makes fewer frames of them
            return Frames(states, [states[0].shape[1]] * len(n_frames) if squeezed else n_frames)
        parts: dict[int, list[torch.Tensor]] = {}
        for group in groups:
            states = self._run_group(features, n_frames, group)
            parts.update((i, [state[row] for state in states]) for row, i in enumerate(group))
        return _join([parts[i] for i in range(len(n_frames))])

    def _run_group(
        self, features: torch.Tensor, n_frames: Sequence[int], group: Sequence[int], pooling: str = ""
    ) -> list[torch.Tensor]:
        if len(group) < len(n_frames):
            features = torch.stack([features[i, : n_frames[i]] for i in group])
        return self._run_layers(features, [n_frames[i] for i in group], pooling=pooling)

    @property
    def pads(self) -> bool:
        """Whether clips of different lengths may share a batch of the transformer layers."""
        batch_norm = getattr(self._config, "conv_pos_batch_norm", False)  # would turn zeros into something
        return self.info.model_type in _PADDABLE and not batch_norm

    def _run_layers(
        self, features: torch.Tensor, n_frames: Sequence[int] = (), *, pooling: str = ""
    ) -> list[torch.Tensor]:
        """Return the wanted layers, shaped as what is given, or (B, D) pooled; what is no frame is cleared first."""
        is_real = None
        reduce = functools.partial(_reduced, pooling=pooling)
        if n_frames and min(n_frames) < features.shape[1]:
            lengths = torch.tensor(n_frames).to(self.device, non_blocking=True)
            is_real = real(features.shape[1], lengths)
            padding = ~is_real[..., None]
            features = features.masked_fill(padding, 0)
            reduce = functools.partial(_reduced, pooling=pooling, n=lengths[:, None], padding=padding)
        if self._stack is not None:
            states = enumerate(self._stack(features, is_real))
            kept = {number: reduce(state) for number, state in states if number in self.layers}
        else:
            self._kept.layers, self._kept.reduce = {}, reduce
            self._encoder(features, attention_mask=is_real)
            kept = self._kept.layers
        return [kept[layer] for layer in self.layers]

    def _watch_layers(self) -> None:
        """Keep what enters the first transformer layer (0) and what leaves each one (1 ...)."""
        stack = self._encoder.layers
        stack[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
        for number, layer in enumerate(stack, start=1):
            layer.register_forward_hook(self._keeper(number))

    def _keep_input(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _keeper(self, number: int) -> Any:
        def keep(module: Any, args: Any, output: Any) -> None:
            self._keep(number, output[0] if isinstance(output, tuple) else output)

        return keep

    def _keep(self, number: int, state: torch.Tensor) -> None:
        if number in self.layers:
            self._kept.layers[number] = self._kept.reduce(state)


def _reduced(state: torch.Tensor, *, pooling: str, **more: Any) -> torch.Tensor:
    """Pool a layer, or leave it as it is."""
    return pool_layer(state if state.dim() == 3 else state[None], pooling=pooling, **more) if pooling else state


def _join(parts: Sequence[Sequence[torch.Tensor]]) -> Frames:
    """Put clips, each a tensor (T, D) a layer, into one batch, padded with zeros behind their ends."""
    layers = zip(*parts, strict=True)
    padded = [torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True) for clips in layers]
    return Frames(padded, [len(part[0]) for part in parts])
