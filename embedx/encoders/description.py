"""What a checkpoint's folder says of the encoder, checked before anything is made of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedx.errors import EmbedxWarning, EncoderError

__all__ = ["PREPROCESSORS", "SUPPORTED", "describe", "reach", "weights_files"]

PREPROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files that say how a waveform is prepared: that of transformers 5, which holds several parts, and that before it."""

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

_LFS = b"version https://git-lfs.github.com/spec/"
_WAVEFORM = "Wav2Vec2FeatureExtractor"
_SPECTROGRAMS = frozenset({"wav2vec2-bert", "whisper", "audio-spectrogram-transformer", "seamless_m4t", "clap"})
_LIMITS = {"num_hidden_layers": (1, 1_000), "hidden_size": (1, 100_000), "sampling_rate": (1_000, 768_000)}


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
        ``model_type``, ``n_layers``, ``dim``, ``sample_rate``, ``normalize``, ``min_samples`` and ``note`` of
        `EncoderInfo`.

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
    config = _read_json(path, name)
    _require_supported(name, config)
    return {
        "model_type": config["model_type"],
        "n_layers": _number(config, "num_hidden_layers", path, name) + 1,
        "dim": _number(config, "hidden_size", path, name),
        **_read_preprocessor(folder, name),
        "min_samples": _samples_of_a_frame(config, path, name),
        "note": str(config.get("embedx_note", "")),
    }


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
            _refuse_pointer(path)
        if found:
            return found
    raise EncoderError(f"{folder} holds no weights: model.safetensors or pytorch_model.bin is needed")


def _read_preprocessor(folder: Path, name: str) -> dict[str, Any]:
    """Read the sampling rate and the normalisation from wherever transformers reads them."""
    found = {}
    for file in PREPROCESSORS:
        path = folder / file
        if path.exists():
            record = _read_json(path, name)
            if file == "processor_config.json":  # other parts, such as a tokenizer, stand beside the one for audio
                record = record.get("feature_extractor", record.get("audio_processor"))
            if record is not None:
                found[file] = _preparation(record, path, name)
    if not found:
        text = (
            f"encoder {name!r}: {folder} holds neither {' nor '.join(PREPROCESSORS)}, so 16 kHz and normalised "
            "waveforms are assumed. If it was trained otherwise, add the file from where the checkpoint came from"
        )
        warnings.warn(text, EmbedxWarning, stacklevel=2)
        return {"sample_rate": 16_000, "normalize": True}
    first, *others = found.values()
    if any(other != first for other in others):
        said = "; ".join(
            f"{file} says {one['sample_rate']} Hz, do_normalize {str(one['normalize']).lower()}"
            for file, one in found.items()
        )
        raise EncoderError(f"encoder {name!r}: the files of {folder} contradict each other: {said}. Remove one of them")
    return first


def _preparation(record: Any, path: Path, name: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise EncoderError(f"encoder {name!r}: {path} describes the preparation of audio by no JSON object")
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
    rate = _number({"sampling_rate": 16_000, **record}, "sampling_rate", path, name)
    return {"sample_rate": rate, "normalize": bool(normalize)}


def _read_json(path: Path, name: str) -> Mapping[str, Any]:
    if path.is_file():
        _refuse_pointer(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(
            f"encoder {name!r}: {path} cannot be read ({error}); a folder of a checkpoint holds "
            "config.json, processor_config.json or preprocessor_config.json, and model.safetensors"
        ) from error
    if not isinstance(record, dict):
        raise EncoderError(f"encoder {name!r}: {path} is no JSON object")
    return record


def _refuse_pointer(path: Path) -> None:
    """Refuse the three lines that Git LFS leaves in the place of a file that was not fetched."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise EncoderError(
                f"{path} is a Git LFS pointer, not the file: run `git lfs pull` in that folder, or download it again"
            )


def _require_supported(name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind in SUPPORTED and "num_hidden_layers" in config and "hidden_size" in config:
        return
    why = "eats spectrograms, not waveforms" if kind in _SPECTROGRAMS else "is not supported"
    raise EncoderError(f"encoder {name!r} is of model_type {kind!r}, which {why}. Supported: {', '.join(SUPPORTED)}")


def _number(record: Mapping[str, Any], field: str, path: Path, name: str) -> int:
    value, (least, most) = record[field], _LIMITS[field]
    if type(value) is not int or not least <= value <= most:
        need = f"a whole number from {least} to {most} is needed"
        raise EncoderError(f"encoder {name!r}: {path} says {field} is {str(value)[:40]!r}: {need}")
    return value


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
    squeeze = config.get("squeeze_factor", 1)
    return reach(kernels, strides, squeeze if type(squeeze) is int and squeeze > 0 else 1)  # type: ignore[arg-type]
