"""Every family of encoders beside the loop that people write for it: speed, parameters, and how far the rows are apart.

Random weights of the sizes that people use (speed does not depend on them) and recordings of the bundled sample; both
loops take turns on the same two threads.

    python -m benchmarks.throughput.families [--small] [--clips N] [--rounds N] [--only NAME,NAME]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import embedx
from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.encoders.base import EncoderInfo
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.extract.compute import ClipEncoder, Window
from embedx.recipe import Recipe, Resources

SEED, THREADS = 0, 2
SAMPLE = Path(embedx.__file__).parent / "assets" / "sample" / "audio"


@dataclass(frozen=True)
class Family:
    """How a checkpoint is made, what the plain loop does with a clip, and which of embedx's layers that is."""

    model: str
    config: dict[str, Any]
    extractor: str
    settings: dict[str, Any]
    small: dict[str, Any]
    plain: Callable[[Any, Any], torch.Tensor]
    layer: int = -1


def _last(model: Any, ready: Any) -> torch.Tensor:
    """Average all frames of the last layer, padding included, as a plain loop does."""
    return model(**ready).last_hidden_state.mean(1)


def _tokens(model: Any, ready: Any) -> torch.Tensor:
    return model(**ready).last_hidden_state[:, 2:].mean(1)


def _real(model: Any, ready: Any) -> torch.Tensor:
    frames = int(ready["attention_mask"].sum())
    return model(**ready).last_hidden_state[:, :frames].mean(1)


def _map(model: Any, ready: Any) -> torch.Tensor:
    return model.audio_model(**ready).last_hidden_state.mean((2, 3))


def _encoder(model: Any, ready: Any) -> torch.Tensor:
    return model.encoder(ready[next(iter(ready))]).last_hidden_state.mean(1)


_TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_WHISPER = {
    "decoder_layers": 1,
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 4,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
_SMALL_WHISPER = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128}
_SMALL_CLAP = {"patch_embeds_hidden_size": 16, "hidden_size": 128, "depths": [1, 1, 1, 1], "projection_dim": 32}

FAMILIES = {
    "wav2vec2-base": Family(
        "Wav2Vec2Model", {}, "Wav2Vec2FeatureExtractor", {}, {**_TINY, "conv_dim": [32] * 7}, _last
    ),
    "whisper-small": Family(
        "WhisperModel",
        {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072, **_WHISPER},
        "WhisperFeatureExtractor",
        {},
        {**_SMALL_WHISPER, **_WHISPER},
        _encoder,
    ),
    "ast": Family("ASTModel", {}, "ASTFeatureExtractor", {}, _TINY, _tokens),
    "clap": Family(
        "ClapAudioModelWithProjection", {}, "ClapFeatureExtractor", {"truncation": "rand_trunc"}, _SMALL_CLAP, _map, -2
    ),
    "w2v-bert": Family("Wav2Vec2BertModel", {}, "SeamlessM4TFeatureExtractor", {}, _TINY, _real),
    "moonshine-base": Family(
        "MoonshineModel",
        {"hidden_size": 416, "encoder_num_hidden_layers": 8, "intermediate_size": 1664, "decoder_num_hidden_layers": 1},
        "Wav2Vec2FeatureExtractor",
        {"do_normalize": False},
        {"hidden_size": 64, "encoder_num_hidden_layers": 2, "intermediate_size": 128, "decoder_num_hidden_layers": 1},
        _encoder,
    ),
}


def main() -> None:
    """Measure the families and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="layers of a few numbers: whether it runs, not how fast")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(FAMILIES), help="families, separated by commas (default: all)")
    args = parser.parse_args()
    found = {}
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = measure_family(FAMILIES[name], Path(folder), args)
        print(name, found[name], flush=True)
    measures = {
        f"{name}: {way} seconds": measure(row[f"{way}_seconds"], better="lower", unit="s")
        for name, row in found.items()
        for way in ("plain", "embedx")
    }
    tables = {"families": draw(found, small=args.small)}
    print(f"written: {write_result('families', tables=tables, measures=measures, seed=SEED, details=found)}")


def measure_family(family: Family, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured of one family."""
    model, extractor = make(family, folder, small=args.small)
    info = resolve_encoder(str(folder))
    clips = list(make_clips(info, args.clips))
    torch.set_num_threads(THREADS)
    seconds: dict[str, list[float]] = {"plain": [], "embedx": []}
    for run in (plain_loop, embedx_loop):  # the first call of anything takes longer
        run(family, model, extractor, info, clips[:1])
    for _ in range(args.rounds):
        for way, run in (("plain", plain_loop), ("embedx", embedx_loop)):
            started = time.perf_counter()
            run(family, model, extractor, info, clips)
            seconds[way].append(time.perf_counter() - started)
    layers = tuple(range(info.n_layers))
    way = "pooled" if "pooled" in info.paddings else "none"
    same = load_encoder(info, layers=layers, padding=way).pooled(clips)[:, family.layer]
    expected = plain_loop(family, model, extractor, info, clips)
    default = load_encoder(info, layers=layers)
    alone = np.concatenate([default.pooled([clip]) for clip in clips])
    default.batched = True
    return {
        "layers": info.n_layers,
        "dim": info.dim,
        "parameters": count_parameters(info),
        "audio_seconds": sum(map(len, clips)) / info.sample_rate,
        "plain_seconds": seconds["plain"],
        "embedx_seconds": seconds["embedx"],
        "error_against_transformers": apart(same[:, : expected.shape[1]], expected),
        "error_alone_against_batched": apart(default.pooled(clips), alone),
        "default_against_plain_cosine": cosine(alone[:, family.layer, : expected.shape[1]], expected),
    }


