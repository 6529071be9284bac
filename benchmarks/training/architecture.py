"""The shape of the bundled encoder, and the one way it is written to disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

CHECKPOINT = Path(__file__).parents[2] / "embedx" / "assets" / "tiny"
RANDOM_NOTE = "random weights: nothing was learned yet, for tests of the plumbing only"
DEMONSTRATION_NOTE = (
    "demonstration encoder: learned from four hours of audio, most of it synthesised; for trials and tests, no "
    "wav2vec2-base"
)


def tiny_config(note: str) -> Wav2Vec2Config:
    """Describe wav2vec2-base (Baevski et al. 2020) at a fortieth of its size: same kernels, strides and norms.

    `dtype` is float32 although the file holds float16: plain `AutoModel.from_pretrained` then widens the weights.
    """
    return Wav2Vec2Config(
        conv_dim=(128,) * 7,
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
        conv_bias=False,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=768,
        layerdrop=0.0,
        vocab_size=32,
        architectures=["Wav2Vec2Model"],
        dtype="float32",
        embedx_note=note,
    )


def fresh_model(seed: int) -> Wav2Vec2Model:
    """Build the encoder with random weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    return Wav2Vec2Model(tiny_config(RANDOM_NOTE))


def export_checkpoint(state: dict[str, torch.Tensor], folder: Path, *, note: str) -> None:
    """Write config.json, preprocessor_config.json and model.safetensors (float16) into `folder`."""
    model = Wav2Vec2Model(tiny_config(note))
    model.load_state_dict(state)
    model.half().save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=True, return_attention_mask=False)
    extractor.save_pretrained(folder)
    _widen_when_loaded(folder / "config.json")
    (folder / "model.safetensors").chmod(0o644)


def _widen_when_loaded(path: Path) -> None:
    config = json.loads(path.read_text())
    config["dtype"] = "float32"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    os.replace(part, path)
