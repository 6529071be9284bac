"""What a checkpoint's folder says of the encoder, checked before anything is made of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedx.encoders.encoder_info import Record, read_record, refuse_pointer
from embedx.encoders.families import FAMILIES, UNSUPPORTED
from embedx.errors import EmbedxWarning, EncoderError

__all__ = ["PREPROCESSORS", "SUPPORTED", "WAVEFORM", "describe", "reach", "weights_files"]

PREPROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files that say how a waveform is prepared: that of transformers 5, which holds several parts, and that before it."""

WAVEFORM = (
    "data2vec-audio",
    "hubert",
    "sew",
    "sew-d",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-conformer",
    "wavlm",
)
"""transformers' ``model_type`` of the raw-waveform encoders that are supported (XLS-R and MMS are ``wav2vec2``)."""

SUPPORTED = (*WAVEFORM, *FAMILIES)
"""transformers' ``model_type`` of all that is supported."""

_WAVEFORM = "Wav2Vec2FeatureExtractor"
_RATES = (1_000, 768_000)


def describe(folder: Path, name: str) -> dict[str, Any]:
    """Read what a checkpoint says of itself.

    Parameters
    ----------
    folder : Path
        Holds config.json and, usually, processor_config.json or preprocessor_config.json.
    name : str
        What the user called it, for messages.

    Returns
    -------
    dict
        Fields of `EncoderInfo`.

    Raises
    ------
    EncoderError
        A file cannot be read, a field holds what no encoder has, files contradict each other, or the family is not
        supported.

    Warns
    -----
    EmbedxWarning
        No file says how a waveform is prepared, so that transformers' defaults are assumed.
    """
    path = folder / "config.json"
    config = read_record(path, name)
    kind = _require_supported(name, config.values)
    facts: dict[str, Any] = {"model_type": kind, "note": str(config.values.get("embedx_note", ""))}
    if kind in FAMILIES:
        return {**facts, **_read_spectrogram(config, kind, folder, name)}
    if not {"num_hidden_layers", "hidden_size"} <= config.values.keys():
        raise EncoderError(f"encoder {name!r}: {path} lacks num_hidden_layers or hidden_size")
    facts = {
        **facts,
        "n_layers": config.number("num_hidden_layers", 1, 1_000) + 1,
        "dim": config.number("hidden_size", 1, 100_000),
        **_read_preprocessor(folder, name),
        "min_samples": _samples_of_a_frame(config.values, path, name),
    }
    hop = math.prod(config.values.get("conv_stride") or [320]) * _squeeze(config.values)
    return {**facts, "hop_seconds": hop / facts["sample_rate"]}


def reach(kernels: Sequence[int], strides: Sequence[int], n_frames: int = 1) -> int:
    """Return the samples that so many neighbouring frames of convolutions see together.

    Examples
    --------
    >>> reach([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    400
    """
    n = n_frames
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        n = (n - 1) * stride + kernel
    return n


