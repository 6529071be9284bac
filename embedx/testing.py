"""Fakes and contracts for people who build on embedx: an encoder without weights, checks that any encoder must pass.

The fake honours the same contract as the real thing, and `check_encoder` holds both to it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.base import Encoder, Frames, masked_mean
from embedx.errors import ClipTooShortError

if TYPE_CHECKING:
    import torch

    from embedx.dataset import Dataset

__all__ = [
    "FakeEncoder",
    "check_encoder",
    "check_path_classifier",
    "check_path_estimator",
    "check_path_transformer",
    "make_dataset",
    "make_store",
    "make_tone",
    "write_wav",
]


class FakeEncoder:
    """An encoder of a few lines: every frame is a fixed projection of 25 ms of audio.

    Parameters
    ----------
    dim : int
        Width of a layer.
    n_layers : int
        Number of layers.
    seed : int
        Seed of the projection.

    Examples
    --------
    >>> encoder = FakeEncoder(dim=4, n_layers=2)
    >>> frames = encoder.encode([np.zeros(16_000, np.float32), np.zeros(800, np.float32)])
    >>> masked_mean(frames).shape, list(frames.n_frames)
    ((2, 2, 4), [49, 2])
    """

    sample_rate = 16_000
    min_samples = 400
    native_seconds = None
    hop_seconds = 0.02
    _hop_samples = 320

    def __init__(self, *, dim: int = 8, n_layers: int = 3, seed: int = 0) -> None:
        self.dim, self.n_layers = dim, n_layers
        rng = np.random.default_rng(seed)
        self._weights = rng.standard_normal((n_layers, self.min_samples, dim)).astype(np.float32) / 20

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode waveforms of shape (n_samples,), float32, of any lengths."""
        import torch

        clips = [self._frames(samples) for samples in batch]
        n_frames = [len(clip) for clip in clips]
        layers: list[torch.Tensor] = []
        for weights in self._weights:
            padded = torch.full((len(clips), max(n_frames), self.dim), float("nan"))
            for b, clip in enumerate(clips):
                padded[b, : len(clip)] = torch.from_numpy(np.tanh(clip @ weights))
            layers.append(padded)
        return Frames(layers, n_frames)

    def _frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(samples) < self.min_samples:
            raise ClipTooShortError(f"{len(samples)} samples are less than one frame ({self.min_samples} samples)")
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.min_samples)
        return windows[:: self._hop_samples]


def check_encoder(encoder: Encoder, *, tolerance: float = 1e-5, seed: int = 0) -> None:
    """Assert what every encoder promises: shapes, the same numbers in any batch, short clips refused.

    Parameters
    ----------
    encoder : Encoder
        The one to check.
    tolerance : float
        Largest relative L2 error between a clip alone and in a batch, on any layer.
    seed : int
        Seed of the noise that is encoded.

    Raises
    ------
    AssertionError
        The encoder breaks its contract; the message says how.

    Examples
    --------
    >>> check_encoder(FakeEncoder())
    """
    assert isinstance(encoder, Encoder), f"{type(encoder).__name__} lacks a member of the Encoder protocol"
    rng = np.random.default_rng(seed)
    lengths = [encoder.min_samples, 16_000, 5_000, 23_456, 16_000]
    clips = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in lengths]
    alone = np.concatenate([masked_mean(encoder.encode([clip])) for clip in clips])
    together = masked_mean(encoder.encode(clips))
    turned = masked_mean(encoder.encode(clips[::-1]))[::-1]
    expected = (len(clips), encoder.n_layers, encoder.dim)
    assert alone.shape == together.shape == expected, f"shape {together.shape}, promised {expected}"
    assert np.isfinite(together).all(), "an embedding holds NaN or infinity"
    for name, batch in (("in a batch", together), ("in the reversed batch", turned)):
        error = np.linalg.norm(batch - alone, axis=2) / np.linalg.norm(alone, axis=2)
        assert error.max() <= tolerance, f"a clip {name} differs from the clip alone: relative error {error.max():.1e}"
    try:
        encoder.encode([np.zeros(encoder.min_samples - 1, np.float32)])
    except ClipTooShortError:
        return
    raise AssertionError("a clip of less than one frame was not refused with ClipTooShortError")


