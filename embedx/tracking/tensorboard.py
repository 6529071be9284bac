"""TensorBoard: the one door to it, by torch's writer of event files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from embedx.text import as_code

__all__ = ["TensorboardTracker"]

_TEXTS = {".md", ".txt"}


class TensorboardTracker:
    """A folder of event files.

    Parameters
    ----------
    place : str
        The folder that ``tensorboard --logdir`` is given; ``runs`` when it is empty.
    name : str
        Of the run, a folder in it.
    """

    def __init__(self, place: str, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(place or "runs") / f"{name} {time.strftime('%Y-%m-%d %H.%M.%S')}"
        self._writer = SummaryWriter(str(folder))

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Log a table as text."""
        rows = "\n".join(f"| {as_code(name)} | {as_code(value)} |" for name, value in facts.items())
        self._writer.add_text("run", f"| | |\n| --- | --- |\n{rows}")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log scalars."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step or 0)

    def log_file(self, path: Path) -> None:
        """Log Markdown and plain text; event files hold no others."""
        if path.suffix in _TEXTS:
            self._writer.add_text(path.name, path.read_text(encoding="utf-8"))

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        self._writer.close()
