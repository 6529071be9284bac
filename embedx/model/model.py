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

from embedx.audio.clip_parts import as_listed, rows_of_repeated
from embedx.checks import require_number
from embedx.dataset import Dataset
from embedx.errors import EmbedxWarning, SkippedSourcesWarning
from embedx.heads.calibration import Calibration, as_distribution
from embedx.heads.novelty import Novelty
from embedx.manifest import Manifest
from embedx.model.predictions import Predictions
from embedx.recipe import Recipe, Resources
from embedx.text import as_html

if TYPE_CHECKING:
    from embedx.timeline import TimeLine

__all__ = ["Clips", "Model"]

UNKNOWN_AT = 0.05
"""Share of known clips that may be called unknown, unless told otherwise."""

Clips = Dataset | Manifest | Iterable[Any] | Any
"""What a model labels: embeddings, a manifest, or clips; see `Model.predictions`."""


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
    label_separator : str or None
        What stands between the classes of a label where a clip may have several; None where it has one.
    thresholds : tuple of float
        Where a clip may have several labels: probability from which on it is given each class.
    novelty : Novelty or None
        What tells unknown sounds; None for a head that learned from audio, where no group could be held out, and for
        a model of an embedx before it.

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
    label_separator: str | None = None
    thresholds: tuple[float, ...] = ()
    novelty: Novelty | None = None

    def __repr__(self) -> str:
        several = "" if self.label_separator is None else ", several a clip"
        return f"Model({self.head!r}, {len(self.classes)} classes{several}, encoder={self.recipe.encoder!r})"

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
        sampling_rate: int | None = None,
        resources: Resources | None = None,
        progress: Callable[..., None] | None = None,
        in_process: bool | None = None,
        unknown_at: float | None = None,
    ) -> Predictions:
        """Label clips: audio is decoded, embedded by the model's own recipe, and predicted.

        Parameters
        ----------
        clips : Dataset, Manifest, or clips
            Embeddings, a manifest, or a list or column of clips: paths; arrays of samples, (n,) or with up to 8
            channels first or last, floats within -1 to 1 or PCM (int16, int32, uint8); ``(samples, rate)`` pairs;
            ``{"array", "sampling_rate"}`` or ``{"bytes", "path"}``, as Hugging Face's ``datasets`` gives them; files
            that are open in binary. A single array, pair, mapping or open file is one clip. A dataset of ``datasets``
            with one Audio column is read undecoded, its files as any files.
        sampling_rate : int, optional
            Hertz of arrays that come without one.
        resources : Resources, optional
            Device, batch size and workers.
        progress : callable, optional
            Called as ``progress(done, total, **facts)``.
        in_process : bool, optional
            Whether files are encoded in this process, where the encoder stays loaded from call to call, or in one
            that may die of them. By default up to 16 files (32 MB) are; what lies in memory always is. Files are
            decoded in processes of their own either way.
        unknown_at : float, optional
            Share of known clips that may be called unknown, between 0 and 1: the limit is where so many clips lie that
            were held out, groups whole, when the model was fitted. Labels and probabilities do not depend on it. By
            default 0.05, or the least share that can be held where fewer than 19 clips were held out.

        Returns
        -------
        Predictions
            One row a clip that was given; a clip that cannot be used is a row with its reason.

        Raises
        ------
        ParameterError
            ``unknown_at`` is no such share.
        RecipeMismatchError
            The embeddings were made by another recipe; the fields that differ are listed.
        ParameterError
            A clip is none: another kind of thing, samples without a rate, empty, with NaN or other axes.
        """
        clips = as_listed(clips)
        choices: dict[str, Any] = {"resources": resources, "progress": progress, "in_process": in_process}
        found = Predictions.join(self.stream(clips, sampling_rate=sampling_rate, unknown_at=unknown_at, **choices))
        rows = None if isinstance(clips, Dataset) else rows_of_repeated(clips)
        return found if rows is None else found.take(rows)

    def stream(
        self,
        clips: Clips,
        *,
        sampling_rate: int | None = None,
        resources: Resources | None = None,
        progress: Callable[..., None] | None = None,
        in_process: bool | None = None,
        unknown_at: float | None = None,
    ) -> Iterator[Predictions]:
        """Label clips as `predictions` does, and give them part by part, in order, while the next are computed.

        Parameters
        ----------
        clips, sampling_rate, resources, progress, in_process, unknown_at
            As in `predictions`; a path that is listed twice is labelled once.

        Yields
        ------
        Predictions
            Of the next clips.
        """
        from embedx.model.predict_clips import predict_parts

        limit = self._novelty_limit(unknown_at)
        choices: dict[str, Any] = {"progress": progress, "in_process": in_process}
        for part in predict_parts(self, clips, sampling_rate, resources=resources or Resources(), **choices):
            yield replace(part, novelty_limit=limit)

    def _novelty_limit(self, unknown_at: float | None) -> float | None:
        require_number("unknown_at", unknown_at, 0, 1, optional=True, open_low=True, open_high=True)
        if self.novelty is None:
            return None
        if unknown_at is not None:
            return self.novelty.limit(unknown_at)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmbedxWarning)  # nobody asked for a share that few clips cannot hold
            return self.novelty.limit(UNKNOWN_AT)

    def embed(self, clips: Clips, *, sampling_rate: int | None = None, **options: Any) -> Dataset:
        """Embed clips by the model's recipe: what its head sees of them, and the log-mel control.

        Parameters
        ----------
        clips, sampling_rate, **options
            As in `predictions`.

        Returns
        -------
        Dataset
            One row a clip, in order; clips that cannot be used are left out with a `SkippedSourcesWarning`.

        Raises
        ------
        ParameterError
            The model learned from audio and has no embeddings, or a clip is none.
        DatasetError
            No clip can be used.
        """
        from embedx.model.predict_clips import embed_clips

        return embed_clips(self, clips, sampling_rate, **options)

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

    def probabilities(self, X: Any) -> NDArray[np.float64]:
        """Return the calibrated probabilities of rows as the head takes them, shape (n, n_classes)."""
        if self.label_separator is not None:
            return np.asarray(self.estimator.predict_proba(X), dtype=np.float64)
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
            What `save` wrote; or ``hf:OWNER/NAME[@REVISION]``, as `from_pretrained`, where no folder has that name.
        trusted : iterable of str
            Types of a user's own classifier that may be loaded, by full name.

        Raises
        ------
        ModelFormatError
            No model, a damaged or hostile one, or one of another major version.
        """
        from embedx.model.folder import load

        return cls(**load(Path(folder), trusted=tuple(trusted)))

    @classmethod
    def from_pretrained(
        cls, repo: str, *, revision: str | None = None, token: str | None = None, trusted: Iterable[str] = ()
    ) -> Model:
        """Read a model of the Hugging Face hub; nothing of it is executed, and nothing but a model's files is fetched.

        Parameters
        ----------
        repo : str
            ``OWNER/NAME``. A name alone never leads to the hub elsewhere: `load` takes ``hf:OWNER/NAME``.
        revision : str, optional
            Branch, tag or commit. A commit that lies in the cache is used without asking the network; name one, as
            `push_to_hub` returns it, for a model that stays the same.
        token : str, optional
            Who asks; the one that ``hf auth login`` kept where absent.
        trusted : iterable of str
            As in `load`.

        Raises
        ------
        ModelFormatError
            No such model or revision, no right to read it, or no network and nothing in the cache; or as `load`.
        """
        from embedx.model.hub_models import fetch_model

        return cls.load(fetch_model(repo, revision=revision, token=token), trusted=trusted)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Upload the model to the Hugging Face hub in one commit: the files that `save` writes, the card among them.

        Parameters
        ----------
        repo : str
            ``OWNER/NAME``; made where there is none.
        **options
            ``private`` (bool) for a repository that is made, ``revision`` (a branch), ``token``, and the ``message``
            of the commit.

        Returns
        -------
        str
            The commit, 40 hexadecimal digits.

        Raises
        ------
        ModelFormatError
            No right to write there, no network, or the head cannot be saved.
        """
        from embedx.model.folder import push

        return push(self, repo, **options)
