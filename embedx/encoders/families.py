"""Encoders with a front end of their own, by what their files say: layers, width, hop, native window, spectrogram."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from embedx.encoders.encoder_info import Record

__all__ = ["FAMILIES", "UNSUPPORTED"]

UNSUPPORTED = {
    "dac": "is a codec with one output and no layers to choose from",
    "encodec": "is a codec with one output and no layers to choose from",
    "mimi": "is a codec; its encoder is not supported yet",
    "qwen2_audio": "is a language model; take the encoder that it grew from, openai/whisper-large-v3",
    "seamless_m4t": "is the first version; take facebook/seamless-m4t-v2-large or facebook/w2v-bert-2.0",
    "speech_to_text": "has an encoder that is not supported; take openai/whisper-small",
    "speecht5": "has an encoder that is not supported; take a wav2vec2 or a wavlm",
    "univnet": "is a vocoder, not an encoder",
}
"""Why not, by transformers' ``model_type``."""

_RATE = (1_000, 768_000)
_COUNT = (1, 100_000)


def _whisper(config: Record, said: Record) -> dict[str, Any]:
    said.require("feature_extractor_type", ("WhisperFeatureExtractor",), default="WhisperFeatureExtractor")
    n_mels = config.number("num_mel_bins", *_COUNT, default=80)
    settings = {
        "feature_size": said.number("feature_size", n_mels, n_mels, default=80),
        "sampling_rate": said.number("sampling_rate", *_RATE, default=16_000),
        "hop_length": said.number("hop_length", *_COUNT, default=160),
        "chunk_length": said.number("chunk_length", 1, 3_600, default=30),
        "n_fft": said.number("n_fft", 16, 65_536, default=400),
    }
    rate, hop = settings["sampling_rate"], 2 * settings["hop_length"]
    native = config.number("max_source_positions", 1, 1_000_000, default=1_500) * hop
    if native != settings["chunk_length"] * rate:
        length = f"{native / rate:g}, as max_source_positions of config.json has it,"
        raise said.wrong("chunk_length", length)
    return {
        "n_layers": config.number("encoder_layers", 1, 1_000) + 1,
        "dim": config.number("d_model", *_COUNT),
        "sample_rate": rate,
        "normalize": False,
        "min_samples": hop,
        "hop_seconds": hop / rate,
        "native_seconds": native / rate,
        "paddings": ("none", "masked", "pooled"),
        **_extractor("WhisperFeatureExtractor", settings),
    }


def _ast(config: Record, said: Record) -> dict[str, Any]:
    said.require("feature_extractor_type", ("ASTFeatureExtractor",), default="ASTFeatureExtractor")
    n_mels = config.number("num_mel_bins", *_COUNT, default=128)
    length = config.number("max_length", 16, 1_000_000, default=1_024)
    settings = {
        "sampling_rate": said.number("sampling_rate", *_RATE, default=16_000),
        "num_mel_bins": said.number("num_mel_bins", n_mels, n_mels, default=128),
        "max_length": said.number("max_length", length, length, default=1_024),
        "do_normalize": said.require("do_normalize", (True, False), default=True),
        "mean": _real(said, "mean", -4.2677393),
        "std": _real(said, "std", 4.5689974),
    }
    if settings["std"] <= 0:
        raise said.wrong("std", "a number above 0")
    for field, most in (("patch_size", min(n_mels, length)), ("frequency_stride", n_mels), ("time_stride", length)):
        config.number(field, 1, most, default=16 if field == "patch_size" else 10)
    rate = settings["sampling_rate"]
    hop, frame = round(rate * 0.01), round(rate * 0.025)
    return {
        "n_layers": config.number("num_hidden_layers", 1, 1_000, default=12) + 2,
        "dim": config.number("hidden_size", *_COUNT, default=768),
        "sample_rate": rate,
        "normalize": False,
        "min_samples": frame,
        "hop_seconds": config.number("time_stride", *_COUNT, default=10) * hop / rate,
        "native_seconds": length * hop / rate,
        "paddings": ("masked", "pooled", "none"),
        "n_class_tokens": 2,
        **_extractor("ASTFeatureExtractor", settings),
    }


def _clap(config: Record, said: Record) -> dict[str, Any]:
    said.require("feature_extractor_type", ("ClapFeatureExtractor",), default="ClapFeatureExtractor")
    tower = config.part("audio_config") if config.values.get("model_type") == "clap" else config
    n_mels = tower.number("num_mel_bins", *_COUNT, default=64)
    kind = "fusion" if tower.require("enable_fusion", (True, False), default=False) else "rand_trunc"
    settings = {
        "feature_size": said.number("feature_size", n_mels, n_mels, default=64),
        "sampling_rate": said.number("sampling_rate", *_RATE, default=48_000),
        "hop_length": said.number("hop_length", *_COUNT, default=480),
        "max_length_s": said.number("max_length_s", 1, 3_600, default=10),
        "fft_window_size": said.number("fft_window_size", 16, 65_536, default=1_024),
        "frequency_min": _real(said, "frequency_min", 0),
        "frequency_max": _real(said, "frequency_max", 14_000),
        "truncation": said.require("truncation", (kind,), default="fusion"),
        "padding": said.require("padding", ("repeatpad", "repeat", "pad"), default="repeatpad"),
    }
    rate, native = settings["sampling_rate"], settings["max_length_s"]
    depths = tower.values.get("depths", [2, 2, 6, 2])
    if not isinstance(depths, list) or not 1 <= len(depths) <= 10:
        raise tower.wrong("depths", "a list of the blocks of each stage")
    size = tower.number("spec_size", 16, 100_000, default=256)
    stride = tower.values.get("patch_stride", [4, 4])
    step = stride[-1] if isinstance(stride, list) and stride else stride
    if type(step) is not int or step < 1:
        raise tower.wrong("patch_stride", "one or two numbers above 0")
    columns = size // step // 2 ** (len(depths) - 1) * (size // n_mels)
    n_frames = native * rate // settings["hop_length"] + 1
    if size // step // 2 ** (len(depths) - 1) < size // n_mels or n_frames > size * (size // n_mels):
        raise tower.wrong("spec_size", f"room for {n_frames} frames of {n_mels} bands and a last stage")
    width = tower.number("hidden_size", *_COUNT, default=768)
    return {
        "n_layers": len(depths) + 3,
        "dim": max(width, tower.number("projection_dim", *_COUNT, default=512)),
        "sample_rate": rate,
        "normalize": False,
        "min_samples": settings["hop_length"],
        "hop_seconds": native / columns,
        "native_seconds": float(native),
        "paddings": ("masked", "pooled"),
        **_extractor("ClapFeatureExtractor", settings),
    }


