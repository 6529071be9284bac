"""What the service says of recordings: several are embedded together, each gets an answer or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.headers import read_duration
from embedx.dataset import Dataset, build_dataset
from embedx.extract.any_clips import embed_any
from embedx.manifest import Manifest, Source
from embedx.serve.limits import ServiceLimits
from embedx.store.rows import ClipResult, Failure

if TYPE_CHECKING:
    from embedx.model import Model

__all__ = ["Answerer", "Job", "Refusal"]

_MARGIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted (``"predict"`` or ``"embed"``) of which file."""

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
    """

    def __init__(self, model: Model, limits: ServiceLimits) -> None:
        self.model, self.limits = model, limits

    def __call__(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        """Return an answer or a refusal for each job, in order."""
        if self.model.input_kind == "sources":
            return self._from_audio(jobs)
        manifest = self._manifest(jobs)
        results: list[ClipResult] = [one for part, *_ in embed_any(manifest, recipe=self.model.recipe) for one in part]
        found = {result.source.uri: result for result in results}
        good = [result for result in results if not isinstance(result, Failure)]
        if not good:
            return [self._refused(job, found[str(job.path)]) for job in jobs]
        dataset = build_dataset(good, recipe=self.model.recipe, root=manifest.root)
        told = dict(zip((source.uri for source in dataset.sources), self._told(dataset), strict=True))
        return [
            self._answer(job, told[place]) if (place := str(job.path)) in told else self._refused(job, found[place])
            for job in jobs
        ]

    def _manifest(self, jobs: Sequence[Job]) -> Manifest:
        stop = self.limits.most_seconds + _MARGIN_SECONDS
        return Manifest(tuple(Source(str(job.path), stop_seconds=stop) for job in jobs), Path("/"))

    def _told(self, dataset: Dataset) -> list[dict[str, Any]]:
        """Return all that is known of each clip; what a job does not ask for is left out later."""
        found = self.model.predictions(dataset)
        layers = np.asarray(dataset.X).reshape(len(dataset), dataset.n_layers, -1)
        return [
            {
                "seconds": round(float(dataset.seconds[i]), 3),
                **self._classes(found.proba[i]),
                "layers": list(dataset.layers),
                "embedding": layers[i].tolist(),
            }
            for i in range(len(dataset))
        ]

    def _classes(self, proba: NDArray[np.float64]) -> dict[str, Any]:
        order = np.argsort(-proba, kind="stable")
        named = {self.model.classes[i]: round(float(proba[i]), 6) for i in order}
        label = self.model.classes[order[0]]
        return {"label": label, "probability": named[label], "probabilities": named}

    def _answer(self, job: Job, told: dict[str, Any]) -> dict[str, Any] | Refusal:
        if told["seconds"] > self.limits.most_seconds:
            return self._too_long()
        wanted = _FIELDS[job.kind]
        return {name: value for name, value in told.items() if name in wanted}

    def _from_audio(self, jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
        """Let a model that learned from audio hear the files itself."""
        if any(job.kind == "embed" for job in jobs):
            unable = Refusal(501, "this model learned from audio and has no embeddings of its own")
            others = iter(self._from_audio([job for job in jobs if job.kind != "embed"]))
            return [unable if job.kind == "embed" else next(others) for job in jobs]
        if not jobs:
            return []
        found = self.model.predictions(self._manifest(jobs))
        return [
            self._refuse(job, error) if error else self._heard(job, proba)
            for job, error, proba in zip(jobs, found.errors, found.proba, strict=True)
        ]

    def _heard(self, job: Job, proba: NDArray[np.float64]) -> dict[str, Any] | Refusal:
        seconds = read_duration(job.path)
        if seconds is not None and seconds > self.limits.most_seconds:
            return self._too_long()
        return {"seconds": None if seconds is None else round(seconds, 3), **self._classes(proba)}

    def _refused(self, job: Job, result: ClipResult) -> Refusal:
        return self._refuse(job, result.message if isinstance(result, Failure) else "no result")

    def _refuse(self, job: Job, message: str) -> Refusal:
        told = message.replace(str(job.path), "the recording").replace(job.path.name, "the recording")
        return Refusal(422, told.replace(str(job.path.parent), ""))

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the recording is longer than {self.limits.most_seconds:g} s: send a part of it")


_FIELDS = {
    "predict": {"seconds", "label", "probability", "probabilities"},
    "embed": {"seconds", "layers", "embedding"},
}