def check_path_estimator(estimator: Any, paths: Sequence[str], labels: Sequence[Any]) -> None:
    """Assert what scikit-learn's own checks would, if they did not return early for estimators over paths.

    Constructor and clone, ``fit`` that returns itself and changes no parameter, and clear refusals.

    Parameters
    ----------
    estimator : estimator
        Unfitted, over paths of audio files.
    paths : sequence of str
        Eight or more readable files.
    labels : sequence
        Two or more classes, each with two files or more.

    Raises
    ------
    AssertionError
        The estimator breaks its contract; the message says how.

    Examples
    --------
    >>> from embedx import AudioEmbedder
    >>> check_path_estimator(AudioEmbedder(encoder="tiny"), paths, labels)  # doctest: +SKIP
    """
    from sklearn.base import clone

    name = type(estimator).__name__
    before = estimator.get_params()
    twin = clone(estimator)
    assert twin.get_params() == before, f"{name}: a clone has other parameters"
    assert not [key for key in vars(twin) if key.endswith("_")], f"{name}: the constructor does more than store"
    given = copy.deepcopy(list(paths))
    fitted = twin.fit(paths, labels)
    assert fitted is twin, f"{name}: fit does not return the estimator"
    assert list(paths) == given, f"{name}: fit changes X"
    assert twin.get_params() == before, f"{name}: fit changes a parameter"
    two = list(dict.fromkeys(labels))[:2]
    mistakes = {"one path": "one.wav", "no path": [], "numbers": [1, 2], "two columns": [["a", "b"], ["c", "d"]]}
    for what, wrong in mistakes.items():
        _require_refusal(name, clone(estimator), wrong, (two * 9)[: len(wrong)], what)


def check_path_transformer(estimator: Any, paths: Sequence[str], labels: Sequence[Any]) -> None:
    """Assert `check_path_estimator`, and that ``transform`` gives one finite row a path, whatever holds the paths.

    Parameters
    ----------
    estimator, paths, labels
        As in `check_path_estimator`.

    Raises
    ------
    AssertionError
        The transformer breaks its contract; the message says how.

    Examples
    --------
    >>> from embedx import AudioEmbedder
    >>> check_path_transformer(AudioEmbedder(encoder="tiny"), paths, labels)  # doctest: +SKIP
    """
    from sklearn.base import clone

    check_path_estimator(estimator, paths, labels)
    fitted = clone(estimator).fit(paths, labels)
    rows = fitted.transform(paths)
    assert rows.ndim == 2 and len(rows) == len(paths), f"shape {rows.shape} for {len(paths)} paths"  # noqa: PT018
    assert rows.dtype == np.float32, f"dtype {rows.dtype}, promised float32"
    assert np.isfinite(rows).all(), "a row holds NaN or infinity"
    _require_equal_answers(fitted.transform, paths, rows)


def check_path_classifier(estimator: Any, paths: Sequence[str], labels: Sequence[Any]) -> None:
    """Assert `check_path_estimator`, and what every scikit-learn classifier promises of labels and probabilities.

    Parameters
    ----------
    estimator, paths, labels
        As in `check_path_estimator`.

    Raises
    ------
    AssertionError
        The classifier breaks its contract; the message says how.

    Examples
    --------
    >>> from embedx import AudioClassifier
    >>> check_path_classifier(AudioClassifier(encoder="tiny"), paths, labels)  # doctest: +SKIP
    """
    from sklearn.base import clone, is_classifier
    from sklearn.exceptions import NotFittedError

    assert is_classifier(estimator), "scikit-learn does not take it for a classifier"
    try:
        clone(estimator).predict(paths)
    except NotFittedError:
        pass
    else:
        raise AssertionError("predict before fit does not raise NotFittedError")
    check_path_estimator(estimator, paths, labels)
    name = type(estimator).__name__
    _require_refusal(name, clone(estimator), paths, labels[:-1], "fewer labels than paths")
    _require_refusal(name, clone(estimator), paths, [labels[0]] * len(paths), "a single class")
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    for kind in (codes.astype(str), codes + 9, codes == 0):
        _check_labels(clone(estimator), paths, kind)


def _check_labels(classifier: Any, paths: Sequence[str], labels: NDArray[Any]) -> None:
    from sklearn.base import clone

    fitted = classifier.fit(paths, labels)
    assert fitted.classes_.tolist() == sorted(set(labels.tolist())), f"classes_ is {fitted.classes_}"
    proba = fitted.predict_proba(paths)
    assert proba.shape == (len(paths), len(fitted.classes_)), f"probabilities of shape {proba.shape}"
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5, err_msg="probabilities do not sum to one")
    predicted = fitted.predict(paths)
    assert predicted.dtype.kind == labels.dtype.kind, f"labels {labels.dtype} come back as {predicted.dtype}"
    np.testing.assert_array_equal(predicted, fitted.classes_[proba.argmax(axis=1)])
    _require_equal_answers(fitted.predict_proba, paths, proba)
    again = clone(fitted).fit(paths, labels).predict_proba(paths)
    np.testing.assert_allclose(again, proba, rtol=1e-6, err_msg="equal fits give other probabilities")
    copied = copy.deepcopy(fitted).predict_proba(paths)
    np.testing.assert_array_equal(copied, proba, err_msg="a copy gives other probabilities")


def _require_equal_answers(answer: Any, paths: Sequence[str], rows: NDArray[Any]) -> None:
    kinds = {
        "an array": np.array(paths),
        "a column": np.array(paths).reshape(-1, 1),
        "Path objects": [Path(path) for path in paths],
        "reversed paths": list(paths)[::-1],
        "one path twice": [paths[0], paths[0]],
    }
    everything = np.arange(len(paths))
    for name, given in kinds.items():
        order = {"reversed paths": everything[::-1], "one path twice": everything[[0, 0]]}.get(name, everything)
        np.testing.assert_allclose(answer(given), rows[order], rtol=1e-4, atol=1e-4, err_msg=f"{name}: other rows")


