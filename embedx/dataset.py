"""One order for everything that is learned from: X, control, y, groups, split, sources."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedx.errors import DatasetError, SkippedSourcesWarning
from embedx.manifest import Source
from embedx.recipe import Recipe

__all__ = ["Dataset"]


class _Eater(Protocol):
    @property
    def eats(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """Clips with their embeddings and labels, all in one order.

    Parameters
    ----------
    X : ndarray of shape (n, L * D)
        Layer after layer, in the dtype of the store (heads ask for float32 themselves).
    control : ndarray of shape (n, 128), float32
        Log-mel statistics.
    sources : tuple of Source
        The clips.
    recipe : Recipe
        What the embeddings were made by; its ``layers`` name the L layers.
    root : str
        Folder that relative uris are relative to.
    seconds : ndarray of shape (n,), float64
        Audio that was embedded, per clip, in seconds.
    hashes : ndarray of shape (n, 32), uint8
        sha256 of each clip's file.
    """

    X: NDArray[Any]
    control: NDArray[np.float32]
    sources: tuple[Source, ...]
    recipe: Recipe
    root: str
    seconds: NDArray[np.float64]
    hashes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        labels = "no labels" if self.y is None else f"{len(np.unique(self.y))} classes"
        shape = f"{len(self)} clips, {self.n_layers} layers x {self.dim}"
        return f"Dataset({shape}, {labels}, encoder={self.recipe.encoder!r})"

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the L layers, as transformers counts them."""
        return self.recipe.layers

    @property
    def n_layers(self) -> int:
        """Number L of layers."""
        return len(self.recipe.layers)

    @property
    def dim(self) -> int:
        """Width D of a layer (twice the encoder's for ``mean+std``)."""
        return int(self.X.shape[1]) // self.n_layers

    @property
    def y(self) -> NDArray[np.str_] | None:
        """Labels (n,), or None unless every clip has one."""
        return self._column("label")

    @property
    def groups(self) -> NDArray[np.str_] | None:
        """Groups (n,), or None when no clip has one; a clip without a group is a group of its own."""
        if all(source.group is None for source in self.sources):
            return None
        return np.array([f"clip:{s.id}" if s.group is None else s.group for s in self.sources])

    @property
    def split(self) -> NDArray[np.str_] | None:
        """Predefined parts or folds (n,), or None unless every clip has one."""
        return self._column("split")

    def _column(self, name: str) -> NDArray[np.str_] | None:
        values = [getattr(source, name) for source in self.sources]
        return None if not values or None in values else np.array(values)

    def take(self, indices: NDArray[np.intp] | Sequence[int]) -> Dataset:
        """Return some of the clips, in the given order."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return replace(
            self,
            X=self.X[chosen],
            control=self.control[chosen],
            sources=tuple(self.sources[i] for i in chosen),
            seconds=self.seconds[chosen],
            hashes=self.hashes[chosen],
        )

    def with_sources(self, sources: Sequence[Source]) -> Dataset:
        """Return the same clips with other labels, groups or splits (same keys, same order)."""
        if [s.key for s in sources] != [s.key for s in self.sources]:
            raise DatasetError("the sources are not the same clips in the same order")
        return replace(self, sources=tuple(sources))

    def inputs_for(self, head: _Eater) -> Any:
        """Return what a head eats: the only place where heads on audio and on embeddings differ.

        Returns
        -------
        ndarray of shape (n, L * D), ndarray of shape (n, 128) or ndarray of shape (n,) of absolute paths' Sources
        """
        if head.eats == "embeddings":
            return self.X
        if head.eats == "control":
            return self.control
        inputs = np.empty(len(self), dtype=object)
        inputs[:] = self.sources
        return inputs

    def labelled(self) -> Dataset:
        """Return the clips that have a label, with a warning when some have none.

        Raises
        ------
        DatasetError
            No clip has a label.
        """
        known = np.array([source.label is not None for source in self.sources], dtype=bool)
        if not known.any():
            raise DatasetError(
                f"none of the {len(self)} clips has a label: extract from a folder with a subfolder for each class, "
                "or give a CSV with labels (--labels clips.csv)"
            )
        if not known.all():
            n = int((~known).sum())
            warnings.warn(
                f"{n} of {len(self)} clips have no label and are left out", SkippedSourcesWarning, stacklevel=2
            )
        return self.take(np.flatnonzero(known))

    def require_learnable(self, *, least: int = 2) -> Dataset:
        """Return the labelled clips if a classifier can be learned and judged on them.

        Parameters
        ----------
        least : int
            Clips that every class must have.

        Raises
        ------
        DatasetError
            No labels, a single class, or a class with too few clips.
        """
        dataset = self.labelled()
        names, counts = np.unique([s.label for s in dataset.sources if s.label is not None], return_counts=True)
        if len(names) < 2:
            raise DatasetError(f"every clip is labelled {names[0]!r}: a classifier needs at least two classes")
        if counts.min() < least:
            few = ", ".join(f"{n!r} ({c})" for n, c in zip(names, counts, strict=True) if c < least)
            raise DatasetError(
                f"a class needs at least {least} clips, these have fewer: {few}. Add clips or drop the class"
            )
        return dataset

    def balanced(self, per_class: int, *, seed: int = 0) -> Dataset:
        """Draw the same number of clips from every class.

        Parameters
        ----------
        per_class : int
            Clips a class.
        seed : int
            Seed of the draw.

        Raises
        ------
        DatasetError
            A class has fewer clips than asked for.
        """
        dataset = self.labelled()
        rng = np.random.default_rng(seed)
        labels = np.array([s.label for s in dataset.sources])
        chosen: list[int] = []
        for name in np.unique(labels):
            members = np.flatnonzero(labels == name)
            if len(members) < per_class:
                raise DatasetError(
                    f"class {str(name)!r} has {len(members)} clips, {per_class} were asked for: "
                    "ask for fewer with --per-class, or add clips"
                )
            chosen.extend(rng.choice(members, per_class, replace=False).tolist())
        return dataset.take(sorted(chosen))
