"""What was asked for on the command line, and the step that all suites share: the embeddings of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.encoders import Chosen
from benchmarks.quality.tasks import Task, read_tasks
from benchmarks.runner import Step

__all__ = ["DEFAULT_ENCODERS", "ONE_THREAD", "Options", "embeddings_step", "quality_words"]

DEFAULT_ENCODERS = ("tiny", "tiny-random")
"""The bundled encoder, and what its architecture gives before anything was learned."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    encoders: Sequence[str]
    data: Path | None
    work: Path
    output: Path
    quick: bool
    tasks: Sequence[str]

    def chosen_tasks(self) -> dict[str, Task]:
        """Return the tasks to run, by name."""
        everything = read_tasks()
        return {name: task for name, task in everything.items() if not self.tasks or name in self.tasks}

    def store(self, encoder: Chosen, task: str) -> Path:
        """Return where a task's embeddings lie: apart for every state of the weights."""
        return self.work / "stores" / f"{encoder.name}-{encoder.weights_sha256[:12]}" / f"{task}.h5"

    def paths(self) -> list[str]:
        """Return the words that name the data folder."""
        return ["--data", str(self.data)] if self.data else []


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Of steps that run beside each other: two cores do two of them in less time than one after the other on both."""


def embeddings_step(options: Options, encoder: Chosen, task: str) -> Step:
    """Return the step that embeds a task: one record for all suites, as the store is one."""
    words = quality_words(options, encoder, task, "embed") + options.paths()
    depends = {"weights": encoder.weights_sha256, "task": _hash_of(task)}
    made = str(options.store(encoder, task))
    facts: dict[str, Any] = {"environment": ONE_THREAD, "alone": False, "shared": True, "makes": made}
    return Step(name=f"{encoder.name}/{task}/embed", words=words, depends=depends, **facts)


def quality_words(options: Options, encoder: Chosen, task: str, step: str) -> list[str]:
    """Return the command line of one step of the quality suite."""
    words = ["-m", "benchmarks.quality.steps", step, "--task", task, "--encoder", encoder.name, "--out", "{out}"]
    return [*words, "--location", encoder.location, "--store", str(options.store(encoder, task))]


def _hash_of(task: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "quality" / "tasks" / f"{task}.toml").read_bytes()).hexdigest()
