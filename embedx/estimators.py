"""scikit-learn over paths: a transformer that embeds audio files and a classifier that labels them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from embedx.errors import DecodeError, ParameterError
from embedx.manifest import Manifest
from embedx.recipe import Resources

__all__ = ["AudioClassifier", "AudioEmbedder"]


class AudioEmbedder(TransformerMixin, BaseEstimator):
    """Turn paths of audio files into embeddings, as the first step of a pipeline.

    Parameters
    ----------
    encoder : str
        Hub id, folder, or ``"tiny"`` (bundled).
    layers : 'all' or tuple of int
        Layers that are kept.
    store : path-like, optional
        HDF5 file that keeps embeddings, so that cross-validation embeds each clip once.
    root : path-like
        Folder that relative paths are relative to.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    workers : int
        Decoding workers.
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
    ) -> None:
        self.encoder = encoder
        self.layers = layers
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers

    def fit(self, X: Any, y: object = None) -> AudioEmbedder:
        """Check that X holds paths; nothing is learned."""
        _paths(X)
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return embeddings of shape (n, L * D), float32, in the order of the paths.

        Raises
        ------
        SourceError
            A file cannot be used (scikit-learn has no way to leave a row out).
        """
        return self._dataset(X).X.astype(np.float32)

    def _dataset(self, X: Any) -> Any:
        from embedx.dataset import build_dataset
        from embedx.extract.job import embed

        manifest = Manifest.from_paths(_paths(X), root=self.root)
        resources = Resources(device=self.device, workers=self.workers)
        results, recipe = embed(manifest, encoder=self.encoder, layers=self.layers, resources=resources)
        for result in results:
            if hasattr(result, "message"):
                raise DecodeError(f"{result.source.id}: {result.message}", result.source)
        dataset = build_dataset(results, recipe=recipe, root=manifest.root)
        where = {source.key: i for i, source in enumerate(dataset.sources)}
        keys = [Manifest.from_paths([path], root=self.root)[0].key for path in _paths(X)]
        return dataset.take([where[key] for key in keys])


def _paths(X: Any) -> list[str]:
    if isinstance(X, str | os.PathLike):
        raise ParameterError(f"X is one path ({os.fspath(X)!r}): give a list of paths")
    values = np.asarray(X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values) or not all(isinstance(value, str | os.PathLike) for value in values):
        raise ParameterError(f"X has shape {values.shape}: it must be a list of one or more paths of audio files")
    return [os.fspath(value) for value in values]


class AudioClassifier(ClassifierMixin, BaseEstimator):
    """Label audio files: embedder and head in one estimator.

    Parameters
    ----------
    head : str or estimator
        A head of the catalogue, or a classifier of your own.
    encoder, layers, store, root, device, workers
        As in `AudioEmbedder`.
    parameters : mapping, optional
        Parameters of the head.
    random_state : int
        Seed of the head.
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
        parameters: Any = None,
        random_state: int = 0,
    ) -> None:
        self.head = head
        self.encoder = encoder
        self.layers = layers
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers
        self.parameters = parameters
        self.random_state = random_state

    def fit(self, X: Sequence[Any], y: Iterable[Any], groups: Any = None) -> AudioClassifier:
        """Embed the files and fit the head."""
        from embedx.heads.catalog import as_spec, fit_head, make_head

        y = np.asarray(y)
        dataset = self._embedder()._dataset(X)
        spec = as_spec(self.head)
        head = make_head(spec, n_layers=dataset.n_layers, random_state=self.random_state, **(self.parameters or {}))
        self.head_ = fit_head(head, dataset.inputs_for(spec), y, groups=groups)
        self.classes_ = self.head_.classes_
        self.spec_ = spec
        return self

    def predict_proba(self, X: Sequence[Any]) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes)."""
        check_is_fitted(self)
        return self.head_.predict_proba(self._embedder()._dataset(X).inputs_for(self.spec_))

    def predict(self, X: Sequence[Any]) -> NDArray[Any]:
        """Return labels of shape (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _embedder(self) -> AudioEmbedder:
        names = ("encoder", "layers", "store", "root", "device", "workers")
        return AudioEmbedder(**{name: getattr(self, name) for name in names})