def weights_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that hold a checkpoint's weights, safetensors before torch's own format.

    Raises
    ------
    EncoderError
        There are none, or one is no file.
    """
    for pattern in ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin"):
        found = tuple(sorted(folder.glob(pattern)))
        for path in found:
            if not path.is_file():
                raise EncoderError(f"{path} is no regular file: a folder of a checkpoint holds its weights in it")
            refuse_pointer(path)
        if found:
            return found
    raise EncoderError(f"{folder} holds no weights: model.safetensors or pytorch_model.bin is needed")


def _read_preprocessor(folder: Path, name: str) -> dict[str, Any]:
    """Read the sampling rate and the normalisation from wherever transformers reads them."""
    found = {path: _preparation(record, path, name) for path, record in _preparations(folder, name)}
    if not found:
        text = (
            f"encoder {name!r}: {folder} holds neither {' nor '.join(PREPROCESSORS)}, so 16 kHz and normalised "
            "waveforms are assumed. If it was trained otherwise, add the file from where the checkpoint came from"
        )
        warnings.warn(text, EmbedxWarning, stacklevel=2)
        return {"sample_rate": 16_000, "normalize": True}
    return _agreed(found, lambda one: f"{one['sample_rate']} Hz, do_normalize {str(one['normalize']).lower()}", name)


def _agreed(found: Mapping[Path, dict[str, Any]], tell: Callable[[dict[str, Any]], str], name: str) -> dict[str, Any]:
    """Return what files say that must say the same."""
    first, *others = found.values()
    if any(other != first for other in others):
        folder = next(iter(found)).parent
        told = "; ".join(f"{path.name} says {tell(one)}" for path, one in found.items())
        raise EncoderError(f"encoder {name!r}: the files of {folder} contradict each other: {told}. Remove one of them")
    return first


def _preparations(folder: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield what says how audio is prepared, and the file that says it."""
    for file in PREPROCESSORS:
        path = folder / file
        if not path.exists():
            continue
        record: Any = read_record(path, name).values
        if file == "processor_config.json":  # other parts, such as a tokenizer, stand beside the one for audio
            record = record.get("feature_extractor", record.get("audio_processor"))
        if record is None:
            continue
        if not isinstance(record, dict):
            raise EncoderError(f"encoder {name!r}: {path} describes the preparation of audio by no JSON object")
        yield path, record


def _read_spectrogram(config: Record, kind: str, folder: Path, name: str) -> dict[str, Any]:
    """Read the settings of a spectrogram, which nobody could guess."""
    found = {path: FAMILIES[kind](config, Record(says, path, name)) for path, says in _preparations(folder, name)}
    if not found:
        raise EncoderError(
            f"encoder {name!r}: {folder} holds neither {' nor '.join(PREPROCESSORS)}, so that nobody knows which "
            "spectrogram it reads: add the file from where the checkpoint came from"
        )
    return _agreed(found, _settings_text, name)


def _settings_text(facts: Mapping[str, Any]) -> str:
    settings = facts.get("settings") or [(key, facts[key]) for key in ("sample_rate", "normalize")]
    return ", ".join(f"{key} {value}" for key, value in settings)


def _preparation(record: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    kind, size = record.get("feature_extractor_type", _WAVEFORM), record.get("feature_size", 1)
    if kind != _WAVEFORM or size != 1:
        raise EncoderError(
            f"encoder {name!r}: {path} asks for {str(kind)[:80]} with {str(size)[:40]} values a step; "
            f"waveforms are prepared by {_WAVEFORM} with 1"
        )
    normalize = record.get("do_normalize", True)
    if normalize is not None and not isinstance(normalize, bool):
        raise EncoderError(
            f"encoder {name!r}: {path} says do_normalize is {str(normalize)[:40]!r}: true or false is needed"
        )
    rate = Record(record, path, name).number("sampling_rate", *_RATES, default=16_000)
    return {"sample_rate": rate, "normalize": bool(normalize)}


def _require_supported(name: str, config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in SUPPORTED:
        return kind
    why = UNSUPPORTED.get(kind, "is not supported") if isinstance(kind, str) else "is not supported"
    raise EncoderError(f"encoder {name!r} is of model_type {kind!r}, which {why}. Supported: {', '.join(SUPPORTED)}")


def _samples_of_a_frame(config: Mapping[str, Any], path: Path, name: str) -> int:
    """Return the samples that one frame takes by the config; 1 where it leaves that to transformers."""
    lists = [config.get(field) for field in ("conv_kernel", "conv_stride")]
    if lists == [None, None]:
        return 1
    kernels, strides = lists
    good = all(isinstance(one, list) and one and all(type(n) is int and n > 0 for n in one) for one in lists)
    if not good or len(kernels) != len(strides):  # type: ignore[arg-type]
        raise EncoderError(
            f"encoder {name!r}: {path} says conv_kernel is {kernels} and conv_stride is {strides}: two lists of "
            "equally many numbers above 0 are needed"
        )
    return reach(kernels, strides, _squeeze(config))  # type: ignore[arg-type]


def _squeeze(config: Mapping[str, Any]) -> int:
    squeeze = config.get("squeeze_factor", 1)
    return squeeze if type(squeeze) is int and squeeze > 0 else 1
