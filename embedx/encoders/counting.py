"""How many parameters an encoder has, without loading its weights: by what is known or its files' heads."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from embedx.encoders.description import weights_files
from embedx.encoders.hub import cached_checkpoint
from embedx.encoders.resolve import bundled_folder, hash_weights
from embedx.encoders.short_names import BUNDLED, KNOWN
from embedx.errors import EncoderError
from embedx.recipe import Recipe, pinned_revision

__all__ = ["count_parameters"]

_OF_ENCODER = re.compile(
    r"(?:(?!text_|decoder|classifier)\w+\.)?"
    r"(?:masked_spec_embed$|(?:feature_extractor|feature_projection|encoder|embeddings|layer_?norm"
    r"|audio_model|audio_projection|speech_encoder)\.(?!adapter\.))"
)
"""What a checkpoint calls the encoder's own weights; the others are of decoders, heads and quantizers."""

_NO_PARAMETER = re.compile(r"\.(?:running_mean|running_var|num_batches_tracked|\w*_index|position_ids|inv_freq)$")


def count_parameters(recipe: Recipe) -> int | None:
    """Return the parameters of the encoder alone; None where that cannot be said without loading or downloading.

    Parameters
    ----------
    recipe : Recipe
        Names the encoder; what lies on disk is asked only if it is what the recipe was made with.

    Examples
    --------
    >>> count_parameters(Recipe(encoder="MIT/ast-finetuned-audioset-10-10-0.4593", revision="", weights_sha256="",
    ...                         layers=(0,)))
    86187264
    """
    known = next((one for one in KNOWN.values() if one.repo == recipe.encoder), None)
    if known is not None:
        return known.n_parameters
    try:
        folder = _folder_of(recipe)
        if folder is None or hash_weights(folder) != recipe.weights_sha256:
            return None
        return sum(n for path in weights_files(folder) for n in _sizes(path)) or None
    except (EncoderError, OSError):
        return None


def _folder_of(recipe: Recipe) -> Path | None:
    name = recipe.encoder
    if name in BUNDLED:
        return bundled_folder(name)
    if os.path.isdir(name):
        return Path(name)
    cached = cached_checkpoint(name, pinned_revision(recipe.revision)) if name.count("/") == 1 else None
    return None if cached is None else cached[0]


def _sizes(path: Path) -> Iterator[int]:
    """Yield the sizes of the encoder's weights in a file; none of a file in torch's own format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                if _OF_ENCODER.match(name) and not _NO_PARAMETER.search(name):
                    yield math.prod(file.get_slice(name).get_shape())
    except SafetensorError as error:
        raise EncoderError(f"{path} is not in safetensors: {error}") from error
