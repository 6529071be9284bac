"""What an encoder worker does: takes units from its connection, gives back rows and signs of progress."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import warnings
from collections import deque
from multiprocessing.connection import Connection
from typing import Any

from embedx.errors import EmbedxError, EmbedxWarning
from embedx.extract.wire import write_words
from embedx.launch import as_limit

__all__ = ["serve"]

_ALIVE_SECONDS = 1.0


def serve(desk: Connection) -> None:
    """Receive a runner, then units until the connection closes; the process ends with it, whatever it is at."""
    runner = desk.recv()
    try:
        with as_limit("what the encoder needs"):
            _work(desk, runner)
    except EmbedxError as error:
        write_words(desk, ("refused", type(error).__name__, str(error)))


def _work(desk: Connection, runner: Any) -> None:
    work = _Work(desk, runner)
    runner.pulse = work.live
    warnings.showwarning = work.warn
    warnings.simplefilter("always", EmbedxWarning)
    work.look()
    if hasattr(runner, "load"):
        runner.load()
    work.say("ready")
    while True:
        unit = work.next()
        work.say("done", list(runner(unit, progress=work.hear)))


class _Work:
    """Both ends of a worker: the units that came, and what is said of them."""

    def __init__(self, desk: Connection, runner: Any) -> None:
        self._desk, self._runner = desk, runner
        self._speaking, self._spoke = threading.Lock(), 0.0
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._units: deque[Any] = deque()
        threading.Thread(target=self._receive, daemon=True).start()

    def say(self, *words: Any) -> None:
        """Send one message."""
        with self._speaking:
            write_words(self._desk, words)
            self._spoke = time.monotonic()

    def live(self) -> None:
        """Say now and then that what is waited for gets on; nobody says so who only waits."""
        if time.monotonic() - self._spoke > _ALIVE_SECONDS:
            self.say("alive")

    def hear(self, source: Any, seconds: float) -> None:
        """Pass on that a window is done, and begin to decode what has come meanwhile."""
        self.say("heard", seconds)
        self.look()

    def warn(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        """Pass on a warning that is meant for users."""
        if issubclass(category, EmbedxWarning):
            self.say("warned", str(message))

    def look(self) -> None:
        """Begin to decode every unit that has come."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._accept(self._came.get_nowait())

    def next(self) -> Any:
        """Return the next unit, waiting for one."""
        self.look()
        if not self._units:
            self._accept(self._came.get())
        return self._units.popleft()

    def _accept(self, unit: Any) -> None:
        self._runner.prefetch(unit)
        self._units.append(unit)

    def _receive(self) -> None:
        """Always listen, so that the other side never waits, and leave at once when it is gone."""
        try:
            while True:
                self._came.put(self._desk.recv())
        except (EOFError, OSError):
            os._exit(0)
