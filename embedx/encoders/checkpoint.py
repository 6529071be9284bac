"""Weights from a checkpoint as it lies on disk; the only module here that calls transformers."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from embedx.child_process import as_limit
from embedx.encoders.base import EncoderInfo
from embedx.errors import EncoderError, RunnerError

__all__ = ["load_model", "quiet_transformers"]


_EAGER = frozenset({"clap", "clap_audio_model", "sew-d", "wavlm"})
"""Families whose attention transformers computes in one way only."""


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' messages and bars off the screen: what matters is raised as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook the import itself speaks of bars
        from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_model(info: EncoderInfo, *, kind: Any = None, renamed: Mapping[str, str] | None = None, **config: Any) -> Any:
    """Load weights without running anybody's code, and refuse a checkpoint that leaves layers random.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    kind : class, optional
        The model of transformers that is wanted; by the checkpoint's model_type where absent.
    renamed : mapping, optional
        How the checkpoint's names of weights become the model's: pattern and replacement.
    **config
        Fields of the checkpoint's config to replace.

    Returns
    -------
    PreTrainedModel
        transformers' own, in float32.

    Raises
    ------
    EncoderError
        The weights cannot be read or do not fit.
    RunnerError
        The system starts no further thread.
    """
    try:
        with as_limit("what reads the encoder's weights"), quiet_transformers():
            from transformers import AutoModel

            model, report = (kind or AutoModel).from_pretrained(
                info.location,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                attn_implementation="eager" if info.model_type in _EAGER else "sdpa",
                dtype=torch.float32,
                **({} if renamed is None else {"key_mapping": dict(renamed)}),
                **config,
            )
    except RunnerError:  # no thread may be started: not the checkpoint's fault
        raise
    except Exception as error:
        raise EncoderError(f"encoder {info.id!r} cannot be loaded from {info.location}: {_why(error)}") from error
    _require_no_more_layers(info, model, report["unexpected_keys"])
    missing = sorted(key for key in report["missing_keys"] if "masked_spec_embed" not in key)
    if missing:
        raise EncoderError(
            f"encoder {info.id!r}: the checkpoint lacks {len(missing)} weights, such as {missing[0]!r}, "
            "which would stay random. Use a complete checkpoint"
        )
    return model


def _why(error: Exception) -> str:
    """Say in one line what went wrong; never that somebody's code should be allowed to run."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("weights_only" in line or "Weights only load failed" in line for line in lines):
        return (
            "a file of weights holds more than weights (Python objects, which would have to run code), so it is not "
            "read. Use a checkpoint in safetensors"
        )
    return ": ".join(line.rstrip(":") for line in lines[:2])[:400] or type(error).__name__


def _require_no_more_layers(info: EncoderInfo, model: Any, unexpected: Any) -> None:
    """Refuse weights of transformer layers that the config does not count; a head on top is no matter."""
    stack = getattr(model, "layers", getattr(getattr(model, "encoder", None), "layers", None))
    if stack is None:
        return
    n_layers = len(stack)
    pattern = re.compile(r"^(?:.*\bencoder\.)?layers\.(\d+)\.")
    numbers = [int(found[1]) for key in unexpected if (found := pattern.search(key))]
    if numbers and max(numbers) >= n_layers:
        raise EncoderError(
            f"encoder {info.id!r}: the checkpoint holds {max(numbers) + 1} transformer layers, its config.json says "
            f"num_hidden_layers is {n_layers}: correct the one or the other"
        )
