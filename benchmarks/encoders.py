"""The encoders that a benchmark is asked for by name, random weights included, and whether they can be had here."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.quality.tasks import NotRun
from embedx.encoders.resolve import BUNDLED, resolve_encoder
from embedx.errors import EmbedxError

__all__ = ["RANDOM", "Chosen", "choose_encoder", "describe_unknown"]

RANDOM = {
    "tiny-random": "the bundled encoder's architecture, random weights",
    "base-random": "wav2vec2-base's architecture, random weights",
}
SEED = 0


@dataclass(frozen=True)
class Chosen:
    """An encoder that is here: its name in tables, what embedx is given, and its weights' hash."""

    name: str
    location: str
    weights_sha256: str

    @property
    def is_random(self) -> bool:
        """Whether nothing was ever learned into its weights."""
        return self.name in RANDOM


@cache
def choose_encoder(name: str, work: Path) -> Chosen:
    """Return an encoder by ``tiny``, ``tiny-random``, ``base-random``, a folder or a hub id.

    Parameters
    ----------
    name : str
        As above; random weights are written below ``work`` once.
    work : path
        The run's folder.

    Raises
    ------
    NotRun
        It is not on this machine and cannot be fetched.
    """
    location = str(_make_random(name, work / "encoders" / name)) if name in RANDOM else name
    try:
        info = resolve_encoder(location)
    except (EmbedxError, OSError) as error:
        raise NotRun(f"encoder {name} cannot be had here: {str(error).splitlines()[0]}") from error
    return Chosen(Path(name).name if os.path.isdir(name) else name, location, info.weights_sha256)


def describe_unknown(name: str) -> str | None:
    """Return what is wrong with a name that can be no encoder anywhere; None when it may be one."""
    known = (*BUNDLED, *RANDOM)
    if name in known or os.path.isdir(name) or ("/" in name and not name.startswith((".", "/"))):
        return None
    return f"encoder {name!r}: give {', '.join(known)}, a folder that is there, or a hub id (owner/name)"


def _make_random(name: str, folder: Path) -> Path:
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
    from transformers.utils import logging

    from benchmarks.training.architecture import fresh_model

    torch.manual_seed(SEED)
    model = fresh_model(SEED) if name == "tiny-random" else Wav2Vec2Model(Wav2Vec2Config(mask_time_prob=0.0))
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    logging.disable_progress_bar()
    model.save_pretrained(part)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(part)
    with suppress(OSError):  # another run was faster
        os.replace(part, folder)
    return folder
