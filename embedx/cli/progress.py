"""Progress for people: a bar on a terminal, a plain line now and then elsewhere.

Rooms below report by calling ``progress(done, total, **facts)``; what that looks like is decided here.
"""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Any, TextIO

from embedx.cli.terminal import log, show, talk
from embedx.text import printable

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

    Rate and time left count from the first report: what an earlier run did is done, but was not done now.
    With ``--quiet`` nothing is shown; a log file gets the plain lines, whatever the stream shows.
    A stream that is closed, full or whose reader is gone silences the bar; the work goes on.
    """

    def __init__(self, title: str, *, unit: str, stream: TextIO | None = None, every_seconds: float = 10.0) -> None:
        self.title, self.unit = title, unit
        self.stream: TextIO | None = sys.stderr if stream is None else stream  # None: the process has no stderr
        self.every_seconds = every_seconds
        self._bar: Any = None
        self._last = time.monotonic()
        self._began: tuple[int, float] | None = None

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
        if self._began is None:
            self._began = done, time.monotonic()
        draws = self.stream is not None and not talk.quiet and self.stream.isatty()
        try:
            if draws:
                self._draw(done, total, facts)
            self._say(done, total, facts, is_shown=self.stream is not None and not talk.quiet and not draws)
        except (OSError, ValueError):
            self.stream = None

    def _draw(self, done: int, total: int | None, facts: dict[str, object]) -> None:
        if self._bar is None:
            from tqdm import tqdm

            words: dict[str, Any] = {"desc": printable(self.title), "unit": f" {self.unit}", "dynamic_ncols": True}
            self._bar = tqdm(total=total, initial=done, file=self.stream, **words)
        self._bar.total = total
        self._bar.set_postfix({key: printable(str(value)) for key, value in facts.items()}, refresh=False)
        self._bar.update(done - self._bar.n)

    def _say(self, done: int, total: int | None, facts: dict[str, object], *, is_shown: bool) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if now - self._last < self.every_seconds and not finished:
            return
        self._last = now
        line = f"{self.title}: {done}/{total or '?'} {self.unit}{self._speed(done, total, now)}"
        line += "".join(f", {key} {value}" for key, value in facts.items())
        if is_shown:
            show(line, file=self.stream, flush=True)
        else:
            log(line)

    def _speed(self, done: int, total: int | None, now: float) -> str:
        first, began = self._began or (done, now)
        if done <= first or now <= began:
            return ""
        rate = (done - first) / (now - began)
        return f", {rate:.1f} a second" + (f", {(total - done) / rate:.0f} s left" if total and done < total else "")
