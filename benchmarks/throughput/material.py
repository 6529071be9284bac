"""What is measured on: an encoder with random weights, clips of real recordings; and CPU time of all processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from embedx.audio.decode import decode

SEED = 0
RATE = 16_000


LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
"""wav2vec2-large, as in XLS-R with 300 million parameters."""


def make_encoder(folder: Path, **config: Any) -> str:
    """Write wav2vec2-base's architecture, or another one, with random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(SEED)
    Wav2Vec2Model(Wav2Vec2Config(mask_time_prob=0.0, **config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


def make_clips(folder: Path, audio: Path, seconds: Any) -> list[Path]:
    """Cut clips of given lengths from real recordings, joined where needed, 44.1 kHz FLAC."""
    folder.mkdir(parents=True)
    recordings = sorted(path for path in audio.rglob("*") if path.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    paths, at = [], 0
    for i, length in enumerate(seconds):
        parts: list[Any] = []
        while sum(map(len, parts)) < length * 44_100:
            parts.append(decode(recordings[at % len(recordings)], sample_rate=44_100))
            at += 1
        paths.append(folder / f"{i:03}.flac")
        soundfile.write(paths[-1], np.concatenate(parts)[: round(length * 44_100)], 44_100)
    return paths


def cpu_seconds() -> float:
    """Return the CPU time of this process and of everything below it, ended or not."""
    return sum(_cpu_seconds_of(pid) for pid in (os.getpid(), *below(os.getpid())))


def below(pid: int) -> list[int]:
    """Return the ids of all processes below one."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += map(int, (thread / "children").read_text().split())
        except OSError:
            continue
    return [*found, *(other for child in found for other in below(child))]


def _cpu_seconds_of(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")  # user and system, its own and of children it reaped