def _kaldi(config: Record, said: Record, n_layers: int) -> dict[str, Any]:
    said.require("feature_extractor_type", ("SeamlessM4TFeatureExtractor",), default="SeamlessM4TFeatureExtractor")
    width = config.number("feature_projection_input_dim", *_COUNT, default=160)
    n_mels, stride = (said.number(field, *_COUNT, default=n) for field, n in (("num_mel_bins", 80), ("stride", 2)))
    if n_mels * stride != width:
        raise said.wrong("num_mel_bins", f"{width} values a step, as feature_projection_input_dim of config.json says,")
    rate = said.number("sampling_rate", 16_000, 16_000, default=16_000)
    return {
        "n_layers": n_layers + 1,
        "dim": config.number("hidden_size", *_COUNT, default=1_024),
        "sample_rate": rate,
        "normalize": False,
        "min_samples": 400 + 160 * max(1, stride - 1),  # a variance takes two frames
        "hop_seconds": stride * 160 / rate,
        **_extractor(
            "SeamlessM4TFeatureExtractor",
            {"feature_size": n_mels, "num_mel_bins": n_mels, "sampling_rate": rate, "stride": stride},
        ),
    }


def _w2v_bert(config: Record, said: Record) -> dict[str, Any]:
    return _kaldi(config, said, config.number("num_hidden_layers", 1, 1_000))


def _seamless(config: Record, said: Record) -> dict[str, Any]:
    return _kaldi(config, said, config.number("speech_encoder_layers", 1, 1_000, default=24))


def _moonshine(config: Record, said: Record) -> dict[str, Any]:
    said.require("feature_extractor_type", ("Wav2Vec2FeatureExtractor",), default="Wav2Vec2FeatureExtractor")
    rate = said.number("sampling_rate", *_RATE, default=16_000)
    return {
        "n_layers": config.number("encoder_num_hidden_layers", 1, 1_000) + 1,
        "dim": config.number("hidden_size", *_COUNT),
        "sample_rate": rate,
        "normalize": said.require("do_normalize", (True, False), default=True),
        "min_samples": 895,  # three convolutions: 127 / 64, 7 / 3, 3 / 2
        "hop_seconds": 384 / rate,
    }


def _parakeet(config: Record, said: Record) -> dict[str, Any]:
    said.require("feature_extractor_type", ("ParakeetFeatureExtractor",), default="ParakeetFeatureExtractor")
    tower = config if config.values.get("model_type") == "parakeet_encoder" else config.part("encoder_config")
    n_mels = tower.number("num_mel_bins", *_COUNT, default=80)
    settings = {
        "feature_size": said.number("feature_size", n_mels, n_mels, default=80),
        "sampling_rate": said.number("sampling_rate", *_RATE, default=16_000),
        "hop_length": said.number("hop_length", *_COUNT, default=160),
        "n_fft": said.number("n_fft", 16, 65_536, default=512),
        "win_length": said.number("win_length", 16, said.number("n_fft", 16, 65_536, default=512), default=400),
        "preemphasis": _real(said, "preemphasis", 0.97),
    }
    rate, hop = settings["sampling_rate"], settings["hop_length"]
    return {
        "n_layers": tower.number("num_hidden_layers", 1, 1_000, default=24) + 1,
        "dim": tower.number("hidden_size", *_COUNT, default=1_024),
        "sample_rate": rate,
        "normalize": False,
        "min_samples": 2 * hop,  # a variance takes two frames
        "hop_seconds": hop * tower.number("subsampling_factor", 1, 64, default=8) / rate,
        **_extractor("ParakeetFeatureExtractor", settings),
    }


def _real(said: Record, field: str, default: float) -> float:
    value = said.values.get(field, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise said.wrong(field, "a number")
    return float(value)


def _extractor(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"extractor": name, "settings": tuple(sorted(settings.items()))}


FAMILIES: dict[str, Callable[[Record, Record], dict[str, Any]]] = {
    "audio-spectrogram-transformer": _ast,
    "clap": _clap,
    "clap_audio_model": _clap,
    "moonshine": _moonshine,
    "parakeet_ctc": _parakeet,
    "parakeet_encoder": _parakeet,
    "parakeet_rnnt": _parakeet,
    "parakeet_tdt": _parakeet,
    "seamless_m4t_v2": _seamless,
    "wav2vec2-bert": _w2v_bert,
    "whisper": _whisper,
}
"""What config.json and the preparation of audio say, as fields of `EncoderInfo`, by transformers' ``model_type``."""
