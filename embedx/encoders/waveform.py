"""Every layer of the encoders that read waveforms as wav2vec2 does, the same alone and in any batch.

Batching changes the embeddings of a plain call: group
norm takes its statistics over the padding, the positional convolution reads it, attention attends to it.
`ForwardPass` says what is done instead; here its parts are replaced by faster ones that need no gradients.
On a CPU one clip is computed at a time. On a GPU the convolutions see clips laid end to end, each normalised by
itself.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.base import EncoderFacts, EncoderInfo, Frames
from embedx.encoders.checkpoint import load_model
from embedx.encoders.convolutions import ConvFrontend
from embedx.encoders.description import reach
from embedx.encoders.device import as_memory_error, exact_float32
from embedx.encoders.forward import ForwardPass
from embedx.encoders.frame_pooling import pool_layer, require_pooling
from embedx.encoders.torch_compile import compile_layers
from embedx.encoders.transformer_layers import LayerStack
from embedx.encoders.waveform_batch import lay_out, normalize_each

__all__ = ["DTYPES", "WaveformEncoder", "join", "least_samples"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def least_samples(config: Any) -> int:
    """Return the samples of one frame of an encoder with this config."""
    return reach(config.conv_kernel, config.conv_stride, int(getattr(config, "squeeze_factor", 1)))


class WaveformEncoder(EncoderFacts):
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
        pack = not compiled or self.dtype is torch.bfloat16  # torch compiles float32 better than it computes it alone
        self._take_apart(load_model(info).eval().requires_grad_(False), pack=pack)
        if compiled:
            self._compile()

    def _take_apart(self, model: Any, *, pack: bool) -> None:
        """Keep the parts in the form that this device computes fastest; what is not needed is let go."""
        self._config = model.config
        for module in model.modules():
            if hasattr(module, "parametrizations"):  # the positional convolution's weight norm, once and for all
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        model.to(self.device)
        self._pass = ForwardPass(model, normalized=self.info.normalize)
        plain = ConvFrontend.fits(model.feature_extractor)
        self._front = ConvFrontend(model.feature_extractor, dtype=self.dtype) if plain else None
        self._pass.convolutions = None if plain else model.feature_extractor.to(self.dtype)
        for part in (self._pass.first_norm, self._pass.projection):
            if part is not None:
                part.to(self.dtype)
        self._stack = None
        if LayerStack.fits(self.info.model_type, model.encoder):
            self._stack, self._pass.encoder = LayerStack(model.encoder, dtype=self.dtype, pack=pack), None
        else:
            model.encoder.to(self.dtype)
            self._watch_layers()

    def _compile(self) -> None:
        """Compile layer by layer."""
        if self._stack is not None:
            self._stack.compile()
            return
        compile_layers(self._layers)

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
        self.require_long_enough(batch)
        with as_memory_error(), torch.inference_mode(), exact_float32:
            if self.batched:
                return self._in_groups(*self._features_of_batch(batch))
            return join([self._alone(samples) for samples in batch])

    def pooled(self, batch: Sequence[NDArray[np.float32]], pooling: str = "mean") -> NDArray[np.float32]:
        """Encode waveforms and pool every layer as soon as it is there, so that one at a time takes memory.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            As for `encode`.
        pooling : str
            As for `pool_frames`, whose numbers these are; ``cls`` is nothing that these encoders have.

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
        self.require_long_enough(batch)
        with as_memory_error(), torch.inference_mode(), exact_float32:
            if not self.batched:
                rows = [torch.cat(self._alone(samples, pooling)) for samples in batch]  # (L, D) each
                return torch.stack(rows).cpu().numpy()
            features, n_frames = self._features_of_batch(batch)
            groups = self._pass.groups(n_frames)
            found = [torch.stack(self._run_group(features, n_frames, group, pooling), dim=1) for group in groups]
            if len(groups) == 1:
                return found[0].cpu().numpy()
            order = sorted(range(len(n_frames)), key=[i for group in groups for i in group].__getitem__)
            return torch.cat(found).cpu()[torch.tensor(order)].numpy()

    def _alone(self, samples: NDArray[np.float32], pooling: str = "") -> list[torch.Tensor]:
        """Compute the wanted layers of one clip: (T, D) each, or, pooled, (1, D)."""
        features = self._features(samples)
        if self._stack is not None or pooling:
            return self._run_layers(features if self._stack is not None else features[None], pooling=pooling)
        return [state[0] for state in self._run_layers(features[None])]

    def _features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Turn a waveform into the transformer's input, (T, D)."""
        wave = self._pass.wave(samples, self.device)
        return self._pass.project(self._front(wave) if self._front else self._pass.convolve([wave.to(self.dtype)])[0])

    def _features_of_batch(self, batch: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, list[int]]:
        """Turn waveforms into the transformer's input, (B, T, D), and say how many frames each has."""
        if self._front is None:
            features = [self._features(samples) for samples in batch]
            return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), list(map(len, features))
        waves = lay_out(batch, device=self.device, multiple=self._front.stride)
        if self.info.normalize:
            waves = normalize_each(waves)
        n_frames = [self._front.n_frames(n) for n in waves.n_samples]
        return self._pass.project(self._front.batch(waves)[:, : max(n_frames)]), n_frames

    def _in_groups(self, features: torch.Tensor, n_frames: Sequence[int]) -> Frames:
        """Run the layers over one group after the other."""
        groups = self._pass.groups(n_frames)
        if len(groups) == 1:
            states = self._run_layers(features, n_frames)
            squeezed = states[0].shape[1] < features.shape[1]  # sew makes fewer frames of them
            return Frames(states, [states[0].shape[1]] * len(n_frames) if squeezed else n_frames)
        parts: dict[int, list[torch.Tensor]] = {}
        for group in groups:
            states = self._run_group(features, n_frames, group)
            parts.update((i, [state[row] for state in states]) for row, i in enumerate(group))
        return join([parts[i] for i in range(len(n_frames))])

    def _run_group(
        self, features: torch.Tensor, n_frames: Sequence[int], group: Sequence[int], pooling: str = ""
    ) -> list[torch.Tensor]:
        if len(group) < len(n_frames):
            features = torch.stack([features[i, : n_frames[i]] for i in group])
        return self._run_layers(features, [n_frames[i] for i in group], pooling=pooling)

    def _run_layers(
        self, features: torch.Tensor, n_frames: Sequence[int] = (), *, pooling: str = ""
    ) -> list[torch.Tensor]:
        """Return the wanted layers, shaped as what is given, or (B, D) pooled; what is no frame is cleared first."""
        features, padding = self._pass.cleared(features, n_frames)
        is_real, reduce = None, functools.partial(_reduced, pooling=pooling)
        if padding is not None:
            is_real = padding.is_real
            reduce = functools.partial(reduce, n=padding.lengths[:, None], padding=padding.where)
        if self._stack is not None:
            states = enumerate(self._stack(features, is_real))
            kept = {number: reduce(state) for number, state in states if number in self.layers}
        else:
            self._kept.layers, self._kept.reduce = {}, reduce
            self._pass.encoder(features, attention_mask=is_real)
            kept = self._kept.layers
        return [kept[layer] for layer in self.layers]

    @property
    def _layers(self) -> Any:
        """transformers' layers, where they are called through their encoder."""
        encoder = self._pass.encoder
        return encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layer  # sew-d

    def _watch_layers(self) -> None:
        """Keep what enters the first transformer layer (0) and what leaves each one (1 ...)."""
        stack = self._layers
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


def join(parts: Sequence[Sequence[torch.Tensor]]) -> Frames:
    """Put clips, each a tensor (T, D) a layer, into one batch, padded with zeros behind their ends."""
    layers = zip(*parts, strict=True)
    padded = [torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True) for clips in layers]
    return Frames(padded, [len(part[0]) for part in parts])