def make(family: Family, folder: Path, *, small: bool) -> tuple[Any, Any]:
    """Write a random checkpoint; return transformers' own model and feature extractor."""
    torch.manual_seed(SEED)
    kind, how = getattr(transformers, family.model), getattr(transformers, family.extractor)
    model = kind(kind.config_class(**(family.small if small else family.config))).eval()
    model.save_pretrained(folder)
    extractor = how(**family.settings)
    extractor.save_pretrained(folder)
    return model, extractor


def make_clips(info: EncoderInfo, n: int) -> Iterator[np.ndarray]:
    """Yield 1 to 10 s of recordings, one after the other where one is shorter, at the rate that the encoder wants."""
    rng = np.random.default_rng(SEED)
    paths = itertools.cycle(rng.permutation(sorted(SAMPLE.iterdir())))
    for seconds in rng.uniform(1, 10, n):
        wanted = round(seconds * info.sample_rate)
        clip = np.zeros(0, np.float32)
        while len(clip) < wanted:
            clip = np.concatenate([clip, decode(next(paths), sample_rate=info.sample_rate)])
        yield clip[:wanted]


@torch.inference_mode()
def plain_loop(family: Family, model: Any, extractor: Any, info: EncoderInfo, clips: list[Any]) -> np.ndarray:
    """Do what people write: feature extractor, model, mean, clip after clip."""
    torch.set_num_threads(THREADS)
    rows = []
    for clip in clips:
        ready = extractor(clip, sampling_rate=info.sample_rate, return_tensors="pt")
        ready = {name: value for name, value in ready.items() if name != "is_longer"}
        rows.append(family.plain(model, ready)[0].numpy())
    return np.stack(rows)


def embedx_loop(family: Family, model: Any, extractor: Any, info: EncoderInfo, clips: list[Any]) -> None:
    """Compute every layer and the control, as an extraction does once weights are loaded."""
    encoder = _LOADED.setdefault(info.location, _loaded(info))
    for _ in encoder.encode(Window(i, 0, clip) for i, clip in enumerate(clips)):
        pass


_LOADED: dict[str, ClipEncoder] = {}


def _loaded(info: EncoderInfo) -> ClipEncoder:
    facts = {"encoder": info.id, "revision": info.revision, "weights_sha256": info.weights_sha256}
    layers = tuple(range(info.n_layers))
    recipe = Recipe(**facts, layers=layers, sample_rate=info.sample_rate, padding=info.paddings[0])
    encoder = ClipEncoder(recipe, info, Resources(device="cpu", threads=THREADS))
    assert encoder.encoder is not None
    return encoder


def count_parameters(info: EncoderInfo) -> int:
    """Return the parameters of the encoder alone."""
    from embedx.encoders.checkpoint import load_model
    from embedx.encoders.networks import NETWORKS

    load = NETWORKS[info.model_type].load if info.model_type in NETWORKS else load_model
    return sum(parameter.numel() for parameter in load(info).parameters())


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest relative L2 error of a row."""
    return float((np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max())


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the smallest cosine of a row."""
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    return float(((found * expected).sum(-1) / norms).min())


def draw(found: dict[str, dict[str, Any]], *, small: bool) -> dict[str, Any]:
    """Return the table."""
    columns = ["encoder", "layers x dim", "parameters, M", "x real time: plain loop", "embedx, every layer", "ratio"]
    columns += ["error against transformers", "alone against batched", "default against plain mean, cosine"]
    rows = []
    for name, row in found.items():
        plain, ours = (statistics.median(row[f"{way}_seconds"]) for way in ("plain", "embedx"))
        rows.append(
            [
                name,
                f"{row['layers']} x {row['dim']}",
                f"{row['parameters'] / 1e6:.1f}",
                f"{row['audio_seconds'] / plain:.1f}",
                f"{row['audio_seconds'] / ours:.1f}",
                f"{plain / ours:.2f}",
                f"{row['error_against_transformers']:.0e}",
                f"{row['error_alone_against_batched']:.0e}",
                f"{row['default_against_plain_cosine']:.4f}",
            ]
        )
    note = "Random weights, recordings of 1 to 10 s, two threads, float32."
    return table(columns, rows, note=note + (" Layers of a few numbers: no figures of speed." if small else ""))


if __name__ == "__main__":
    main()
