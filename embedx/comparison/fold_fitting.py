"""One head in one fold: fitted on the training part only, timed, its memory watched, one thread each."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embedx.comparison.result import Kind
from embedx.dataset import Dataset
from embedx.evaluation.metrics import align_proba
from embedx.evaluation.splits import Fold
from embedx.heads.catalog import as_spec, fit_arguments, fit_head, make_head, with_recipe
from embedx.heads.multi_label import MultiLabelHead

__all__ = ["Candidate", "CurvePoint", "FoldFit", "Learned", "fit_fold", "fit_part", "one_thread"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What names a candidate that is a point of a curve, not a row of the table.

    Parameters
    ----------
    curve : {'layer', 'size'}
        Which curve.
    store : str
        Whose.
    at : float
        Number of the layer, or share of the training part.
    """

    curve: Literal["layer", "size"]
    store: str
    at: float

    def __str__(self) -> str:
        return " ".join(filter(None, (self.curve, self.store, f"{self.at:g}")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A fitted head, and what was chosen on the way to it."""

    estimator: Any
    input_kind: str
    chosen: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[float, ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One row before it is scored: how it learns from a training part.

    Parameters
    ----------
    name : str or CurvePoint
        Unique: that of the row, or what point of which curve it is.
    title, kind, head, store : str
        As in `embedx.comparison.result.Row`.
    learn : callable
        ``learn(part, seed)`` fits on a data set and returns `Learned`; it must be picklable.
    warm : head, optional
        What is fitted once on a few clips before a clock runs, so that imports are nobody's seconds.
    fits : mapping of str to float
        What it costs: fits of a head on the whole training part, by head.
    """

    name: str | CurvePoint
    title: str
    kind: Kind
    head: str
    store: str
    learn: Callable[[Dataset, int], Learned]
    warm: Any = None
    fits: Mapping[str, float] = field(default_factory=dict)

    @property
    def on_audio(self) -> bool:
        """Whether it learns from audio, not from embeddings."""
        return self.warm is not None and as_spec(self.warm).input_kind == "sources"

    @property
    def is_plain(self) -> bool:
        """Whether it is one fit of a head on embeddings, which tells what others will cost."""
        return isinstance(self.name, str) and dict(self.fits) == {self.head: 1} and not self.on_audio


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FoldFit:
    """Probabilities of a fold's tested clips (n_test, k), and what they cost."""

    proba: NDArray[np.float64]
    seconds_fit: float
    seconds_predict: float
    peak_bytes: int | None
    chosen: Mapping[str, Any]
    history: tuple[float, ...]
    epochs: tuple[Mapping[str, Any], ...]


def fit_part(part: Dataset, head: Any, *, seed: int, params: Mapping[str, Any] | None = None) -> Learned:
    """Fit a head with given parameters on a data set; where a clip may have several labels, with its thresholds."""
    if part.label_separator is not None:
        return _fit_sets(part, head, seed, params or {})
    head = with_recipe(head, part.recipe)
    estimator = make_head(head, n_layers=part.n_layers, random_state=seed, **(params or {}))
    spec = as_spec(head)
    groups = part.groups if "groups" in fit_arguments(estimator) else None  # they are read off every clip's source
    fit_head(estimator, part.inputs_for(spec), part.y, groups=groups)
    epochs = tuple(getattr(estimator, "history_", ())) if spec.input_kind == "sources" else ()
    return Learned(estimator=estimator, input_kind=spec.input_kind, epochs=epochs)


def _fit_sets(part: Dataset, head: Any, seed: int, params: Mapping[str, Any]) -> Learned:
    spec = as_spec(head)
    made = MultiLabelHead(spec, n_layers=part.n_layers, random_state=seed, **params)
    made.fit(part.inputs_for(spec), part.label_matrix(part.classes), part.classes, groups=part.groups)
    thresholds = dict(zip(part.classes, made.thresholds_.tolist(), strict=True))
    return Learned(estimator=made, input_kind=spec.input_kind, chosen={"thresholds": thresholds})


def fit_fold(candidate: Candidate, dataset: Dataset, fold: Fold, classes: NDArray[Any], *, seed: int) -> FoldFit:
    """Fit a candidate on a fold's training part and predict its test part.

    Parameters
    ----------
    candidate : Candidate
        What learns.
    dataset : Dataset
        All clips; only ``fold.train`` is shown to the candidate.
    fold : Fold
        The cut.
    classes : ndarray of shape (k,)
        Columns of the result.
    seed : int
        Seed of the head.
    """
    part, test = dataset.take(fold.train), dataset.take(fold.test)
    if not candidate.on_audio:
        _warm_up(part, candidate.warm)
    with nullcontext() if candidate.on_audio else one_thread():
        before = _reset_peak()
        started = time.perf_counter()
        learned = candidate.learn(part, seed)
        fitted = time.perf_counter()
        proba = learned.estimator.predict_proba(test.inputs_for(learned))
        done = time.perf_counter()
    return FoldFit(
        proba=align_proba(proba, learned.estimator.classes_, classes),
        seconds_fit=fitted - started,
        seconds_predict=done - fitted,
        peak_bytes=_peak_since(before),
        chosen=dict(learned.chosen),
        history=learned.history,
        epochs=learned.epochs,
    )


_WARM: set[str] = set()


def _warm_up(part: Dataset, head: Any) -> None:
    """Fit a head on a few clips of two classes the first time that this process meets it."""
    name = "" if head is None else as_spec(head).name
    if not name or name in _WARM:
        return
    _WARM.add(name)
    labels = np.asarray(part.y)
    few = np.concatenate([np.flatnonzero(labels == label)[:10] for label in np.unique(labels)[:2]])
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit_part(part.take(few), head, seed=0)
        except Exception:  # a head that cannot learn from so little will say so on the real part
            return


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold numeric libraries to one thread, so that folds run side by side and costs compare."""
    torch = sys.modules.get("torch")
    threads = 0 if torch is None else torch.get_num_threads()
    with threadpool_limits(limits=1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(threads)


def _reset_peak() -> int | None:
    """Start the kernel's high-water mark of this process anew (Linux); return what is held now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status_bytes("VmRSS")


def _peak_since(before: int | None) -> int | None:
    peak = None if before is None else _status_bytes("VmHWM")
    return None if peak is None or before is None else max(0, peak - before)


def _status_bytes(name: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
