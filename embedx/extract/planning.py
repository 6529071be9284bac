"""Options, an encoder and what a store has recorded become one recipe."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any

from embedx.audio.decode import DECODER, RESAMPLER
from embedx.audio.loader import parse_offset
from embedx.encoders.base import EncoderInfo
from embedx.encoders.device import DTYPES, choose_compute_dtype, choose_devices
from embedx.encoders.frame_pooling import require_pooling
from embedx.encoders.resolve import DEFAULT_ENCODER, resolve_encoder
from embedx.encoders.short_names import full_name
from embedx.errors import ParameterError, unknown_name
from embedx.manifest import Manifest
from embedx.recipe import PADDINGS, POOLINGS, WINDOW_SECONDS, Recipe, Resources, pinned_revision

__all__ = ["OPTIONS", "RecipePlan", "parse_layers", "require_places"]

OPTIONS = (
    "layers",
    "pooling",
    "padding",
    "window_seconds",
    "hop_seconds",
    "min_tail_seconds",
    "offset",
    "max_seconds",
    "compute_dtype",
    "store_dtype",
)
"""Recipe fields that a caller may choose; the others follow from the encoder and from embedx."""

_LEAST_HOP_SECONDS = 0.02

SECONDS = frozenset({"window_seconds", "hop_seconds", "min_tail_seconds", "max_seconds"})


class RecipePlan:
    """The recipe of a run, and the encoder when it is needed.

    Parameters
    ----------
    options : mapping
        Recipe fields by name; None stands for "not given".
    encoder, revision : str or None
        None takes the recorded ones, else `DEFAULT_ENCODER`.
    recorded : Recipe or None
        What the store holds: adopted wherever nothing else was asked for.
    resources : Resources
        Where it will be computed; decides ``compute_dtype="auto"``.
    info : EncoderInfo, optional
        The encoder, where it was looked up before.

    Raises
    ------
    ParameterError
        An option is unknown or outside its allowed values.
    EncoderError
        The encoder cannot be had.
    RecipeMismatchError
        Something was asked for that differs from what is recorded.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        encoder: str | None = None,
        revision: str | None = None,
        recorded: Recipe | None = None,
        resources: Resources = Resources(),  # noqa: B008
        info: EncoderInfo | None = None,
    ) -> None:
        self.recorded, self.resources = recorded, resources
        if info is not None:
            self.__dict__["info"] = info
        self._given = _plain({key: value for key, value in options.items() if value is not None})
        self._encoder, self._revision = _named(encoder), revision
        _check_options(self._given)

    @functools.cached_property
    def info(self) -> EncoderInfo:
        """The encoder; looked up when it is first needed."""
        recorded = self.recorded
        name, revision = self._encoder, self._revision
        if recorded is not None and name in (None, recorded.encoder):
            name, revision = recorded.encoder, revision or pinned_revision(recorded.revision)
        info = resolve_encoder(DEFAULT_ENCODER if name is None else name, revision=revision)
        is_followed = recorded is not None and self._encoder is None and self._revision is None
        if recorded is not None and is_followed and info.revision == "local":  # what a folder holds may have changed
            found = recorded.replace(weights_sha256=info.weights_sha256, frontend=info.frontend)
            recorded.require_same(found, where=f"what encoder {name!r} embedded", advice="Use the same checkpoint")
        return info

    @functools.cached_property
    def recipe(self) -> Recipe:
        """What to compute; equal to the recorded recipe where there is one, but for ``compute_dtype``."""
        recorded = self.recorded
        if recorded is not None and self._encoder is None and self._revision is None:
            return self._with_options(recorded)
        return self._with_options(self._base())

    def require_recorded(self, where: str, advice: str) -> None:
        """Refuse options that differ from what is recorded, if anything is.

        Raises
        ------
        RecipeMismatchError
            With every field that differs.
        """
        if self.recorded is not None:
            self.recorded.require_same(self.recipe, where=where, advice=advice)

    def _base(self) -> Recipe:
        info = self.info
        facts: dict[str, Any] = {
            "encoder": info.id,
            "revision": info.revision,
            "weights_sha256": info.weights_sha256,
            "sample_rate": info.sample_rate,
            "normalize": info.normalize,
            "frontend": info.frontend,
            "decoder": DECODER,
            "resampler": RESAMPLER,
        }
        if self.recorded is not None:
            return self.recorded.replace(**facts)
        seconds = min(WINDOW_SECONDS, info.native_seconds or WINDOW_SECONDS)
        return Recipe(
            **facts,
            layers=tuple(range(info.n_layers)),
            padding=info.paddings[0],
            window_seconds=seconds,
            hop_seconds=seconds,
        )

    def _require_a_frame(self, recipe: Recipe) -> None:
        """Refuse windows of which each clip's would be too short."""
        need = self.info.min_samples / recipe.sample_rate
        for name in ("window_seconds", "max_seconds"):
            value = getattr(recipe, name)
            if value is not None and value < need:
                samples = self.info.min_samples
                raise ParameterError(
                    f"{name} is {value:g}: one frame of {self.info.id} takes {need:g} s ({samples} samples)"
                )

    def _require_native(self, recipe: Recipe) -> None:
        """Refuse what this encoder cannot do: longer windows than it takes, a padding or a pooling that it lacks."""
        info = self.info
        if info.native_seconds is not None and recipe.window_seconds > info.native_seconds:
            raise ParameterError(
                f"window_seconds is {recipe.window_seconds:g}: {info.id} takes at most {info.native_seconds:g} s at a "
                "time; longer clips are cut into windows"
            )
        if recipe.padding not in info.paddings:
            raise ParameterError(f"padding {recipe.padding!r}: {info.id} allows {', '.join(info.paddings)}")
        require_pooling(recipe.pooling, n_class_tokens=info.n_class_tokens)

    def _with_options(self, base: Recipe) -> Recipe:
        options = dict(self._given)
        if "layers" in options:
            options["layers"] = parse_layers(options["layers"], self.info.n_layers)
        if "window_seconds" in options and "hop_seconds" not in options and self.recorded is None:
            options["hop_seconds"] = options["window_seconds"]
        dtype = options.pop("compute_dtype", None)
        devices = choose_devices(self.resources.device, self.resources.devices)
        if dtype is None and self.recorded is not None and self.recorded.compute_dtype == "float32":
            dtype = "float32"  # any device computes it, so rows stay comparable to the last digit
        recipe = base.replace(**options, compute_dtype=choose_compute_dtype(dtype or "auto", *devices))
        if self.recorded is None:
            self._require_a_frame(recipe)
            self._require_native(recipe)
        return recipe


