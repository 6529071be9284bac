"""MLflow: the one door to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MlflowTracker"]

_EXPERIMENT = "embedx"
_LONGEST_VALUE = 6000
_MOST_METRICS = 1000


class MlflowTracker:
    """A run of MLflow, in the experiment ``embedx``.

    Parameters
    ----------
    place : str
        A tracking URI; empty for MLflow's own choice (``MLFLOW_TRACKING_URI``, else a file in the current folder).
    name : str
        Of the run.
    """

    def __init__(self, place: str, name: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(place or None)
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(_EXPERIMENT)
        self._run = self._client.create_run(number, run_name=name).info.run_id

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        parts = [Param(name, value[:_LONGEST_VALUE]) for name, value in facts.items()]
        self._client.log_batch(self._run, params=parts)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log metrics."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        rows = [Metric(name, value, now, step or 0) for name, value in metrics.items()]
        for start in range(0, len(rows), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=rows[start : start + _MOST_METRICS])

    def log_file(self, path: Path) -> None:
        """Log an artifact."""
        self._client.log_artifact(self._run, str(path))

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")