def _require_refusal(name: str, estimator: Any, X: Any, y: Any, what: str) -> None:
    message = None
    try:
        estimator.fit(X, y)
    except (OSError, ValueError, TypeError) as error:
        message = str(error)
    assert message is not None, f"{name}: {what} is not refused"
    assert "\n" not in message, f"{name}: the refusal of {what} has more than one line"


def make_dataset(
    n: int = 60,
    n_classes: int = 3,
    n_layers: int = 3,
    dim: int = 8,
    seed: int = 0,
    groups: bool = True,
    split: Sequence[str] | None = None,
    gap: float = 1.5,
    multi_label: bool = False,
) -> Dataset:
    """Return made-up clips without audio, whose classes differ in the middle layer.

    Parameters
    ----------
    n, n_classes, n_layers, dim : int
        Clips, classes, layers, and width of a layer.
    seed : int
        Seed of all numbers.
    groups : bool
        Whether clips have groups, of two clips of each class.
    split : sequence of str, optional
        Parts or folds, in turns.
    gap : float
        Standard deviation of the classes' centres; that of the clips is 1.
    multi_label : bool
        Whether a clip has several labels or none: every fourth clip has the next class too, every seventh has none.

    Examples
    --------
    >>> make_dataset(n=12)
    Dataset(12 clips, 3 layers x 8, 3 classes, encoder='tiny')
    """
    from embedx.dataset import Dataset
    from embedx.manifest import Source
    from embedx.recipe import Recipe

    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    X = rng.normal(size=(n, n_layers, dim))
    centres = rng.normal(size=(n_classes, dim)) * gap
    has = np.eye(n_classes, dtype=bool)[codes]
    if multi_label:
        has[::4] |= np.roll(has[::4], 1, axis=1)
        has[::7] = False
    X[:, n_layers // 2] += has @ centres
    sources = tuple(
        Source(
            f"clip_{i:04d}.wav",
            label="|".join(f"class {j}" for j in np.flatnonzero(has[i])) or "|",
            group=f"g{i // (2 * n_classes)}" if groups else None,
            split=None if split is None else split[i % len(split)],
        )
        for i in range(n)
    )
    return Dataset(
        X=X.reshape(n, -1).astype(np.float16),
        control=rng.normal(size=(n, 128)).astype(np.float32),
        sources=sources,
        recipe=Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=tuple(range(n_layers))),
        root="/data",
        seconds=np.ones(n),
        hashes=rng.integers(0, 255, (n, 32)).astype(np.uint8),
        label_separator="|" if multi_label else None,
    )


def make_store(path: str | PathLike[str], dataset: Dataset | None = None) -> Path:
    """Write a store of made-up clips, as an extraction would have.

    Parameters
    ----------
    path : path-like
        The store.
    dataset : Dataset, optional
        What it shall hold; by default that of `make_dataset`.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import load_embeddings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_embeddings(make_store(f"{folder}/emb.h5"))
    Dataset(60 clips, 3 layers x 8, 3 classes, encoder='tiny')
    """
    from embedx.manifest import Manifest
    from embedx.store.rows import Embedded, FileStamp
    from embedx.store.store import EmbeddingStore

    dataset = make_dataset() if dataset is None else dataset
    X = np.asarray(dataset.X, np.float32).reshape(len(dataset), 1, dataset.n_layers, dataset.dim)
    start, end = np.zeros(1), np.ones(1)
    clips = [
        Embedded(source, FileStamp(bytes(digest), 1, 1), values, control[None], start, end)
        for source, digest, values, control in zip(dataset.sources, dataset.hashes, X, dataset.control, strict=True)
    ]
    with EmbeddingStore(path, dataset.recipe, root=dataset.root) as store:
        store.plan(Manifest(dataset.sources, Path(dataset.root)))
        store.append(clips, environment={"by": "embedx.testing"})
        store.commit()
        store.publish()
    return Path(path)


def make_tone(
    frequency_hz: float, *, seconds: float = 1.0, sample_rate: int = 16_000, noise: float = 0.01, seed: int = 0
) -> NDArray[np.float32]:
    """Return a tone in noise, (n,) float32: a clip whose class is its pitch.

    Examples
    --------
    >>> make_tone(440.0, seconds=0.5).shape
    (8000,)
    """
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    rng = np.random.default_rng(seed)
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time) + noise * rng.standard_normal(len(time))).astype(np.float32)


def write_wav(path: str, samples: NDArray[np.float32], *, sample_rate: int = 16_000) -> None:
    """Write mono float samples as a 16-bit WAV file with the standard library.

    Examples
    --------
    >>> import tempfile, os
    >>> name = os.path.join(tempfile.mkdtemp(), "tone.wav")
    >>> write_wav(name, make_tone(440.0))
    >>> os.path.getsize(name)
    32044
    """
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
