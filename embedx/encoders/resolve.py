"""A name becomes an encoder: bundled, a folder, or a checkpoint of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

from embedx.encoders.base import Encoder, EncoderInfo
from embedx.encoders.description import SUPPORTED, describe, weights_files
from embedx.encoders.families import FAMILIES
from embedx.encoders.hub import fetch_checkpoint
from embedx.encoders.short_names import BUNDLED, KNOWN, full_name
from embedx.errors import EncoderError, unknown_name
from embedx.files import hash_file

__all__ = [
    "BUNDLED",
    "DEFAULT_ENCODER",
    "SUPPORTED",
    "bundled_folder",
    "hash_weights",
    "load_encoder",
    "modules_of",
    "resolve_encoder",
]

DEFAULT_ENCODER = "facebook/wav2vec2-base"


def resolve_encoder(name: str, *, revision: str | None = None) -> EncoderInfo:
    """Find an encoder and say all that a recipe needs, without loading its weights.

    Parameters
    ----------
    name : str
        ``"tiny"`` (bundled), a folder with ``config.json`` and weights, a hub id such as
        ``"facebook/wav2vec2-base"``, which is downloaded once, or a short name such as ``"whisper-small"``.
    revision : str, optional
        Branch, tag or commit of a hub id; resolved to the commit.

    Returns
    -------
    EncoderInfo
        With the commit and the hash of the weights.

    Raises
    ------
    EncoderError
        Unknown, not to be had, not supported, without weights, or with a description that fits no encoder.
    """
    name = full_name(name)
    folder, commit = _locate(name, revision)
    facts = describe(folder, name)
    digest = hash_weights(folder)
    return EncoderInfo(id=name, location=str(folder), revision=commit, weights_sha256=digest, **facts)


def modules_of(info: EncoderInfo) -> tuple[str, ...]:
    """Return what an encoder imports: seconds' worth that processes can have behind them before they begin.

    Examples
    --------
    >>> modules_of(resolve_encoder("tiny"))[-1]
    'transformers.models.wav2vec2.modeling_wav2vec2'
    """
    name = info.model_type.replace("-", "_").removesuffix("_audio_model")
    name = "parakeet" if name.startswith("parakeet") else name
    family = f"transformers.models.{name.removesuffix('_audio')}.modeling_{name}"
    room = "embedx.encoders.spectrogram" if info.model_type in FAMILIES else "embedx.encoders.waveform"
    return (room, "torchaudio.transforms", "transformers.models.auto.modeling_auto", family)


def load_encoder(
    info: EncoderInfo,
    *,
    layers: tuple[int, ...],
    device: str = "cpu",
    compute_dtype: str = "float32",
    compiled: bool = False,
    padding: str | None = None,
) -> Encoder:
    """Load an encoder's weights.

    Parameters
    ----------
    info : EncoderInfo
        What `resolve_encoder` found.
    layers : tuple of int
        Layers to keep, in this order.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    compute_dtype : {'float32', 'bfloat16', 'float16'}
        What it computes in.
    compiled : bool
        Whether torch compiles the transformer layers.
    padding : {'none', 'masked', 'pooled'}, optional
        See `Recipe`; the encoder's default where absent.

    Raises
    ------
    EncoderError
        The weights do not fit the architecture, or cannot be read.
    """
    if info.model_type in FAMILIES:
        from embedx.encoders.spectrogram import SpectrogramEncoder

        return SpectrogramEncoder(
            info, layers=layers, device=device, compute_dtype=compute_dtype, padding=padding, compiled=compiled
        )
    from embedx.encoders.waveform import WaveformEncoder

    return WaveformEncoder(info, layers=layers, device=device, compute_dtype=compute_dtype, compiled=compiled)


def _locate(name: str, revision: str | None) -> tuple[Path, str]:
    local = name in BUNDLED or os.path.isdir(name)
    if local and revision is not None:
        kind = "bundled" if name in BUNDLED else "a folder"
        raise EncoderError(f"encoder {name!r} is {kind} and has no revision {revision!r}: leave --revision out")
    if name in BUNDLED:
        return bundled_folder(name), "bundled"
    if os.path.isdir(name):
        return Path(os.path.abspath(name)), "local"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        kind = "such folder" if "/" in name or name.startswith((".", "~")) else "such encoder"
        known = unknown_name("encoder", name, [*BUNDLED, *KNOWN, DEFAULT_ENCODER])
        raise EncoderError(f"{known} (or a folder with config.json, or a hub id OWNER/NAME; there is no {kind} here)")
    return fetch_checkpoint(name, revision=revision)


def bundled_folder(name: str) -> Path:
    """Return where a bundled encoder lies."""
    return Path(str(resources.files("embedx") / "assets" / name))


def hash_weights(folder: Path) -> str:
    """Return the hash of a checkpoint's weights as a recipe records it."""
    digests = [hash_file(path).hex() for path in weights_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
