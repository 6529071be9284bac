"""Model: a fitted head, the recipe it was trained on, its classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import SkippedSourcesWarning
from embedx.heads.calibration import Calibration, as_distribution
from embedx.manifest import Manifest, Source
from embedx.model.predictions import Predictions
from embedx.recipe import Recipe, Resources
from embedx.store.rows import ClipResult, Embedded, Failure
from embedx.text import as_html

if TYPE_CHECKING:
    from embedx.timeline import TimeLine

__all__ = ["Clips", "Model"]

_HEARD_AT_A_TIME = 256

Clips = Dataset | Manifest | Iterable[str | os.PathLike[str]]
"""What a model labels: embeddings, a manifest, or paths of audio files."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Model:
    """A trained classifier that knows how its embeddings have to be made.

    Parameters
    ----------
    head : str
        Name in the catalogue, or the class of a user's own classifier.
    estimator : estimator
        Fitted.
    input_kind : str
        ``"embeddings"``, ``"control"`` or ``"sources"``.
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
        ``n_clips``, ``hash``, clips a class, and ``median_clip_seconds`` unless it was trained by an older embedx.
    versions : mapping of str to str
        Libraries that trained it; empty for a model that was just fitted.
    calibration : Calibration or None
        Correction of the probabilities.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import Model, fit_model
    >>> from embedx.testing import make_dataset
    >>> dataset = make_dataset()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = fit_model(dataset, "logreg").save(f"{folder}/model")
    ...     Model.load(place).predict_dataset(dataset)[:3].tolist()
    ['class 0', 'class 1', 'class 2']
    """

    head: str
    estimator: Any
    input_kind: str
    recipe: Recipe
    classes: tuple[str, ...]
    n_features: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        return f"Model({self.head!r}, {len(self.classes)} classes, encoder={self.recipe.encoder!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        scores = {f"{part} accuracy": f"{of['accuracy']:.1%}" for part, of in self.scores.items() if "accuracy" in of}
        facts = {"classes": ", ".join(self.classes), "encoder": self.recipe.encoder, "clips": self.training["n_clips"]}
        return as_html(f"Model: {self.head}", [*{**facts, **self.parameters, "seed": self.seed, **scores}.items()])

    def with_scores(self, scores: Mapping[str, Any]) -> Model:
        """Return the model with what was measured on it."""
        return replace(self, scores=scores)

    def predictions(
        self,
        clips: Clips,
        *,
        resources: Resources | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Predictions:
        """Label clips: audio is decoded, embedded by the model's own recipe, and predicted.

        Parameters
        ----------
        clips : Dataset, Manifest or iterable of path-like
            What to label.
        resources : Resources, optional
            Device, batch size and workers.
        progress : callable, optional
            Called as ``progress(done, total, **facts)``.

        Returns
        -------
        Predictions
            One row a clip; a clip that cannot be used is a row with its reason.

        Raises
        ------
        RecipeMismatchError
            The embeddings were made by another recipe; the fields that differ are listed.
        """
        return Predictions.join(self.stream(clips, resources=resources, progress=progress))

    def stream(
        self,
        clips: Clips,
        *,
        resources: Resources | None = None,
        progress: Callable[..., None] | None = None,
    ) -> Iterator[Predictions]:
        """Label clips as `predictions` does, and give them part by part, in order, while the next are computed.

        Parameters
        ----------
        clips, resources, progress
            As in `predictions`.

        Yields
        ------
        Predictions
            Of the next clips.
        """
        if isinstance(clips, Dataset):
            yield self._rows(clips.sources, clips, {})
            return
        manifest = clips if isinstance(clips, Manifest) else Manifest.from_paths(clips)
        if self.input_kind == "sources":
            yield from self._from_audio(manifest, resources or Resources(), progress)
            return
        from embedx.extract.job import embed_parts

        parts, recipe = embed_parts(manifest, recipe=self.recipe, resources=resources or Resources(), progress=progress)
        for results in parts:
            yield self._from_results(results, recipe, manifest.root)

    def _from_results(self, results: list[ClipResult], recipe: Recipe, root: Path) -> Predictions:
        from embedx.dataset import build_dataset

        failures = {result.source.key: result.message for result in results if isinstance(result, Failure)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedSourcesWarning)  # they are rows here
            some = len(failures) < len(results)
            dataset = build_dataset(results, recipe=recipe, root=root) if some else None
        found = self._rows(tuple(result.source for result in results), dataset, failures)
        long = [result for result in results if isinstance(result, Embedded) and len(result.embeddings) > 1]
        return replace(found, mixed=tuple(told for clip in long if (told := self._disagreement(clip))))

    def _disagreement(self, clip: Embedded) -> str | None:
        """Say how often the windows of a clip were given each label, if no label has two thirds of them."""
        control = self.input_kind == "control"
        X = clip.control if control else clip.embeddings.reshape(len(clip.embeddings), -1)
        best = self.probabilities(X if control else X.astype(self.recipe.store_dtype)).argmax(axis=1)
        counts = np.bincount(best, minlength=len(self.classes))
        if 3 * counts.max() >= 2 * len(best):
            return None
        told = ", ".join(f"{self.classes[i]} {counts[i]}" for i in np.argsort(-counts, kind="stable")[:3] if counts[i])
        return f"{clip.source.id} ({len(best)} windows: {told})"

    def _from_audio(
        self, manifest: Manifest, resources: Resources, progress: Callable[..., None] | None
    ) -> Iterator[Predictions]:
        """Let a head that learned from audio hear the clips itself."""
        head = self.estimator.set_params(device=resources.device, batch_seconds=resources.batch_seconds)
        for start in range(0, len(manifest), _HEARD_AT_A_TIME):
            sources = tuple(manifest)[start : start + _HEARD_AT_A_TIME]
            located = [replace(source, uri=str(manifest.path_of(source))) for source in sources]
            proba, errors = head.predict_with_errors(located, progress=_from(start, len(manifest), progress))
            good = ~np.isnan(proba).any(axis=1)
            proba[good] = self.calibrated(proba[good])
            yield Predictions(sources=sources, classes=self.classes, proba=proba, errors=errors)

    def timeline(self, recording: str | os.PathLike[str], *, progress: Any = None, **options: Any) -> TimeLine:
        """Say what is heard when in one long recording, in bounded memory.

        Parameters
        ----------
        recording : path-like
            The file.
        progress : callable, optional
            Called with the second of the recording that has been reached.
        **options
            Of `RecordingReader`, which reads several recordings with one encoder: ``window_seconds``,
            ``hop_seconds``, ``one_pass``, ``options`` (a `SegmentOptions`) and ``resources``.

        Raises
        ------
        SourceError, ParameterError
            The recording cannot be read to its end, or the options do not suit the model.
        """
        from embedx.model.recording_reader import RecordingReader

        with RecordingReader(self, **options) as reader:
            return reader.read(os.fspath(recording), progress=progress)

    def predict(self, clips: Clips, **options: Any) -> NDArray[np.object_]:
        """Return the label of each clip, shape (n,); None (and a warning) where a clip failed."""
        return self._warned(self.predictions(clips, **options)).labels

    def predict_proba(self, clips: Clips, **options: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes); a row of NaN (and a warning) where a clip failed."""
        return self._warned(self.predictions(clips, **options)).proba

    def predict_dataset(self, dataset: Dataset) -> NDArray[np.object_]:
        """Return the label of each clip of a dataset, shape (n,)."""
        return self.predictions(dataset).labels

    def _warned(self, found: Predictions) -> Predictions:
        if found.n_failed:
            first = next(f"{s.id}: {e}" for s, e in zip(found.sources, found.errors, strict=True) if e)
            warnings.warn(
                f"{found.n_failed} of {len(found)} clips have no prediction ({first})",
                SkippedSourcesWarning,
                stacklevel=3,
            )
        return found

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
        X = dataset.inputs_for(self)
        if self.input_kind == "embeddings" and X.dtype != self.recipe.store_dtype:
            # rounded as the store rounds: one answer whichever way a clip comes
            X = np.asarray(X, dtype=self.recipe.store_dtype)
        return self.probabilities(X)

    def probabilities(self, X: Any) -> NDArray[np.float64]:
        """Return the calibrated probabilities of rows as the head takes them, shape (n, n_classes)."""
        return self.calibrated(as_distribution(self.estimator.predict_proba(X)))

    def calibrated(self, proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes) with the model's correction, if it has one."""
        return proba if self.calibration is None else self.calibration.apply(proba)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
        """Write the model to a folder: JSON, plain arrays, LightGBM's text; no pickle.

        It is read back before it takes its place, which is one step: readers find the old model or the new one.

        Parameters
        ----------
        folder : path-like
            A new folder, or one that holds a model and nothing else.
        overwrite : bool
            Whether a model that lies there may be replaced.

        Raises
        ------
        ModelFormatError
            The folder holds something else, or a model that may not be replaced; the head cannot be written
            without pickle, or not be read back. What was there is as it was.
        """
        from embedx.model.folder import save

        return save(self, Path(folder), overwrite=overwrite)

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

        return cls(**load(Path(folder), trusted=tuple(trusted)))


def _from(start: int, total: int, progress: Callable[..., None] | None) -> Callable[..., None] | None:
    """Let a part's progress count from where it begins."""
    if progress is None:
        return None
    return lambda done, _, **facts: progress(start + done, total, **facts)
