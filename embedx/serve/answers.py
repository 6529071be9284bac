"""What the service says of recordings: several are embedded together, each gets an answer or a reason why not.

A time line is made of one recording after the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.headers import read_duration
from embedx.dataset import Dataset, build_dataset
from embedx.errors import ParameterError, SourceError
from embedx.extract.any_clips import embed_any
from embedx.manifest import Manifest, Source
from embedx.model.recording_reader import RecordingReader
from embedx.recipe import Resources
from embedx.serve.limits import ServiceLimits
from embedx.serve.neighbors import Neighbors
from embedx.store.rows import ClipResult, Failure

if TYPE_CHECKING:
    from embedx.model import Model, Predictions

__all__ = ["Answerer", "Job", "Refusal"]

_MARGIN_SECONDS = 1.0
_NEIGHBORS = 5
_LABELLED = ("predict", "listen")


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted of which file: ``"predict"``, ``"embed"``, ``"search"``, ``"timeline"``, or ``"listen"``.

    The last is ``"predict"`` and, where there is something to compare with, ``"search"``.
    """

    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer: an HTTP status and a line without any path of this machine."""

    status: int
    told: str


class Answerer:
    """Answers jobs with a model.

    Parameters
    ----------
    model : Model
        What answers.
    limits : ServiceLimits
        Of them ``most_seconds``: so much of a file is decoded, whatever its header says, and a second more.
    neighbors : Neighbors or None
        Where ``"search"`` looks.
    """

    def __init__(self, model: Model, limits: ServiceLimits, neighbors: Neighbors | None = None) -> None:
        self.model, self.limits, self.neighbors = model, limits, neighbors
        self._reader: RecordingReader | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        """Return an answer or a refusal for each job, in order."""
        together = [job for job in jobs if job.kind != "timeline"]
        answers = iter(self._together(together) if together else [])
        return [self._time_line(job) if job.kind == "timeline" else next(answers) for job in jobs]

    def _time_line(self, job: Job) -> dict[str, Any] | Refusal:
        try:
            if self._reader is None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of windows unlike the clips that were learned from
                    self._reader = RecordingReader(self.model, resources=Resources(workers=1))
            line = self._reader.read(str(job.path), 0.0, self.limits.most_seconds + _MARGIN_SECONDS)
        except ParameterError as error:
            return Refusal(501, str(error))
        except SourceError as error:
            return self._refuse(job, str(error))
        if line.seconds > self.limits.most_seconds:
            return self._too_long()
        segments = [{name: _rounded(getattr(one, name)) for name in _SEGMENT} for one in line.segments]
        windows = [line.start_seconds, line.end_seconds, line.proba]
        names = ("start_seconds", "end_seconds", "probabilities")
        rows = {name: np.round(values, 4).tolist() for name, values in zip(names, windows, strict=True)}
        return {"seconds": round(line.seconds, 3), "classes": list(line.classes), "segments": segments, "windows": rows}

    def _together(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        if self.model.input_kind == "sources":
            return self._from_audio(jobs)
        manifest = self._manifest(jobs)
        results: list[ClipResult] = []
        for part, *_ in embed_any(manifest, recipe=self.model.recipe, in_process=True):  # the weights are here
            results += part
        found = {result.source.uri: result for result in results}
        good = [result for result in results if not isinstance(result, Failure)]
        if not good:
            return [self._refused(job, found[str(job.path)]) for job in jobs]
        dataset = build_dataset(good, recipe=self.model.recipe, root=manifest.root)
        rows = {source.uri: row for row, source in enumerate(dataset.sources)}
        predicted = self.model.predictions(dataset) if any(job.kind in _LABELLED for job in jobs) else None
        return [
            self._answer(job, dataset, rows[place], predicted)
            if (place := str(job.path)) in rows
            else self._refused(job, found[place])
            for job in jobs
        ]

    def _manifest(self, jobs: Sequence[Job]) -> Manifest:
        stop = self.limits.most_seconds + _MARGIN_SECONDS
        return Manifest(tuple(Source(str(job.path), stop_seconds=stop) for job in jobs), Path("/"))

    def _answer(self, job: Job, dataset: Dataset, row: int, predicted: Predictions | None) -> dict[str, Any] | Refusal:
        """Say what a job asks for of one clip, and compute nothing else."""
        if dataset.seconds[row] > self.limits.most_seconds:
            return self._too_long()
        told: dict[str, Any] = {"seconds": round(float(dataset.seconds[row]), 3)}
        clip = dataset.take([row])
        if job.kind == "embed":
            rows = np.asarray(clip.X).reshape(dataset.n_layers, -1).tolist()
            return told | {"layers": list(dataset.layers), "embedding": rows}
        if job.kind == "search" or (job.kind == "listen" and self.neighbors is not None):
            assert self.neighbors is not None
            told["nearest"] = self.neighbors.nearest(clip.average_layers()[0], _NEIGHBORS)
        if job.kind == "search":
            return told
        assert predicted is not None
        unlike = {} if predicted.novelty is None else _unlike(predicted, row)
        return told | self._classes(predicted.proba[row], predicted.labels[row]) | unlike

    def _classes(self, proba: NDArray[np.float64], label: str) -> dict[str, Any]:
        """Return the label, or the labels joined where a recording may have several, and every class's probability."""
        order = np.argsort(-proba, kind="stable")
        named = {self.model.classes[i]: round(float(proba[i]), 6) for i in order}
        return {"label": label, "probability": round(float(proba.max()), 6), "probabilities": named}

    def _from_audio(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        """Let a model that learned from audio hear the files itself."""
        if any(job.kind not in _LABELLED for job in jobs):
            unable = Refusal(501, "this model learned from audio and has no embeddings of its own")
            others = iter(self._from_audio([job for job in jobs if job.kind in _LABELLED]))
            return [next(others) if job.kind in _LABELLED else unable for job in jobs]
        if not jobs:
            return []
        found = self.model.predictions(self._manifest(jobs))
        return [
            self._refuse(job, error) if error else self._heard(job, proba, label)
            for job, error, proba, label in zip(jobs, found.errors, found.proba, found.labels, strict=True)
        ]

    def _heard(self, job: Job, proba: NDArray[np.float64], label: str) -> dict[str, Any] | Refusal:
        seconds = read_duration(job.path)
        if seconds is not None and seconds > self.limits.most_seconds:
            return self._too_long()
        return {"seconds": None if seconds is None else round(seconds, 3), **self._classes(proba, label)}

    def _refused(self, job: Job, result: ClipResult) -> Refusal:
        return self._refuse(job, result.message if isinstance(result, Failure) else "no result")

    def _refuse(self, job: Job, message: str) -> Refusal:
        told = message.replace(str(job.path), "the recording").replace(job.path.name, "the recording")
        return Refusal(422, told.replace(str(job.path.parent), ""))

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the recording is longer than {self.limits.most_seconds:g} s: send a part of it")


def _unlike(found: Predictions, i: int) -> dict[str, Any]:
    assert found.novelty is not None
    return {"novelty": round(float(found.novelty[i]), 4), "known": bool(found.known is None or found.known[i])}


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


_SEGMENT = ("onset_seconds", "offset_seconds", "label", "mean_probability", "peak_probability")
