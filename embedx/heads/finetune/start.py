"""Where training begins: the encoder by name, or the one that a recipe names and no other."""

from __future__ import annotations

from embedx.encoders.base import EncoderInfo
from embedx.encoders.catalog import resolve_encoder
from embedx.errors import ParameterError, RecipeMismatchError
from embedx.recipe import Recipe

__all__ = ["find_recorded", "find_start"]


def find_recorded(recipe: Recipe) -> EncoderInfo:
    """Find the encoder that a recipe names.

    Raises
    ------
    EncoderError
        It cannot be had.
    RecipeMismatchError
        What has its name here holds other weights.
    """
    pinned = None if recipe.revision in ("bundled", "local") else recipe.revision
    info = resolve_encoder(recipe.encoder, revision=pinned)
    if info.weights_sha256 != recipe.weights_sha256:
        raise RecipeMismatchError(
            f"encoder {recipe.encoder!r} has other weights here ({info.weights_sha256[:12]}) than the recipe names "
            f"({recipe.weights_sha256[:12]}): use the same checkpoint, or extract again",
            (("weights_sha256", recipe.weights_sha256, info.weights_sha256),),
        )
    return info


def find_start(encoder: str, *, window_seconds: float) -> tuple[EncoderInfo, Recipe]:
    """Find an encoder by name, and write the recipe of a training that begins from it.

    Raises
    ------
    EncoderError
        There is no such encoder.
    ParameterError
        A window that is no number of seconds.
    """
    if not isinstance(window_seconds, int | float) or not 0.05 <= window_seconds <= 3600:
        raise ParameterError(f"window_seconds={window_seconds!r}: a number from 0.05 to 3600 is needed")
    info = resolve_encoder(encoder)
    recipe = Recipe(
        encoder=info.id,
        revision=info.revision,
        weights_sha256=info.weights_sha256,
        layers=(info.n_layers - 1,),
        window_seconds=float(window_seconds),
        hop_seconds=float(window_seconds),
        min_tail_seconds=min(1.0, window_seconds / 2),
        sample_rate=info.sample_rate,
        normalize=info.normalize,
    )
    return info, recipe
