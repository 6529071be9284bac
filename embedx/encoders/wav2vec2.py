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

__all__ = ["DTYPES", "Wav2Vec2Encoder", "frames_with_gradients", "least_samples", "load_network", "normalize"]

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


def least_samples(config: Any) -> int:
    """Return the samples of one frame of an encoder with this config."""
    needed = int(getattr(config, "squeeze_factor", 1))
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed


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
        return least_samples(self.model.config)

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


def load_network(info: EncoderInfo, **config: Any) -> Any:
    """Load an encoder's weights for training: float32, gradients on, fields of its config replaced.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    **config
        Fields of the checkpoint's config, such as ``layerdrop``.

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    """
    return _load_model(info, **config)


def frames_with_gradients(
    model: Any, waves: Sequence[torch.Tensor], *, masks: Sequence[NDArray[np.bool_] | None] | None = None
) -> list[torch.Tensor]:
    """Compute the last layer of clips of any lengths as extraction does, with gradients.

    Only clips of one length share a batch, so there is no padding and nothing to mask.

    Parameters
    ----------
    model : PreTrainedModel
        What `load_network` returned.
    waves : sequence of tensor of shape (n_samples,)
        Normalised waveforms on the model's device.
    masks : sequence of ndarray of shape (n_frames,), bool, or None
        Frames of each clip that are replaced by the learned mask (SpecAugment).

    Returns
    -------
    list of tensor of shape (n_frames, D)
    """
    by_length: dict[int, list[int]] = {}
    for i, wave in enumerate(waves):
        by_length.setdefault(len(wave), []).append(i)
    frames: list[Any] = [None] * len(waves)
    for members in by_length.values():
        values = torch.stack([waves[i] for i in members])
        hidden = _equal_masks(masks, members, values.device)
        output = model(values, mask_time_indices=hidden).last_hidden_state
        for i, clip in zip(members, output, strict=True):
            frames[i] = clip
    return frames


def _equal_masks(
    masks: Sequence[NDArray[np.bool_] | None] | None, members: Sequence[int], device: torch.device
) -> torch.Tensor | None:
    """Stack the masks of clips of one length; None when none of them hides anything."""
    chosen = [None if masks is None else masks[i] for i in members]
    known = next((mask for mask in chosen if mask is not None), None)
    if known is None:
        return None
    filled = [np.zeros_like(known) if mask is None else mask for mask in chosen]
    return torch.from_numpy(np.stack(filled)).to(device)


def _load_model(info: EncoderInfo, **config: Any) -> Any:
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
                **config,
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