def parse_layers(layers: object, n_layers: int) -> tuple[int, ...]:
    """Turn ``"all"``, ``"0,6,-1"`` or a sequence of numbers into layer numbers in rising order.

    Parameters
    ----------
    layers : str, int or sequence of int
        Negative numbers count from the last layer.
    n_layers : int
        Layers that the encoder has, layer 0 included.

    Raises
    ------
    ParameterError
        No number, or a layer that does not exist.

    Examples
    --------
    >>> parse_layers("0,6,-1", 13), parse_layers("all", 3)
    ((0, 6, 12), (0, 1, 2))
    """
    if isinstance(layers, str) and layers == "all":
        return tuple(range(n_layers))
    try:
        if isinstance(layers, str):
            numbers = [int(word) for word in layers.split(",")]
        else:
            numbers = [_whole(word) for word in (layers if isinstance(layers, Iterable) else [layers])]
    except (TypeError, ValueError):
        raise ParameterError(f"layers {layers!r}: give 'all' or numbers such as 0,6,12") from None
    wrong = [number for number in numbers if not -n_layers <= number < n_layers]
    if wrong or not numbers:
        what = f"layer {wrong[0]} does not exist" if wrong else "no layer was named"
        raise ParameterError(f"layers {layers!r}: {what}; the encoder has layers 0 to {n_layers - 1}")
    return tuple(sorted({number % n_layers for number in numbers}))


def require_places(manifest: object, output: str | os.PathLike[str]) -> None:
    """Refuse what is no manifest, and an output that can be no file.

    Raises
    ------
    ParameterError
        With what to give instead.
    """
    if not isinstance(manifest, Manifest):
        kind = type(manifest).__name__
        raise ParameterError(
            f"the manifest is a {kind}: give read_manifest(FOLDER_OR_CSV) or Manifest.from_paths(PATHS)"
        )
    for source in manifest:
        start, stop = source.start_seconds, source.stop_seconds
        if not (0 <= start < float("inf") and (stop is None or start < stop)):
            times = f"start_seconds is {start!r}, stop_seconds is {stop!r}"
            raise ParameterError(f"{source.uri}: {times}: give 0 or more, and a later stop (None is the file's end)")
    if not os.fspath(output):
        raise ParameterError("no output was named (an empty text): give the path of an HDF5 file, such as emb.h5")
    if os.path.isdir(output):
        raise ParameterError(f"output {os.fspath(output)!r} is a folder: give the path of an HDF5 file, such as emb.h5")


def _whole(number: object) -> int:
    """Return an integer, numpy's among them; 1.7 and True name no layer."""
    if isinstance(number, bool):
        raise TypeError
    return operator.index(number)  # type: ignore[arg-type]


def _named(encoder: object) -> str | None:
    """Return an encoder's name; a path will do."""
    if encoder is None or isinstance(encoder, str):
        return None if encoder is None else full_name(encoder)
    if isinstance(encoder, os.PathLike):
        return os.fsdecode(encoder)
    raise ParameterError(f"encoder {encoder!r}: give 'tiny', a folder or a hub id as text")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as a recipe records them: seconds as numbers, the offset as text, whatever was given."""
    plain = dict(options)
    for name in SECONDS & plain.keys():
        try:
            plain[name] = float(plain[name])
        except (TypeError, ValueError):
            raise ParameterError(f"{name} is {plain[name]!r}: give a number of seconds") from None
    if "offset" in plain and not isinstance(plain["offset"], str):
        plain["offset"] = f"{plain['offset']}"
    return plain


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            raise ParameterError(unknown_name("option", name, OPTIONS))
    for name in ("window_seconds", "hop_seconds", "max_seconds"):
        if name in options and not 0 < options[name] < float("inf"):
            raise ParameterError(f"{name} is {options[name]!r}: give seconds above 0")
    if options.get("hop_seconds", 1) < _LEAST_HOP_SECONDS:
        least = f"{_LEAST_HOP_SECONDS:g} or more, the distance of two frames"
        raise ParameterError(f"hop_seconds is {options['hop_seconds']:g}: give {least}")
    if not 0 <= options.get("min_tail_seconds", 0) < float("inf"):
        raise ParameterError(f"min_tail_seconds is {options['min_tail_seconds']!r}: give seconds, 0 or more")
    parse_offset(options.get("offset", "start"))
    choices = {
        "pooling": tuple(POOLINGS),
        "padding": PADDINGS,
        "store_dtype": DTYPES[::2],
        "compute_dtype": ("auto", *DTYPES),
    }
    for name, allowed in choices.items():
        if options.get(name, allowed[0]) not in allowed:
            raise ParameterError(unknown_name(name, str(options[name]), allowed))
