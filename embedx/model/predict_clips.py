"""From clips of any kind to what a model says of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.clip_parts import ClipPart, as_listed, clip_parts, rows_of_repeated
from embedx.dataset import Dataset, build_dataset
from embedx.errors import ParameterError, SkippedSourcesWarning
from embedx.heads.novelty import novelty_inputs
from embedx.manifest import Source
from embedx.model.predictions import Predictions
from embedx.recipe import Recipe, Resources
from embedx.store.rows import ClipResult, Embedded, Failure

__all__ = ["embed_clips", "predict_parts"]

_HEARD_AT_A_TIME = 256

Progress = Callable[..., None]


def predict_parts(
    model: Any, clips: Any, sampling_rate: int | None, *, resources: Resources, **choices: Any
) -> Iterator[Predictions]:
    """Yield what a model says of clips, part by part; see `Model.stream`."""
    if isinstance(clips, Dataset):
        yield _rows(model, clips.sources, clips, {})
    elif model.input_kind == "sources":
        yield from _from_audio(model, clips, sampling_rate, resources, choices["progress"])
    else:
        from embedx.extract.any_clips import embed_any

        choices |= {"recipe": model.recipe, "resources": resources}
        for results, recipe, root in embed_any(clips, sampling_rate, **choices):
            yield _from_results(model, results, recipe, root)


def embed_clips(model: Any, clips: Any, sampling_rate: int | None, **choices: Any) -> Dataset:
    """Return the embeddings of clips; see `Model.embed`.

    Raises
    ------
    ParameterError
        The model learned from audio itself.
    """
    if model.input_kind == "sources":
        raise ParameterError(
            f"the head {model.head!r} learned from audio and has no embeddings: AudioEmbedder makes some"
        )
    from embedx.extract.any_clips import embed_all

    clips = as_listed(clips)
    choices = {"recipe": model.recipe, **{name: value for name, value in choices.items() if value is not None}}
    results, recipe, root = embed_all(clips, sampling_rate, **choices)
    rows = rows_of_repeated(clips)
    return build_dataset(results if rows is None else [results[i] for i in rows], recipe=recipe, root=root)


def _from_results(model: Any, results: list[ClipResult], recipe: Recipe, root: Path) -> Predictions:
    failures = {result.source.key: result.message for result in results if isinstance(result, Failure)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedSourcesWarning)  # they are rows here
        some = len(failures) < len(results)
        dataset = build_dataset(results, recipe=recipe, root=root) if some else None
    found = _rows(model, tuple(result.source for result in results), dataset, failures)
    long = [result for result in results if isinstance(result, Embedded) and len(result.embeddings) > 1]
    return replace(found, mixed=tuple(told for clip in long if (told := _disagreement(model, clip))))


def _disagreement(model: Any, clip: Embedded) -> str | None:
    """Say how often the windows of a clip were given each label, if no label has two thirds of them."""
    if model.label_separator is not None:
        return None
    control = model.input_kind == "control"
    X = clip.control if control else clip.embeddings.reshape(len(clip.embeddings), -1)
    best = model.probabilities(X if control else X.astype(model.recipe.store_dtype)).argmax(axis=1)
    counts = np.bincount(best, minlength=len(model.classes))
    if 3 * counts.max() >= 2 * len(best):
        return None
    told = ", ".join(f"{model.classes[i]} {counts[i]}" for i in np.argsort(-counts, kind="stable")[:3] if counts[i])
    return f"{clip.source.id} ({len(best)} windows: {told})"


def _from_audio(
    model: Any, clips: Any, sampling_rate: int | None, resources: Resources, progress: Progress | None
) -> Iterator[Predictions]:
    """Let a head that learned from audio hear the clips itself."""
    head = model.estimator.set_params(device=resources.device, batch_seconds=resources.batch_seconds)
    for part in clip_parts(clips, sampling_rate):
        for start in range(0, len(part.manifest), _HEARD_AT_A_TIME):
            sources = part.manifest.sources[start : start + _HEARD_AT_A_TIME]
            located = [replace(source, uri=str(part.manifest.path_of(source))) for source in sources]
            proba, errors = head.predict_with_errors(located, progress=part.counting(progress, start))
            good = ~np.isnan(proba).any(axis=1)
            proba[good] = model.calibrated(proba[good])
            yield _named(Predictions(sources=sources, classes=model.classes, proba=proba, errors=errors), part)


def _named(found: Predictions, part: ClipPart) -> Predictions:
    """Give clips that lie in memory the names that they have for the caller."""
    pairs = zip(found.sources, found.errors, strict=True)
    errors = tuple(error and part.told(source, error) for source, error in pairs)
    return replace(found, sources=tuple(map(part.called, found.sources)), errors=errors)


def _rows(model: Any, sources: tuple[Source, ...], dataset: Dataset | None, failures: Mapping[Any, str]) -> Predictions:
    proba = np.full((len(sources), len(model.classes)), np.nan)
    novelty = None if model.novelty is None else np.full(len(sources), np.nan)
    if dataset is not None:
        found, unlike = _proba(model, dataset), _novelty(model, dataset)
        where = {source.key: i for i, source in enumerate(dataset.sources)}
        for row, source in enumerate(sources):
            if source.key in where:
                proba[row] = found[where[source.key]]
                if novelty is not None and unlike is not None:
                    novelty[row] = unlike[where[source.key]]
    lost = np.isnan(proba).any(axis=1)
    errors = tuple(failures.get(s.key, "no result") if bad else None for s, bad in zip(sources, lost, strict=True))
    sets: dict[str, Any] = {"label_separator": model.label_separator, "thresholds": model.thresholds}
    return Predictions(sources=sources, classes=model.classes, proba=proba, errors=errors, novelty=novelty, **sets)


def _proba(model: Any, dataset: Dataset) -> NDArray[np.float64]:
    model.recipe.require_same(
        dataset.recipe,
        where="the model",
        advice="Extract these clips again with the model's recipe, or predict from the audio files",
    )
    X = dataset.inputs_for(model)
    return model.probabilities(_rounded(model, X) if model.input_kind == "embeddings" else X)


def _novelty(model: Any, dataset: Dataset) -> NDArray[np.float64] | None:
    """Return how unlike what was learned from each clip of a dataset is, shape (n,)."""
    if model.novelty is None:
        return None
    n_layers = dataset.n_layers if model.input_kind == "embeddings" else 0
    X = _rounded(model, dataset.X)
    return model.novelty.score(novelty_inputs(model.estimator, X, dataset.control, n_layers=n_layers))


def _rounded(model: Any, X: Any) -> Any:
    """Return embeddings rounded as the store rounds: one answer whichever way a clip comes."""
    return X if X.dtype == model.recipe.store_dtype else np.asarray(X, dtype=model.recipe.store_dtype)
