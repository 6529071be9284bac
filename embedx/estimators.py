"""scikit-learn over paths: a transformer that embeds audio files and a classifier that labels them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from embedx.dataset import Dataset, build_dataset, load_embeddings
from embedx.errors import DecodeError, ParameterError, SourceError, StoreBusyError
from embedx.heads.catalog import as_spec, fit_head, make_head
from embedx.manifest import Manifest
from embedx.recipe import Resources
from embedx.store.rows import Failure

__all__ = ["AudioClassifier", "AudioEmbedder"]

_BUSY_SECONDS = 120.0


class AudioEmbedder(TransformerMixin, BaseEstimator):
    """Turn paths of audio files into embeddings, as the first step of a scikit-learn pipeline.

    Parameters
    ----------
    encoder : str
        Hub id, folder, or ``"tiny"`` (bundled).
    layers : 'all', int or tuple of int
        Layers that are kept; they lie side by side in a row of the output.
    store : path-like, optional
        HDF5 file that keeps the embeddings, so that cross-validation and later runs embed each clip once.
    root : path-like
        Folder that relative paths are relative to.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    workers : int
        Decoding processes; 0 decodes in this one.
    recipe_options : mapping, optional
        Other fields of the recipe, such as ``{"window_seconds": 5.0}``.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(AudioEmbedder("tiny", store="emb.h5"), LogisticRegression())
    >>> pipeline.fit(paths, labels)  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: str = "facebook/wav2vec2-base",
        *,
        layers: Any = "all",
        store: Any = None,
        root: Any = ".",
        device: str = "auto",
        workers: int = 0,
        recipe_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.layers = layers
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers
        self.recipe_options = recipe_options

    def fit(self, X: Any, y: object = None) -> AudioEmbedder:
        """Check that X holds paths; nothing is learned and nothing is decoded."""
        _paths(X)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return embeddings.

        Parameters
        ----------
        X : sequence of path-like
            Audio files; one may be named twice.

        Returns
        -------
        ndarray of shape (n, L * D), float32
            In the order of the paths.

        Raises
        ------
        SourceError
            A file cannot be used: scikit-learn has no way to leave a row out.
        """
        return self.embed(X).X.astype(np.float32)

    def embed(self, X: Any) -> Dataset:
        """Return the embeddings as a `Dataset` (with layers and log-mel statistics), in the order of the paths."""
        paths = _paths(X)
        manifest = Manifest.from_paths(paths, root=self.root)
        dataset = self._in_memory(manifest) if self.store is None else self._through_store(manifest)
        rows = {source.key: row for row, source in enumerate(dataset.sources)}
        keys = {path: Manifest.from_paths([path], root=self.root)[0].key for path in set(paths)}
        return dataset.take([rows[keys[path]] for path in paths])

    def _options(self) -> dict[str, Any]:
        layers = (self.layers,) if isinstance(self.layers, int) else self.layers
        return {"encoder": self.encoder, "layers": layers, **(self.recipe_options or {})}

    def _resources(self) -> Resources:
        return Resources(device=self.device, workers=self.workers)

    def _in_memory(self, manifest: Manifest) -> Dataset:
        from embedx.extract.job import embed

        results, recipe = embed(manifest, resources=self._resources(), **self._options())
        for result in results:
            if isinstance(result, Failure):
                raise _failure(result.reason, result.message, result.source)
        return build_dataset(results, recipe=recipe, root=manifest.root)

    def _through_store(self, manifest: Manifest) -> Dataset:
        from embedx.extract.job import extract
        from embedx.store.store import read_store

        waited_until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                extract(manifest, self.store, resources=self._resources(), **self._options())
                break
            except StoreBusyError:  # another process of the same search is writing it
                if time.monotonic() > waited_until:
                    raise
                time.sleep(0.2)
        wanted = {source.key for source in manifest}
        table = read_store(self.store)
        for source, error in zip(table.sources, table.errors, strict=True):
            if error is not None and source.key in wanted:
                raise _failure("decode", error, source)
        dataset = load_embeddings(self.store)
        return dataset.take([row for row, source in enumerate(dataset.sources) if source.key in wanted])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


def _failure(reason: str, message: str, source: Any) -> SourceError:
    kinds = {kind.reason: kind for kind in SourceError.__subclasses__()}
    text = message if source.uri in message else f"{source.id}: {message}"
    return kinds.get(reason, DecodeError)(f"{text}. Take it out of X", source)


def _paths(X: Any) -> list[str]:
    if isinstance(X, str | bytes | os.PathLike):
        raise ParameterError(f"X is one path ({os.fspath(X)!r}): give a list of paths")
    values = np.asarray(X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values) or not all(isinstance(value, str | os.PathLike) for value in values):
        raise ParameterError(f"X of shape {values.shape} is no list of paths: give one path of an audio file a clip")
    return [os.fspath(value) for value in values]


class AudioClassifier(ClassifierMixin, BaseEstimator):
    """Label audio files: embedder and head in one scikit-learn classifier.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        A head of the catalogue, or a classifier of your own.
    encoder, layers, store, root, device, workers, recipe_options
        As in `AudioEmbedder`.
    parameters : mapping, optional
        Parameters of the head.
    n_trials : int
        Trials of tuning inside `fit`, on the training files alone; 0 keeps the head's defaults.
    random_state : int
        Seed of head and tuning.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, as they were given.
    head_ : estimator
        The fitted head on embeddings.
    parameters_ : dict
        What the head was made with.
    """

    def __init__(
        self,
        head: Any = "logreg",
        *,
        encoder: str = "facebook/wav2vec2-base",
        layers: Any = "all",
        store: Any = None,
        root: Any = ".",
        device: str = "auto",
        workers: int = 0,
        recipe_options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        n_trials: int = 0,
        random_state: int = 0,
    ) -> None:
        self.head = head
        self.encoder = encoder
        self.layers = layers
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers
        self.recipe_options = recipe_options
        self.parameters = parameters
        self.n_trials = n_trials
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> AudioClassifier:
        """Embed the files and fit the head.

        Parameters
        ----------
        X : sequence of path-like
            Audio files.
        y : array-like of shape (n,)
            Labels.
        groups : array-like of shape (n,), optional
            What tuning and early stopping must not cut apart.
        sample_weight : array-like of shape (n,), optional
            Weight of each clip, for heads that take it.
        """
        spec = as_spec(self.head)
        labels = column_or_1d(y)
        check_consistent_length(_paths(X), labels)
        dataset = self._embedder().embed(X)
        self.parameters_ = {**self._tuned(spec, dataset, labels, groups), **(self.parameters or {})}
        head = make_head(spec, n_layers=dataset.n_layers, random_state=self.random_state, **self.parameters_)
        inputs = dataset.inputs_for(spec)
        self.head_ = fit_head(head, inputs, labels, groups=groups, sample_weight=sample_weight)
        self.classes_ = self.head_.classes_
        self.eats_ = spec.eats
        return self

    def _tuned(self, spec: Any, dataset: Dataset, labels: NDArray[Any], groups: Any) -> dict[str, Any]:
        if not self.n_trials:
            return {}
        from embedx.tuning import tune

        names = [None] * len(labels) if groups is None else [str(group) for group in groups]
        triples = zip(dataset.sources, labels, names, strict=True)
        known = dataset.with_sources([replace(s, label=str(y), group=g) for s, y, g in triples])
        return tune(spec, known, n_trials=self.n_trials, seed=self.random_state).params

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Return probabilities of shape (n, n_classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        dataset = self._embedder().embed(X)
        return self.head_.predict_proba(dataset.X if self.eats_ == "embeddings" else dataset.control)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each file, shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _embedder(self) -> AudioEmbedder:
        names = ("encoder", "layers", "store", "root", "device", "workers", "recipe_options")
        return AudioEmbedder(**{name: getattr(self, name) for name in names})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags
