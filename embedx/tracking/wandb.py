"""Weights & Biases: the one door to it. ``WANDB_MODE=offline`` keeps everything on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["WandbTracker"]


class WandbTracker:
    """A run of Weights & Biases.

    Parameters
    ----------
    place : str
        A project; ``embedx`` when it is empty.
    name : str
        Of the run.
    """

    def __init__(self, place: str, name: str) -> None:
        import wandb

        self._library = wandb
        settings = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(project=place or "embedx", name=name, settings=settings, reinit="create_new")
        self._run.define_metric("*", step_metric="at")

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Log the configuration."""
        self._run.config.update(dict(facts), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log to the summary, or a row of the history that holds its own step."""
        if step is None:
            self._run.summary.update(dict(metrics))
        else:
            self._run.log({**metrics, "at": step})

    def log_file(self, path: Path) -> None:
        """Log an artifact of the file's name."""
        artifact = self._library.Artifact(f"{self._run.id}-{path.name}", type="result")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        """End the run, and the process that the library has started for it."""
        self._run.finish(exit_code=int(failed))
        self._library.teardown()
