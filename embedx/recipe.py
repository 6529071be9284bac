"""The recipe: everything that changes the numbers of an embedding, and nothing that does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from embedx.errors import ParameterError, RecipeMismatchError
from embedx.text import as_html

__all__ = ["PADDINGS", "POOLINGS", "PREPROCESSING_VERSION", "WINDOW_SECONDS", "Recipe", "Resources", "pinned_revision"]

PREPROCESSING_VERSION = 1
"""Raised whenever decoding, windowing, normalisation or pooling of embedx gives other numbers."""

POOLINGS = {"mean": 1, "mean+std": 2, "max": 1, "mean+max": 2, "cls": 1}
"""How frames become one vector, and how many times the width of a layer that vector has."""

PADDINGS = ("none", "masked", "pooled")
"""What stands behind a window that is shorter than what the encoder was trained on; see `Recipe`."""

WINDOW_SECONDS = 10.0
"""Into what a longer clip is cut, unless told otherwise."""

_NOT_IN_FINGERPRINT = frozenset({"compute_dtype"})
_ADDED = {"padding": "none", "frontend": "waveform"}
"""Fields that came later, with what held before: left out where they say just that, so that old stores stay valid."""


def pinned_revision(revision: str) -> str | None:
    """Return the commit of the hub that a recorded revision names; None for what lies in the package or in a folder.

    Examples
    --------
    >>> pinned_revision("0b5b8e868dd84f03"), pinned_revision("bundled")
    ('0b5b8e868dd84f03', None)
    """
    return None if revision in ("bundled", "local") else revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that changes an embedding: a store and a model carry theirs, and refuse any other.

    ``compute_dtype`` is recorded but left out of the fingerprint: bf16 and fp32 rows of one recipe
    are comparable within the tolerance that the extraction tests hold, so another dtype warns.
    Anything that only changes speed lives in `Resources`.

    Parameters
    ----------
    encoder : str
        Hub id, folder name or the name of a bundled encoder.
    revision : str
        Commit that the hub id was resolved to; ``"local"`` for a folder, ``"bundled"`` for package data.
    weights_sha256 : str
        Hash of the weights file(s).
    layers : tuple of int
        Layers that are kept; 0 is the input of the first transformer layer, as in transformers.
    pooling : {'mean', 'mean+std', 'max', 'mean+max', 'cls'}
        Statistics over the real frames of a window; ``cls`` is the encoder's class token, which no other has in it.
    padding : {'none', 'masked', 'pooled'}
        ``none``: the window alone. ``masked``: filled up to the encoder's native length as its own feature extractor
        does, and pooled over the real frames. ``pooled``: the same, and what was filled in is pooled, too, as a plain
        call of the model does.
    frontend : str
        ``"waveform"``, or the spectrogram that the encoder reads and a hash of its settings.
    window_seconds, hop_seconds : float
        Length and distance of the windows that a clip is cut into, in seconds.
    min_tail_seconds : float
        A last window shorter than this is dropped, unless it is the only one. Seconds.
    offset : str
        Where in the file reading starts: ``"start"``, ``"middle"`` or a number of seconds as text.
    max_seconds : float or None
        At most so many seconds of a clip are used.
    sample_rate : int
        Hertz.
    mixdown : str
        How several channels become one.
    resampler, decoder : str
        Name and version of our procedure around the library (the library's own version is
        recorded per store in ``/environments``).
    normalize : bool
        Zero mean and unit variance per window over its real samples, as the checkpoint's preprocessor says.
    compute_dtype, store_dtype : {'float32', 'bfloat16', 'float16'}
        What the encoder computes in, and what the store keeps.
    preprocessing_version : int
        `PREPROCESSING_VERSION` at the time of the extraction.

    Examples
    --------
    >>> recipe = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=(0, 1))
    >>> recipe.diff(recipe.replace(hop_seconds=5.0))
    (('hop_seconds', 10.0, 5.0),)
    >>> recipe.fingerprint() == recipe.replace(compute_dtype="bfloat16").fingerprint()
    True
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    """

    encoder: str
    revision: str
    weights_sha256: str
    layers: tuple[int, ...]
    pooling: str = "mean"
    padding: str = "none"
    frontend: str = "waveform"
    window_seconds: float = WINDOW_SECONDS
    hop_seconds: float = WINDOW_SECONDS
    min_tail_seconds: float = 1.0
    offset: str = "start"
    max_seconds: float | None = None
    sample_rate: int = 16_000
    mixdown: str = "mean"
    resampler: str = "swr:1"
    decoder: str = "pyav:1"
    normalize: bool = True
    compute_dtype: str = "float32"
    store_dtype: str = "float16"
    preprocessing_version: int = PREPROCESSING_VERSION

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(f"Recipe {self.fingerprint()[:12]}", asdict(self).items())

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that are equal exactly for recipes that give the same numbers."""
        return hashlib.sha256(json.dumps(_without_defaults(self._identity()), sort_keys=True).encode()).hexdigest()

    def diff(self, other: Recipe) -> tuple[tuple[str, Any, Any], ...]:
        """Return ``(field, mine, other's)`` for every field that changes the numbers and differs."""
        mine, theirs = self._identity(), other._identity()
        return tuple((name, mine[name], theirs[name]) for name in mine if mine[name] != theirs[name])

    def require_same(self, other: Recipe, *, where: str, advice: str) -> None:
        """Refuse another recipe.

        Parameters
        ----------
        other : Recipe
            What was asked for; ``self`` is what is recorded.
        where : str
            What holds the recorded recipe, for the message.
        advice : str
            The ways on, for the message.

        Raises
        ------
        RecipeMismatchError
            With every field that differs and both values.
        """
        differences = self.diff(other)
        if differences:
            listed = "; ".join(f"{name}: recorded {mine!r}, asked {theirs!r}" for name, mine, theirs in differences)
            raise RecipeMismatchError(f"{where} was made by another recipe ({listed}). {advice}", differences)

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed."""
        return Recipe(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **changes})

    def to_json(self) -> str:
        """Return the recipe as one JSON object, keys sorted."""
        return json.dumps(_without_defaults(asdict(self)), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is no JSON object with exactly a recipe's fields and types.
        """
        record = json.loads(text)
        if not isinstance(record, Mapping):
            raise ValueError("a recipe is a JSON object")
        known = {f.name for f in fields(cls)}
        if not known - _ADDED.keys() <= set(record) <= known:
            raise ValueError(f"a recipe has the fields {sorted(known)}, not {sorted(record)}")
        if not isinstance(record["layers"], list):
            raise ValueError("a recipe's layers are a list of numbers")
        values = {**record, "layers": tuple(record["layers"])}
        recipe = cls(**values)
        recipe._check_types()
        return recipe

    def _identity(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key not in _NOT_IN_FINGERPRINT}

    def _check_types(self) -> None:
        texts = ("encoder", "revision", "weights_sha256", "pooling", "offset", "mixdown", "resampler", "decoder")
        numbers = ("window_seconds", "hop_seconds", "min_tail_seconds", "sample_rate", "preprocessing_version")
        good = (
            all(isinstance(getattr(self, name), str) for name in (*texts, *_ADDED, "compute_dtype", "store_dtype"))
            and all(type(getattr(self, name)) in (int, float) for name in numbers)
            and all(type(layer) is int and layer >= 0 for layer in self.layers)
            and type(self.normalize) is bool
            and (self.max_seconds is None or type(self.max_seconds) in (int, float))
        )
        if not good:
            raise ValueError("a recipe field has a wrong type")


def _without_defaults(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _ADDED or value != _ADDED[key]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What an extraction may use: changes speed, never a number, and is in no fingerprint.

    Parameters
    ----------
    device : str
        ``"auto"`` (every visible GPU, or the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    batch_seconds : float
        Padded seconds of audio in one batch.
    workers : int, optional
        Decoding workers of each encoder process; 0 decodes in the encoder's own process. None takes one for every
        four cores (at least 2) on a CPU and what a GPU can eat, as far as there are cores.
    threads : int
        Threads of the encoder on a CPU; 0 leaves torch's choice.
    devices : tuple of str
        Devices that work beside each other, a process each; empty follows ``device``.
    compile : bool
        Let torch compile the layers: minutes at the start, then faster. Numbers stay within the tolerance that
        is stated for the compute dtype.
    silence_timeout_seconds : float, optional
        An encoder process that gives no sign of life for so long, though it has work, is killed as one that hangs;
        until its weights are loaded it may take three times as long. Signs are windows that are done and, while it
        waits for audio, decoders that get on. None takes 600 s, 20 s more for each second of window, and 20 minutes
        more with ``compile``. Local engine only: on a cluster `ClusterOptions.unit_timeout_seconds` limits a unit.

    Raises
    ------
    ParameterError
        A number that no machine can honour.

    Examples
    --------
    >>> Resources(silence_timeout_seconds=0)
    Traceback (most recent call last):
    embedx.errors.ParameterError: silence_timeout_seconds is 0: give seconds above 0
    """

    device: str = "auto"
    batch_seconds: float = 120.0
    workers: int | None = None
    threads: int = 0
    devices: tuple[str, ...] = ()
    compile: bool = False
    silence_timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_seconds", "silence_timeout_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ParameterError(f"{name} is {value!r}: give seconds above 0")
        for name in ("workers", "threads"):
            if (getattr(self, name) or 0) < 0:
                raise ParameterError(f"{name} is {getattr(self, name)!r}: give 0 or more")
