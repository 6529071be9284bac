"""Progress for people: a bar on a terminal, a plain line now and then elsewhere.

Rooms below report by calling ``progress(done, total, **facts)``; what that looks like is decided here.
"""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Any, TextIO

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows done, total, rate and time left of one long piece of work.

    Parameters
    ----------
    title : str
        What is being done.
    unit : str
        What is counted, such as ``"clips"``.
    stream : text stream, optional
        Standard error by default.
    every_seconds : float
        Distance of plain lines when the stream is no terminal.

    A stream that is closed, full or whose reader is gone silences the bar; the work goes on.
    """

    def __init__(self, title: str, *, unit: str, stream: TextIO | None = None, every_seconds: float = 10.0) -> None:
        self.title, self.unit = title, unit
        self.stream: TextIO | None = sys.stderr if stream is None else stream  # None: the process has no stderr
        self.every_seconds = every_seconds
        self._bar: Any = None
        self._started = self._last = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.close()

    def __call__(self, done: int, total: int | None, **facts: object) -> None:
        """Report ``done`` of ``total``; ``facts`` are short values to show beside."""
        if self.stream is None:
            return
        try:
            show = self._draw if self.stream.isatty() else self._say
            show(done, total, facts, self.stream)
        except (OSError, ValueError):
            self.stream = None

    def _draw(self, done: int, total: int | None, facts: dict[str, object], stream: TextIO) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc=self.title, unit=f" {self.unit}", total=total, file=stream, dynamic_ncols=True)
        self._bar.total = total
        self._bar.set_postfix({key: str(value) for key, value in facts.items()}, refresh=False)
        self._bar.update(done - self._bar.n)

    def _say(self, done: int, total: int | None, facts: dict[str, object], stream: TextIO) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if now - self._last < self.every_seconds and not finished:
            return
        self._last = now
        elapsed = max(now - self._started, 1e-9)
        rate = done / elapsed
        left = f", {(total - done) / rate:.0f} s left" if total is not None and rate > 0 and not finished else ""
        extra = "".join(f", {key} {value}" for key, value in facts.items())
        print(
            f"{self.title}: {done}/{total or '?'} {self.unit}, {rate:.1f} a second{left}{extra}",
            file=stream,
            flush=True,
        )
