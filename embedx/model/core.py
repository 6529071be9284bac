"""Model: a fitted head, the recipe it was trained on, its classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import ParameterError
from embedx.heads.catalog import as_spec, fit_head, make_head
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe, Resources

if TYPE_CHECKING:
    from embedx.heads.catalog import HeadSpec

__all__ = ["Model", "Predictions", "fit_model"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Predictions:
    """Labels and probabilities of clips, in the order of the clips; a failed clip keeps its row.

    Parameters
    ----------
    sources : tuple of Source
        The clips.
    classes : tuple of str
        Columns of ``proba``.
    proba : ndarray of shape (n, n_classes), float64
        Rows sum to one; NaN where a clip failed.
    errors : tuple of (str or None)
        Why a clip failed, in one line.
    """

    sources: tuple[Source, ...]
    classes: tuple[str, ...]
    proba: NDArray[np.float64]
    errors: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def labels(self) -> NDArray[np.object_]:
        """Most probable class of each clip, shape (n,); None where it failed."""
        best = [
            None if error else self.classes[row.argmax()] for row, error in zip(self.proba, self.errors, strict=True)
        ]
        return np.array(best, dtype=object)

    @property
    def n_failed(self) -> int:
        """Clips without a prediction."""
        return sum(error is not None for error in self.errors)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Model:
    """A trained classifier that knows how its embeddings have to be made.

    Parameters
    ----------
    head : str
        Name in the catalogue, or the class of a user's own classifier.
    estimator : estimator
        Fitted.
    eats : str
        ``"embeddings"`` or ``"control"``.
    recipe : Recipe
        Of the embeddings it was trained on; prediction uses it again.
    classes : tuple of str
        Columns of the probabilities.
    n_features : int
        Columns of X.
    parameters : mapping
        What the head's factory was given.
    seed : int
        Seed of the head.
    scores : mapping
        What was measured when it was trained, as nested dictionaries of numbers.
    training : mapping
        ``n_clips``, ``hash`` and clips a class.
    versions : mapping of str to str
        Libraries that trained it; empty for a model that was just fitted.
    """

    head: str
    estimator: Any
    eats: str
    recipe: Recipe
    classes: tuple[str, ...]
    n_features: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Model({self.head!r}, {len(self.classes)} classes, encoder={self.recipe.encoder!r})"

    def with_scores(self, scores: Mapping[str, Any]) -> Model:
        """Return the model with what was measured on it."""
        return replace(self, scores=scores)

    def predict(
        self,
        clips: Manifest | Iterable[str | os.PathLike[str]],
        *,
        resources: Resources | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Predictions:
        """Label audio: decode, embed by the model's own recipe, predict.

        Parameters
        ----------
        clips : Manifest or iterable of path-like
            What to label.
        resources : Resources, optional
            Device, batch size and workers.
        progress : callable, optional
            Called as ``progress(done, total, **facts)``.

        Returns
        -------
        Predictions
            One row a clip; a clip that cannot be used is a row with its reason.
        """
        from embedx.dataset import build_dataset
        from embedx.extract.job import embed

        manifest = clips if isinstance(clips, Manifest) else Manifest.from_paths(clips)
        results, recipe = embed(manifest, recipe=self.recipe, resources=resources or Resources(), progress=progress)
        failures = {result.source.key: result.message for result in results if hasattr(result, "message")}
        dataset = build_dataset(results, recipe=recipe, root=manifest.root) if len(failures) < len(results) else None
        return self._rows(tuple(manifest), dataset, failures)

    def predict_proba(self, clips: Manifest | Iterable[str | os.PathLike[str]], **options: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes); a clip that failed is a row of NaN."""
        return self.predict(clips, **options).proba

    def predict_dataset(self, dataset: Dataset) -> Predictions:
        """Label clips whose embeddings exist.

        Raises
        ------
        RecipeMismatchError
            The embeddings were made by another recipe; the fields that differ are listed.
        """
        return self._rows(dataset.sources, dataset, {})

    def _rows(self, sources: tuple[Source, ...], dataset: Dataset | None, failures: Mapping[Any, str]) -> Predictions:
        proba = np.full((len(sources), len(self.classes)), np.nan)
        if dataset is not None:
            found = self._proba(dataset)
            where = {source.key: i for i, source in enumerate(dataset.sources)}
            for row, source in enumerate(sources):
                if source.key in where:
                    proba[row] = found[where[source.key]]
        lost = np.isnan(proba).any(axis=1)
        errors = tuple(failures.get(s.key, "no result") if bad else None for s, bad in zip(sources, lost, strict=True))
        return Predictions(sources=sources, classes=self.classes, proba=proba, errors=errors)

    def _proba(self, dataset: Dataset) -> NDArray[np.float64]:
        self.recipe.require_same(
            dataset.recipe,
            where="the model",
            advice="Extract these clips again with the model's recipe, or predict from the audio files",
        )
        # A store keeps float16: round alike, so that a clip gets one answer whichever way it comes.
        X = dataset.inputs_for(self)
        if self.eats == "embeddings" and X.dtype != self.recipe.store_dtype and self.recipe.store_dtype == "float16":
            X = X.astype(np.float16)
        return np.asarray(self.estimator.predict_proba(X), dtype=np.float64)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model to a folder: JSON, plain arrays, LightGBM's text; no pickle.

        Raises
        ------
        ModelFormatError
            The folder holds something else, or the head cannot be written without pickle.
        """
        from embedx.model.folder import save

        return save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Model:
        """Read a model; nothing in the folder is executed.

        Parameters
        ----------
        folder : path-like
            What `save` wrote.
        trusted : iterable of str
            Types of a user's own classifier that may be loaded, by full name.

        Raises
        ------
        ModelFormatError
            No model, a damaged or hostile one, or one of another major version.
        """
        from embedx.model.folder import load

        return load(Path(folder), trusted=tuple(trusted))


def fit_model(
    dataset: Dataset,
    head: Any = "logreg",
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    calibrate: bool = False,
) -> Model:
    """Train one head on all labelled clips of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Clips with labels; those without are left out with a warning.
    head : str, HeadSpec or estimator
        A name of the catalogue or a scikit-learn classifier.
    params : mapping, optional
        Parameters of the head, such as those that `embedx.tuning.tune` found.
    seed : int
        Seed of the head.
    calibrate : bool
        Whether probabilities are corrected on held-out folds.

    Raises
    ------
    DatasetError
        No labels, or a single class.
    ParameterError
        No such head or parameter.
    """
    spec = as_spec(head)
    if spec.eats == "sources":
        raise ParameterError(f"head {spec.name!r} learns from audio: fit_model takes heads on embeddings")
    dataset = dataset.require_learnable(least=1)
    estimator = make_head(spec, n_layers=dataset.n_layers, random_state=seed, **(params or {}))
    X = dataset.inputs_for(spec)
    fit_head(estimator, X, dataset.y, groups=dataset.groups)
    return Model(
        head=spec.name,
        estimator=estimator,
        eats=spec.eats,
        recipe=dataset.recipe,
        classes=tuple(str(name) for name in estimator.classes_),
        n_features=int(X.shape[1]),
        parameters=dict(params or {}),
        seed=seed,
        training=_training_facts(dataset, spec),
    )


def _training_facts(dataset: Dataset, spec: HeadSpec) -> dict[str, Any]:
    names, counts = np.unique(np.asarray(dataset.y), return_counts=True)
    digest = hashlib.sha256()
    for line in sorted(
        f"{bytes(h).hex()} {s.id} {s.label}" for h, s in zip(dataset.hashes, dataset.sources, strict=True)
    ):
        digest.update(line.encode() + b"\n")
    return {
        "n_clips": len(dataset),
        "hash": digest.hexdigest(),
        "clips_a_class": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
    }
