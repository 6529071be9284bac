"""Every frame of a clip with its time, encoded in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.clip_parts import clip_parts
from embedx.audio.loader import ClipEnd, ClipRequest, ClipWindow
from embedx.encoders.base import Encoder
from embedx.encoders.device import torch_threads
from embedx.errors import ClipTooShortError, DecodeError
from embedx.extract.in_process import decoders, loaded_encoder, n_threads_here, plan_again
from embedx.extract.planning import RecipePlan

__all__ = ["clip_frames"]


def clip_frames(
    clips: Any, sampling_rate: int | None = None, **choices: Any
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Yield the frames of the windows of one clip, in order.

    Parameters
    ----------
    clips, sampling_rate
        As in `clip_parts`: one clip, or a list of one.
    **choices
        Encoder, options and resources, as in `embed_parts`.

    Yields
    ------
    frames : ndarray of shape (T, L * D), float32
        Layer after layer.
    seconds : ndarray of shape (T,), float64
        The middle of what each frame is computed from, in seconds of the clip.

    Raises
    ------
    DecodeError, ClipTooShortError
        The clip cannot be used.
    """
    names = ("encoder", "revision", "recorded", "resources")
    plan = plan_again(
        {name: value for name, value in choices.items() if name not in names},
        **{name: choices[name] for name in names if name in choices},
    )
    for part in clip_parts(clips, sampling_rate):
        source = part.manifest[0]
        try:
            yield from _windows(str(part.manifest.path_of(source)), plan)
        except (DecodeError, ClipTooShortError) as error:
            raise type(error)(part.told(source, str(error)), part.called(source)) from error


def _windows(path: str, plan: RecipePlan) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    request = ClipRequest.from_recipe(path, plan.recipe.replace(min_tail_seconds=0.0))
    n_given = n_samples = 0
    with decoders(plan.resources) as pool:
        events = pool.load([request])
        encoder = loaded_encoder(plan.recipe, plan.info, plan.resources)
        for _, event in events:
            if isinstance(event, ClipEnd) and event.reason:
                raise DecodeError(event.message)
            if isinstance(event, ClipWindow):
                n_samples = len(event.samples)
                if n_samples >= encoder.min_samples:
                    n_given += 1
                    with torch_threads(n_threads_here(plan.resources)):
                        found = _frames(encoder, event, path)
                    yield found
    if not n_given:
        least = f"one frame of {plan.recipe.encoder}, {encoder.min_samples} samples"
        raise ClipTooShortError(f"{path}: {n_samples} samples are less than {least}")


def _frames(encoder: Encoder, window: ClipWindow, path: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    found = encoder.encode([window.samples])
    n = found.n_frames[0]
    layers = [layer[0, :n].float().cpu().numpy() for layer in found.layers]
    values: NDArray[np.float32] = np.concatenate(layers, axis=1)
    if not np.isfinite(values).all():
        raise DecodeError(f"{path}: NaN or infinity in the audio or in the encoder's output")
    rate = encoder.sample_rate
    within = np.arange(n, dtype=np.float64) * encoder.hop_seconds + encoder.min_samples / (2 * rate)
    real = within < len(window.samples) / rate  # an encoder may give frames of what was filled in behind the clip
    return values[real], within[real] + window.start_seconds
