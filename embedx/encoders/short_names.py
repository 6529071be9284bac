"""Encoders that have a short name here, and what others published of them, so that one can be chosen before a download.

Scores are linear probes of the last layer from MAEB (El Assadi et al., 2026, arXiv 2602.16008), in percent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ADVICE", "BUNDLED", "KNOWN", "SOURCE", "TASKS", "KnownEncoder", "full_name"]

BUNDLED = ("tiny",)
"""Encoders that are in the package."""

SOURCE = "MAEB (El Assadi et al., 2026, arXiv 2602.16008): linear probes of the last layer, percent"
TASKS = ("ESC-50", "GTZAN", "FSDD", "Speech Commands", "CREMA-D", "VoxLingua10")

ADVICE = (
    "environmental sounds: clap or ast; music: ast, then clap or whisper-small; spoken words: wavlm-base or "
    "hubert-base; emotion and languages: whisper-small"
)
"""Which of them suits which sounds, by the scores below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEncoder:
    """An encoder with a short name.

    Parameters
    ----------
    repo : str
        Hub id.
    family : str
        transformers' ``model_type``.
    licence : str
        As its card or repository says.
    n_layers, dim, sample_rate : int
        As in `EncoderInfo`.
    native_seconds : float or None
        As in `EncoderInfo`.
    n_parameters : int
        Of the encoder alone, counted from the architecture.
    sounds : str
        What it was trained on.
    scores : mapping of str to float
        Published, by task of `TASKS`; empty where our source has none.
    """

    repo: str
    family: str
    licence: str
    n_layers: int
    dim: int
    n_parameters: int
    sounds: str
    sample_rate: int = 16_000
    native_seconds: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def _scores(*values: float) -> dict[str, float]:
    return dict(zip(TASKS, values, strict=True))


KNOWN = {
    "wav2vec2-base": KnownEncoder(
        repo="facebook/wav2vec2-base",
        family="wav2vec2",
        licence="Apache-2.0",
        n_layers=13,
        dim=768,
        n_parameters=94_371_712,
        sounds="English speech",
        scores=_scores(46.9, 62.4, 54.8, 40.4, 38.0, 24.9),
    ),
    "hubert-base": KnownEncoder(
        repo="facebook/hubert-base-ls960",
        family="hubert",
        licence="Apache-2.0",
        n_layers=13,
        dim=768,
        n_parameters=94_371_712,
        sounds="English speech",
        scores=_scores(59.4, 69.0, 93.7, 79.6, 40.5, 35.3),
    ),
    "wavlm-base": KnownEncoder(
        repo="microsoft/wavlm-base",
        family="wavlm",
        licence="CC BY-SA 3.0",
        n_layers=13,
        dim=768,
        n_parameters=94_381_936,
        sounds="English speech",
        scores=_scores(50.4, 63.0, 96.4, 83.2, 40.1, 39.9),
    ),
    "wavlm-large": KnownEncoder(
        repo="microsoft/wavlm-large",
        family="wavlm",
        licence="CC BY-SA 3.0",
        n_layers=25,
        dim=1_024,
        n_parameters=315_453_120,
        sounds="English speech",
    ),
    "w2v-bert": KnownEncoder(
        repo="facebook/w2v-bert-2.0",
        family="wav2vec2-bert",
        licence="MIT",
        n_layers=25,
        dim=1_024,
        n_parameters=580_493_120,
        sounds="speech in 143 languages",
    ),
    "whisper-small": KnownEncoder(
        repo="openai/whisper-small",
        family="whisper",
        licence="Apache-2.0",
        n_layers=13,
        dim=768,
        n_parameters=88_154_112,
        sounds="speech in 99 languages, with what is around it",
        native_seconds=30.0,
        scores=_scores(77.3, 71.5, 91.5, 73.8, 49.2, 93.4),
    ),
    "ast": KnownEncoder(
        repo="MIT/ast-finetuned-audioset-10-10-0.4593",
        family="audio-spectrogram-transformer",
        licence="BSD-3-Clause",
        n_layers=14,
        dim=768,
        n_parameters=86_187_264,
        sounds="AudioSet: sounds of every kind",
        native_seconds=10.24,
        scores=_scores(96.2, 80.7, 64.3, 24.3, 37.8, 20.0),
    ),
    "clap": KnownEncoder(
        repo="laion/clap-htsat-unfused",
        family="clap",
        licence="Apache-2.0",
        n_layers=7,
        dim=768,
        n_parameters=28_190_872,
        sounds="sounds of every kind, with captions",
        sample_rate=48_000,
        native_seconds=10.0,
        scores=_scores(97.0, 74.9, 49.3, 23.3, 37.6, 16.5),
    ),
}
"""By short name. Beside ``clap`` stand the scores of "CLAP" in the source, which may be another of its checkpoints."""


def full_name(name: str) -> str:
    """Return the hub id that a short name stands for; what is a folder, or no short name, stays as it is.

    Examples
    --------
    >>> full_name("ast"), full_name("tiny")
    ('MIT/ast-finetuned-audioset-10-10-0.4593', 'tiny')
    """
    return KNOWN[name].repo if name in KNOWN and not os.path.isdir(name) else name
