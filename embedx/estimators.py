"""scikit-learn over clips: a transformer that embeds audio files or samples, and a classifier that labels them.

scikit-learn's ``check_estimator`` passes both, which says nothing: it leaves out nearly every check for estimators that
take text instead of numbers. `embedx.testing.check_path_transformer` and `embedx.testing.check_path_classifier` are the
checks that really run, for these two and for estimators over paths of your own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from embedx.audio.clip_inputs import list_clips
from embedx.checks import require_labels
from embedx.dataset import Dataset, build_dataset, load_embeddings
from embedx.errors import DecodeError, ParameterError, StoreBusyError
from embedx.heads.layers import LayerSelector
from embedx.manifest import Manifest
from embedx.manifest.manifest import text_of
from embedx.model import Model, fit_model
from embedx.recipe import POOLINGS, Resources
from embedx.store.rows import Failure

__all__ = ["AudioClassifier", "AudioEmbedder"]

_BUSY_SECONDS = 60.0


class AudioEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn audio, files or samples in memory, into embeddings, as the first step of a pipeline of your own.

    Nothing is learned: ``fit`` only looks at what X holds. Long files are cut into windows and pooled.

    Parameters
    ----------
    encoder : str
        Hub id, folder, or ``"tiny"`` (bundled).
    layer : int or str
        What `transform` gives of the encoder's layers: a position (-1 is the last), ``"mean"`` of all,
        ``"2-4"`` for the mean of a range, or ``"all"`` side by side. A good thing to search over.
    pooling : {'mean', 'mean+std', 'max', 'mean+max', 'cls'}
        Statistics over the frames of a clip.
    padding : {'none', 'masked', 'pooled'}, optional
        What stands behind a clip that is shorter than the encoder's native length, see `Recipe`; by default the
        encoder's own way.
    store : path-like, optional
        HDF5 file that keeps all layers of every clip, so that a cross-validation or a search embeds each
        clip once. The same file works for `embedx.load_embeddings` and on the command line.
    root : path-like
        Folder that relative paths are relative to.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    workers : int
        Decoding workers of each encoder process; 0 decodes in that process.
    sampling_rate : int, optional
        Hertz of arrays of samples that come without one.
    compute_dtype : {'float32', 'bfloat16', 'float16'}, optional
        What the encoder computes in; by default what the device computes fastest with the same result within the
        stated tolerance.

    Attributes
    ----------
    n_features_in_ : int
        1: a column of clips.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column, where `fit` was given a data frame; `transform` refuses one with another.
    n_features_out_ : int
        Columns of what `transform` returned last.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(AudioEmbedder(encoder="tiny"), LogisticRegression())
    >>> pipeline.fit(paths, labels).predict(["new.wav"])  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: str = "facebook/wav2vec2-base",
        *,
        layer: int | str = "mean",
        pooling: str = "mean",
        padding: str | None = None,
        store: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] = ".",
        device: str = "auto",
        workers: int = 0,
        sampling_rate: int | None = None,
        compute_dtype: str | None = None,
    ) -> None:
        self.encoder = encoder
        self.layer = layer
        self.pooling = pooling
        self.padding = padding
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers
        self.sampling_rate = sampling_rate
        self.compute_dtype = compute_dtype

    def fit(self, X: Any, y: object = None) -> AudioEmbedder:
        """Check that X holds clips; nothing is learned.

        Parameters
        ----------
        X : list, array or column of clips, shape (n,) or (n, 1)
            As for `transform`.
        y : ignored
        """
        self.n_paths_ = len(list_clips(X))
        self.n_features_in_ = 1
        _check_column(self, X, reset=True)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embed clips.

        Parameters
        ----------
        X : list, array or column of clips, shape (n,) or (n, 1)
            Audio files, of which one that stands there twice is embedded once; or clips in memory as `Model.predict`
            takes them: arrays, pairs, mappings, open files. The rows of a numeric array of shape (n, n_samples) are
            clips.

        Returns
        -------
        ndarray of shape (n, D), float32
            One row a clip, in the order of X; (n, L * D) for ``layer="all"``.

        Raises
        ------
        DecodeError
            A clip cannot be used: scikit-learn has no way to leave a row out, so it is named.
        ParameterError
            X holds something else than clips, or arrays without a rate.
        ValueError
            X is a data frame whose column has another name than that of `fit`.
        """
        _check_column(self, X)
        dataset = self.embed(X)
        embedded = self._selected(np.asarray(dataset.X, dtype=np.float32), dataset.n_layers)
        self.n_features_out_ = embedded.shape[1]
        return embedded

    def frames(self, clip: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Embed a clip frame by frame, as transcripts and time lines need it.

        Parameters
        ----------
        clip : clip
            One path, or one clip in memory as `transform` takes it.

        Returns
        -------
        frames : ndarray of shape (T, D), float32
            A row a frame (20 ms apart for wav2vec2); (T, L * D) for ``layer="all"``. ``pooling`` is not applied.
        seconds : ndarray of shape (T,), float64
            The middle of what each frame is computed from, in seconds of the clip. A long clip is encoded in windows,
            none of whose frames reaches into the next one.

        Raises
        ------
        DecodeError, ClipTooShortError
            The clip cannot be used.

        Examples
        --------
        >>> from embedx.testing import make_tone
        >>> frames, seconds = AudioEmbedder("tiny", sampling_rate=16_000).frames(make_tone(440.0))
        >>> frames.shape, seconds[:3].round(4).tolist()
        ((49, 192), [0.0125, 0.0325, 0.0525])
        """
        from embedx.encoders.resolve import resolve_encoder
        from embedx.extract.frames import clip_frames

        clips = [_below(self.root, clip)] if isinstance(clip, str | os.PathLike) else [clip]
        n_layers = resolve_encoder(self.encoder).n_layers
        pairs = clip_frames(clips, self.sampling_rate, **self._choices())
        parts = [(self._selected(values, n_layers), seconds) for values, seconds in pairs]
        return np.concatenate([values for values, _ in parts]), np.concatenate([seconds for _, seconds in parts])

    def _selected(self, values: NDArray[np.float32], n_layers: int) -> NDArray[np.float32]:
        return LayerSelector(n_layers=n_layers, layer=self.layer).fit_transform(values)

    def embed(self, X: Any) -> Dataset:
        """Return the clips with every layer and the log-mel control, one a clip, in the order of X."""
        clips = list_clips(X)
        if not _are_paths(clips):
            return self._computed([_below(self.root, clip) if _are_paths([clip]) else clip for clip in clips])
        wanted = [Manifest.from_paths([path], root=self.root)[0].key for path in clips]
        manifest = Manifest.from_paths(clips, root=self.root)
        dataset = self._computed(manifest) if self.store is None else self._stored(manifest, Path(self.store))
        where = {source.key: i for i, source in enumerate(dataset.sources)}
        return dataset.take([where[key] for key in wanted])

    def _computed(self, clips: Manifest | list[Any]) -> Dataset:
        from embedx.extract.any_clips import embed_all

        if self.store is not None and not isinstance(clips, Manifest):
            raise ParameterError("a store keeps clips by their files, and some of these lie in memory: leave store out")
        results, recipe, root = embed_all(clips, self.sampling_rate, **self._choices())
        _refuse(failure for failure in results if isinstance(failure, Failure))
        return build_dataset(results, recipe=recipe, root=root)

    def _stored(self, manifest: Manifest, store: Path) -> Dataset:
        from embedx.extract.job import extract_embeddings

        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                report = extract_embeddings(manifest, store, retry_failed=True, **self._choices())
                break
            except StoreBusyError:  # another process of the same search is writing its clips
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        _refuse(report.failures)
        return load_embeddings(store)

    def _choices(self) -> dict[str, Any]:
        """Return what to compute and where, as an extraction takes it."""
        resources = Resources(device=self.device, workers=self.workers)
        return {name: getattr(self, name) for name in ("encoder", "pooling", "padding", "compute_dtype")} | {
            "resources": resources
        }

    @property
    def _n_features_out(self) -> int:
        """Columns of `transform`, for ``get_feature_names_out`` and ``set_output``; known before any file is read."""
        if hasattr(self, "n_features_out_"):
            return self.n_features_out_
        from embedx.encoders.resolve import resolve_encoder

        info = resolve_encoder(self.encoder)
        width = info.dim * POOLINGS.get(self.pooling, 1)
        return width * info.n_layers if self.layer == "all" else width

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.requires_fit = False
        return tags


class AudioClassifier(ClassifierMixin, BaseEstimator):
    """Label audio files: encoder and head in one scikit-learn classifier.

    Parameters
    ----------
    head : str or estimator
        A head of the catalogue (``"logreg"``, ``"lgbm"``, ``"mlp"``, ``"knn"``, ...) or a classifier of your own.
    encoder, pooling, padding, store, root, device, workers, sampling_rate
        As in `AudioEmbedder`.
    parameters : mapping, optional
        Parameters of the head, ``layer`` among them.
    random_state : int, RandomState or None
        Seed of the head.

    Attributes
    ----------
    n_features_in_ : int
        1: a column of paths.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column, where `fit` was given a data frame; `predict` refuses one with another.
    classes_ : ndarray of shape (n_classes,)
        Labels as they were given to `fit`, sorted.
    model_ : Model
        What was trained; `save` writes it.

    Examples
    --------
    >>> classifier = AudioClassifier(head="lgbm", encoder="tiny")
    >>> classifier.fit(paths, labels).save("model/")  # doctest: +SKIP
    """

    def __init__(
        self,
        head: Any = "logreg",
        *,
        encoder: str = "facebook/wav2vec2-base",
        pooling: str = "mean",
        padding: str | None = None,
        store: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] = ".",
        device: str = "auto",
        workers: int = 0,
        sampling_rate: int | None = None,
        parameters: Any = None,
        random_state: int = 0,
    ) -> None:
        self.head = head
        self.encoder = encoder
        self.pooling = pooling
        self.padding = padding
        self.store = store
        self.root = root
        self.device = device
        self.workers = workers
        self.sampling_rate = sampling_rate
        self.parameters = parameters
        self.random_state = random_state

    def fit(
        self, X: Any, y: Iterable[Any], groups: Iterable[Any] | None = None, sample_weight: Any = None
    ) -> AudioClassifier:
        """Embed clips and train the head.

        Parameters
        ----------
        X : list, array or column of clips, shape (n,) or (n, 1)
            As for `AudioEmbedder.transform`.
        y : array-like of shape (n,)
            Labels: text, numbers or booleans.
        groups : array-like of shape (n,), optional
            What must not be cut apart, for heads that hold out a part of the training data.
        sample_weight : array-like of shape (n,), optional
            How much each file counts, for heads that can weigh them.

        Raises
        ------
        ParameterError
            X, y, groups and weights differ in length, a label is missing, X holds no clips, or the head takes
            no weights.
        DatasetError
            A single class, or a class of one clip.
        """
        require_labels(y)
        labels = np.asarray(y)
        texts = _as_texts(labels, "labels", len(list_clips(X)))
        parts = None if groups is None else _as_groups(groups, len(texts))
        _check_column(self, X, reset=True)
        dataset = self._embedder().embed(X).relabel(texts, groups=parts)
        self.model_: Model = fit_model(
            dataset, self.head, params=self.parameters, seed=self.random_state, sample_weight=sample_weight
        )
        self.n_features_in_ = 1
        originals = {str(label): label for label in np.unique(labels)}
        named = np.array([originals[name] for name in self.model_.classes])
        self._order = np.argsort(named, kind="stable")
        self.classes_ = named[self._order]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        _check_column(self, X)
        return self.model_.predictions(self._embedder().embed(X)).proba[:, self._order]

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return logarithms of `predict_proba`; a probability of 0 gives -inf."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return labels of shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)  # first, so that an unfitted one says so
        return self.classes_[best]

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
        """Write the trained model to a folder that `Model.load` and ``embedx predict`` read; no pickle."""
        check_is_fitted(self)
        return self.model_.save(folder, overwrite=overwrite)

    def _embedder(self) -> AudioEmbedder:
        names = ("encoder", "pooling", "padding", "store", "root", "device", "workers", "sampling_rate")
        return AudioEmbedder(**{name: getattr(self, name) for name in names})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        return tags


def _check_column(estimator: Any, X: Any, *, reset: bool = False) -> None:
    """Keep the name of a data frame's column, or compare it with the one that is kept, in scikit-learn's words."""
    if reset or (hasattr(X, "columns") and hasattr(estimator, "feature_names_in_")):
        _check_feature_names(estimator, X, reset=reset)


def _are_paths(clips: list[Any]) -> bool:
    return all(isinstance(clip, str) for clip in clips)


def _below(root: str | os.PathLike[str], path: Any) -> str:
    return os.path.join(root, os.fspath(path))


def _as_texts(values: NDArray[Any], name: str, n_paths: int) -> list[str]:
    if values.shape != (n_paths,):
        raise ParameterError(f"{n_paths} paths but {name} of shape {values.shape}: give one a path")
    return [str(value) for value in values]


def _as_groups(values: Iterable[Any], n_paths: int) -> list[str | None]:
    """Return groups as text; a missing one, None or NaN, is not one more group."""
    _as_texts(np.asarray(values, dtype=object), "groups", n_paths)
    return [text_of(value) for value in np.asarray(values, dtype=object)]


def _refuse(failures: Iterable[Failure]) -> None:
    for failure in failures:
        raise DecodeError(
            f"{failure.source.id}: {failure.message}. Leave it out of the list, or look at all files first "
            "with embedx extract, which skips and reports what it cannot read",
            failure.source,
        )
