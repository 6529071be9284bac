"""Every layer of an encoder that reads a spectrogram, the same alone and in any batch.

Clips share a batch only where what the network sees of them has one shape: those of one length, or all of them where
short clips are filled up to the encoder's native length. So nothing stands beside a clip that it could hear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.audio.batching import equal_lengths
from embedx.encoders.base import EncoderFacts, EncoderInfo, Frames
from embedx.encoders.device import as_memory_error, exact_float32
from embedx.encoders.frame_pooling import pool_layer, require_pooling
from embedx.encoders.networks import NETWORKS
from embedx.encoders.torch_compile import compile_layers, say_why_not
from embedx.encoders.waveform import DTYPES, join
from embedx.encoders.waveform_batch import real
from embedx.errors import ParameterError

__all__ = ["SpectrogramEncoder"]


class SpectrogramEncoder(EncoderFacts):
    """An encoder with a front end of its own.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    layers : tuple of int
        Layers to keep.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    compute_dtype : {'float32', 'bfloat16', 'float16'}
        What the layers compute in; spectrograms are computed in float32 or better.
    padding : {'none', 'masked', 'pooled'}, optional
        See `Recipe`; the encoder's default where absent.
    batched : bool, optional
        Whether the layers see several clips at a time; by default on a GPU only.
    compiled : bool
        Whether torch compiles the layers; one warning, and no more, where it cannot.

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    ParameterError
        A padding that this encoder does not know.
    """

    def __init__(
        self,
        info: EncoderInfo,
        *,
        layers: tuple[int, ...],
        device: str = "cpu",
        compute_dtype: str = "float32",
        padding: str | None = None,
        batched: bool | None = None,
        compiled: bool = False,
    ) -> None:
        self.info, self.layers, self.device = info, layers, torch.device(device)
        self.padding = info.paddings[0] if padding is None else padding
        if self.padding not in info.paddings:
            raise ParameterError(f"padding {self.padding!r}: {info.id} allows {', '.join(info.paddings)}")
        self.compute_dtype, self.dtype = compute_dtype, DTYPES[compute_dtype]
        self.batched = self.device.type == "cuda" if batched is None else batched
        self._network = NETWORKS[info.model_type](info, padding=self.padding, device=self.device)
        model = self._network.model.eval().requires_grad_(False).to(self.dtype)
        if compiled:
            self._compile(getattr(model, "layers", getattr(getattr(model, "encoder", None), "layers", None)))

    def _compile(self, layers: Any) -> None:
        if layers is None:
            say_why_not(f"the stages of {self.info.model_type} are not called one by one")
            return
        compile_layers(layers)

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of any lengths up to the native one; a clip's frames do not depend on its neighbours.

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
        ParameterError
            A waveform is longer than `native_seconds`.
        MemoryError
            The device's memory does not hold the batch.
        """
        self._require_lengths(batch)
        n_tokens, parts = self.info.n_class_tokens, dict[int, list[torch.Tensor]]()
        tokens: dict[int, list[torch.Tensor]] = {}
        with as_memory_error(), torch.inference_mode(), exact_float32:
            for group, features in self._groups(batch):
                states = self._kept(features)
                for row, i in enumerate(group):
                    n = n_tokens + self._network.n_frames(len(batch[i]))
                    parts[i] = [state[row, n_tokens:n] for state in states]
                    tokens[i] = [state[row, :n_tokens].float().mean(0) for state in states]
        frames = join([parts[i] for i in range(len(batch))])
        if not n_tokens:
            return frames
        each = zip(*(tokens[i] for i in range(len(batch))), strict=True)
        return Frames(frames.layers, frames.n_frames, [torch.stack(list(clips)) for clips in each])

    def pooled(self, batch: Sequence[NDArray[np.float32]], pooling: str = "mean") -> NDArray[np.float32]:
        """Encode waveforms and pool every layer as soon as it is there, so that one at a time takes memory.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            As for `encode`.
        pooling : str
            As for `pool_frames`, whose numbers these are.

        Returns
        -------
        ndarray of shape (B, L, D) or (B, L, 2 * D), float32

        Raises
        ------
        ClipTooShortError, MemoryError
            As `encode`.
        ParameterError
            Unknown pooling, or a waveform that is too long.
        """
        require_pooling(pooling, n_class_tokens=self.info.n_class_tokens)
        self._require_lengths(batch)
        rows: dict[int, torch.Tensor] = {}
        with as_memory_error(), torch.inference_mode(), exact_float32:
            for group, features in self._groups(batch):
                n = torch.tensor([self._network.n_frames(len(batch[i])) for i in group]).to(self.device)
                rows.update(zip(group, torch.stack(self._kept(features, pooling, n), dim=1), strict=True))
            return torch.stack([rows[i] for i in range(len(batch))]).cpu().numpy()

    def _require_lengths(self, batch: Sequence[NDArray[np.float32]]) -> None:
        self.require_long_enough(batch)
        longest, native = max(map(len, batch), default=0), self.native_seconds
        if native is not None and longest > round(native * self.sample_rate):
            raise ParameterError(
                f"{longest / self.sample_rate:g} s are more than {self.info.id} takes ({native:g} s): cut it"
            )

    def _groups(self, batch: Sequence[NDArray[np.float32]]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield clips that the layers see at a time, and what they see of them."""
        if not self.batched:
            for i, samples in enumerate(batch):
                yield [i], self._features([samples])
            return
        ready: dict[int, torch.Tensor] = {}
        for members in equal_lengths(list(map(len, batch))):
            ready.update(zip(members, self._features([batch[i] for i in members]), strict=True))
        places: dict[torch.Size, list[int]] = {}
        for i in range(len(batch)):
            places.setdefault(ready[i].shape, []).append(i)
        for group in places.values():
            for start in range(0, len(group), size := self._most_clips(batch)):
                some = group[start : start + size]
                yield some, torch.stack([ready[i] for i in some])

    def _most_clips(self, batch: Sequence[NDArray[np.float32]]) -> int:
        """Return how many clips hold no more than the batch does once they are filled up."""
        if self.padding == "none" or self.native_seconds is None:
            return len(batch)
        return max(1, sum(map(len, batch)) // round(self.native_seconds * self.sample_rate))

    def _features(self, clips: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        waves = np.stack([self._network.prepared(samples) for samples in clips])
        return self._network.features(torch.from_numpy(waves).to(self.device)).to(self.dtype)

    def _kept(self, features: torch.Tensor, pooling: str = "", n: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the wanted layers, pooled where asked."""
        found, last = {}, max(self.layers)
        for number, state in enumerate(self._network.states(features)):
            if number in self.layers:
                found[number] = state if n is None else self._pool(state, pooling, n)
            if number == last:
                break
        return [found[layer] for layer in self.layers]

    def _pool(self, state: torch.Tensor, pooling: str, n: torch.Tensor) -> torch.Tensor:
        n_tokens = self.info.n_class_tokens
        if pooling == "cls":
            return state[:, :n_tokens].float().mean(1)
        frames = state[:, n_tokens:]
        return pool_layer(frames, pooling=pooling, n=n[:, None], padding=~real(frames.shape[1], n)[..., None])
