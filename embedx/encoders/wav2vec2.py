"""Every layer of wav2vec2 and its relatives, the same alone and in any batch.

The only room that knows transformers' encoders. Batching changes the embeddings of a plain call: group
norm takes its statistics over the padding, the positional convolution reads it, attention attends to it.
Here only clips of one length share a batch, so there is no padding at all; on a CPU, where batches are
slower than single clips, each clip is computed alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.base import EncoderInfo, Frames
from embedx.errors import ClipTooShortError, EncoderError

__all__ = ["DTYPES", "Wav2Vec2Encoder", "normalize"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def normalize(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give a clip zero mean and unit variance, as the checkpoints' feature extractor does.

    Examples
    --------
    >>> normalize(np.array([1.0, 3.0], np.float32)).tolist()
    [-1.0, 1.0]
    """
    centred = samples - samples.mean(dtype=np.float64)
    return (centred / np.sqrt(np.mean(np.square(centred), dtype=np.float64) + 1e-7)).astype(np.float32)


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

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    """

    def __init__(
        self, info: EncoderInfo, *, layers: tuple[int, ...], device: str = "cpu", compute_dtype: str = "float32"
    ) -> None:
        self.info, self.layers, self.device = info, layers, torch.device(device)
        self.compute_dtype = compute_dtype
        self.model = _load_model(info).to(self.device, DTYPES[compute_dtype]).eval().requires_grad_(False)
        self._kept: dict[int, torch.Tensor] = {}
        self._watch_layers()

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
        needed = getattr(self.model.config, "squeeze_factor", 1)
        kernels, strides = self.model.config.conv_kernel, self.model.config.conv_stride
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            needed = (needed - 1) * stride + kernel
        return needed

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of any lengths; a clip's frames do not depend on its neighbours.

        Parameters
        ----------
        batch : sequence of ndarray of shape (n_samples,), float32
            Waveforms within -1 to 1.

        Returns
        -------
        Frames
            L tensors of shape (B, T, D), zero where a clip has ended.

        Raises
        ------
        ClipTooShortError
            A waveform is shorter than `min_samples`.
        """
        self._require_long_enough(batch)
        parts = [self._encode_equal([batch[i]]) for i in range(len(batch))]
        n_frames = [part[0].shape[1] for part in parts]
        longest = max(n_frames)
        layers = [
            torch.cat([torch.nn.functional.pad(part[k], (0, 0, 0, longest - part[k].shape[1])) for part in parts])
            for k in range(len(self.layers))
        ]
        return Frames(layers, n_frames)

    def _require_long_enough(self, batch: Sequence[NDArray[np.float32]]) -> None:
        shortest = min((len(samples) for samples in batch), default=0)
        if shortest < self.min_samples:
            need, rate = self.min_samples, self.sample_rate
            raise ClipTooShortError(
                f"{shortest} samples ({1000 * shortest / rate:.1f} ms) are less than one frame of {self.info.id} "
                f"({need} samples, {1000 * need / rate:.1f} ms)"
            )

    def _encode_equal(self, batch: Sequence[NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode waveforms of one length: no padding, so nothing to mask."""
        waves = np.stack([normalize(samples) if self.info.normalize else samples for samples in batch])
        values = torch.from_numpy(waves).to(self.device, DTYPES[self.compute_dtype])
        self._kept = {}
        with torch.inference_mode():
            self.model(values)
        return [self._kept[layer] for layer in self.layers]

    def _watch_layers(self) -> None:
        """Keep what enters the first transformer layer (0) and what leaves each one (1 ...)."""
        stack = self.model.encoder.layers
        stack[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
        for number, layer in enumerate(stack, start=1):
            layer.register_forward_hook(self._keeper(number))

    def _keep_input(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if 0 in self.layers:
            self._kept[0] = args[0] if args else kwargs["hidden_states"]

    def _keeper(self, number: int) -> Any:
        def keep(module: Any, args: Any, output: Any) -> None:
            if number in self.layers:
                self._kept[number] = output[0] if isinstance(output, tuple) else output

        return keep


def _load_model(info: EncoderInfo) -> Any:
    """Load weights without running anybody's code, and refuse a checkpoint that leaves layers random."""
    from transformers import AutoModel
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = AutoModel.from_pretrained(
                info.location,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                attn_implementation="sdpa" if info.model_type != "wavlm" else "eager",
                dtype=torch.float32,
            )
    except Exception as error:
        raise EncoderError(f"encoder {info.id!r} cannot be loaded from {info.location}: {error}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key)
    if missing:
        raise EncoderError(
            f"encoder {info.id!r}: the checkpoint lacks {len(missing)} weights, such as {missing[0]!r}, "
            "which would stay random. Use a complete checkpoint"
        )
    return model
