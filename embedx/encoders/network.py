"""What an encoder with a front end of its own is: clips of one length in, layer after layer out."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model, quiet_transformers
from embedx.errors import EncoderError
from embedx.text import first_line

__all__ = ["BaseNetwork", "Network", "find_class", "make_extractor"]


def make_extractor(info: EncoderInfo) -> Any:
    """Return transformers' own feature extractor with the checkpoint's settings.

    Raises
    ------
    EncoderError
        It cannot be made of these settings.
    """
    import transformers

    try:
        with quiet_transformers():
            return getattr(transformers, info.extractor)(**dict(info.settings))
    except Exception as error:
        why = first_line(error)
        raise EncoderError(f"encoder {info.id!r}: no {info.extractor} can be made of its settings: {why}") from error


class Network(Protocol):
    """An encoder whose first ``n_class_tokens`` places hold class tokens, and the others frames.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    padding : {'none', 'masked', 'pooled'}
        See `Recipe`.
    device : torch.device
        Where it computes.
    model : PreTrainedModel, optional
        transformers' own, where it is loaded already.
    """

    model: Any

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None: ...

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        """Return transformers' own model with the checkpoint's weights, some fields of its config replaced."""

    def prepared(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a clip as the front end takes it."""

    def n_frames(self, n_samples: int) -> int:
        """Return the frames that are pooled of a clip of so many samples."""

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        """Turn clips (B, n), float32, into what the layers take."""

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield what enters the first layer and what leaves each one, (B, T, D)."""


class BaseNetwork:
    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        self.info, self.padding, self.device = info, padding, device
        self.model = (self.load(info) if model is None else model).to(device)

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        return load_model(info, **config)

    def prepared(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return samples


def find_class(family: str, name: str) -> Any:
    """Return a model of transformers that it does not export."""
    return getattr(importlib.import_module(f"transformers.models.{family}.modeling_{family}"), name)
