"""A name becomes an encoder: bundled, a folder, or a checkpoint of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from embedx.encoders.base import Encoder, EncoderInfo
from embedx.encoders.hub import fetch_checkpoint
from embedx.errors import EncoderError, unknown_name

__all__ = [
    "BUNDLED",
    "DEFAULT_ENCODER",
    "SUPPORTED",
    "load_encoder",
    "modules_of",
    "resolve_encoder",
]

DEFAULT_ENCODER = "facebook/wav2vec2-base"

BUNDLED = ("tiny",)
"""Encoders that ship inside the package."""

SUPPORTED = (
    "data2vec-audio",
    "hubert",
    "sew",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-conformer",
    "wavlm",
)
"""transformers' ``model_type`` of the raw-waveform encoders that are supported (XLS-R and MMS are ``wav2vec2``)."""

_SPECTROGRAMS = frozenset({"wav2vec2-bert", "whisper", "audio-spectrogram-transformer", "seamless_m4t", "clap"})


def resolve_encoder(name: str, *, revision: str | None = None) -> EncoderInfo:
    """Find an encoder and say all that a recipe needs, without loading its weights.

    Parameters
    ----------
    name : str
        ``"tiny"`` (bundled), a folder with ``config.json`` and weights, or a hub id such as
        ``"facebook/wav2vec2-base"``, which is downloaded once.
    revision : str, optional
        Branch, tag or commit of a hub id; resolved to the commit.

    Returns
    -------
    EncoderInfo
        With the commit and the hash of the weights.

    Raises
    ------
    EncoderError
        Unknown, not to be had, not supported, or without weights.
    """
    folder, commit = _locate(name, revision)
    config = _read_json(folder / "config.json", name)
    _require_supported(name, config)
    preprocessor = _read_json(folder / "preprocessor_config.json", name, optional=True)
    return EncoderInfo(
        id=name,
        location=str(folder),
        revision=commit,
        weights_sha256=_hash_weights(folder, name),
        model_type=config["model_type"],
        n_layers=int(config["num_hidden_layers"]) + 1,
        dim=int(config["hidden_size"]),
        sample_rate=int(preprocessor.get("sampling_rate", 16_000)),
        normalize=bool(preprocessor.get("do_normalize", True)),
        note=str(config.get("embedx_note", "")),
    )


def modules_of(info: EncoderInfo) -> tuple[str, ...]:
    """Return what an encoder imports: seconds' worth that processes can have behind them before they begin.

    Examples
    --------
    >>> modules_of(resolve_encoder("tiny"))[-1]
    'transformers.models.wav2vec2.modeling_wav2vec2'
    """
    name = info.model_type.replace("-", "_")
    family = f"transformers.models.{name.removesuffix('_audio')}.modeling_{name}"
    return ("embedx.encoders.wav2vec2", "torchaudio.transforms", "transformers.models.auto.modeling_auto", family)


def load_encoder(
    info: EncoderInfo,
    *,
    layers: tuple[int, ...],
    device: str = "cpu",
    compute_dtype: str = "float32",
    compiled: bool = False,
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

    Raises
    ------
    EncoderError
        The weights do not fit the architecture, or cannot be read.
    """
    from embedx.encoders.wav2vec2 import Wav2Vec2Encoder

    return Wav2Vec2Encoder(info, layers=layers, device=device, compute_dtype=compute_dtype, compiled=compiled)


def _locate(name: str, revision: str | None) -> tuple[Path, str]:
    if name in BUNDLED:
        return Path(str(resources.files("embedx") / "assets" / name)), "bundled"
    if os.path.isdir(name):
        return Path(os.path.abspath(name)), "local"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        kind = "such folder" if "/" in name or name.startswith((".", "~")) else "such encoder"
        known = unknown_name("encoder", name, [*BUNDLED, DEFAULT_ENCODER])
        raise EncoderError(f"{known} (or a folder with config.json, or a hub id OWNER/NAME; there is no {kind} here)")
    return fetch_checkpoint(name, revision=revision)


def _read_json(path: Path, name: str, *, optional: bool = False) -> Mapping[str, Any]:
    if optional and not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"encoder {name!r}: {path} cannot be read ({error}); a folder of a checkpoint holds "
            "config.json, preprocessor_config.json and model.safetensors"
        ) from error
    if not isinstance(record, dict):
        raise EncoderError(f"encoder {name!r}: {path} is no JSON object")
    return record


def _require_supported(name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind in SUPPORTED and "num_hidden_layers" in config and "hidden_size" in config:
        return
    why = "eats spectrograms, not waveforms" if kind in _SPECTROGRAMS else "is not supported"
    raise EncoderError(f"encoder {name!r} is of model_type {kind!r}, which {why}. Supported: {', '.join(SUPPORTED)}")


def weights_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that hold a checkpoint's weights, safetensors before torch's own format.

    Raises
    ------
    EncoderError
        There are none.
    """
    for pattern in ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin"):
        found = tuple(sorted(folder.glob(pattern)))
        if found:
            return found
    raise EncoderError(f"{folder} holds no weights: model.safetensors or pytorch_model.bin is needed")


def _hash_weights(folder: Path, name: str) -> str:
    digests = [_sha256(path) for path in weights_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
