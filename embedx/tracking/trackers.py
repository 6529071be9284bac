"""One way to log for every library; one that fails later costs a warning, not the work that it was to log."""

from __future__ import annotations

import importlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from embedx.errors import EmbedxWarning, MissingExtraError, ParameterError, unknown_name
from embedx.text import first_line

__all__ = ["TRACKERS", "Tracker", "Trackers", "open_trackers"]

TRACKERS = {"mlflow": "MlflowTracker", "tensorboard": "TensorboardTracker", "wandb": "WandbTracker"}
"""Libraries that runs can be logged to, each an extra of that name, and the class of ``embedx/tracking/NAME.py``."""

_ODD = re.compile(r"[^\w\-. /:]")
"""What MLflow takes in no name."""


class Tracker(Protocol):
    """One run in one library."""

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Log options, fingerprints and versions."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log finite numbers, of a step or of the whole run."""

    def log_file(self, path: Path) -> None:
        """Log a file."""

    def close(self, *, failed: bool) -> None:
        """End the run."""


class Trackers:
    """Several runs at once, or none.

    Parameters
    ----------
    runs : mapping of str to Tracker
        By the target that each was opened for.

    Examples
    --------
    >>> with open_trackers([], name="trial run") as trackers:
    ...     trackers.log_metrics({"accuracy": 0.9})
    """

    def __init__(self, runs: Mapping[str, Tracker]) -> None:
        self._runs = dict(runs)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is logged anywhere."""
        return not self._runs

    def log_facts(self, facts: Mapping[str, Any]) -> None:
        """Log options, fingerprints and versions as text; None is left out."""
        given = {_ODD.sub("_", name): str(value) for name, value in facts.items() if value is not None}
        self._each(lambda run: run.log_facts(given))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers; what is none, NaN or infinite is left out.

        Parameters
        ----------
        metrics : mapping of str to float
            By name.
        step : int, optional
            Of a training or a study; None for what holds of the whole run.
        """
        numbers = {_ODD.sub("_", name): float(value) for name, value in metrics.items() if _is_number(value)}
        self._each(lambda run: run.log_metrics(numbers, step))

    def log_file(self, path: Path) -> None:
        """Log a file where the library keeps files (TensorBoard: text alone)."""
        self._each(lambda run: run.log_file(path))

    def close(self, *, failed: bool = False) -> None:
        """End the runs."""
        self._each(lambda run: run.close(failed=failed))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for target, run in list(self._runs.items()):
            try:
                act(run)
            except Exception as error:
                del self._runs[target]
                told = f"{type(error).__name__}: {first_line(error)}"
                text = f"nothing more is logged to {target} ({told}); the work itself goes on"
                warnings.warn(text, EmbedxWarning, stacklevel=4)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@contextmanager
def open_trackers(targets: Sequence[str], *, name: str) -> Iterator[Trackers]:
    """Open a run for each target; they end with the block, as failed when it ends with an error.

    Parameters
    ----------
    targets : sequence of str
        Such as ``"mlflow"`` or ``"tensorboard:runs/"``.
    name : str
        What the run is called.

    Raises
    ------
    ParameterError
        There is no such tracker, or its place cannot be used.
    MissingExtraError
        Its library is not installed.
    """
    trackers = Trackers({target: _open(target, name) for target in dict.fromkeys(targets)})
    try:
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close()


def _open(target: str, name: str) -> Tracker:
    library, _, place = target.partition(":")
    if library not in TRACKERS:
        raise ParameterError(unknown_name("tracker", library, TRACKERS))
    make = getattr(importlib.import_module(f"embedx.tracking.{library}"), TRACKERS[library])
    try:
        tracker: Tracker = make(place, name)
    except ImportError as error:
        raise MissingExtraError.for_extra(library, library, f"--log-to {library}") from error
    except Exception as error:
        raise ParameterError(
            f"--log-to {target}: {type(error).__name__}: {first_line(error)}. Give another place after the colon"
        ) from error
    return tracker
