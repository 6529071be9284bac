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

from embedx.child_process import as_limit
from embedx.errors import EmbedxError, EmbedxWarning
from embedx.extract.unit_runner import Runner, Unit
from embedx.extract.worker_messages import write_message
from embedx.manifest import Source

__all__ = ["serve"]

_ALIVE_SECONDS = 1.0


def serve(connection: Connection) -> None:
    """Receive a runner, then units until the connection closes; the process ends with it, whatever it is at."""
    runner = connection.recv()
    try:
        with as_limit("what the encoder needs"):
            _serve(_Driver(connection, runner), runner)
    except EmbedxError as error:
        write_message(connection, ("refused", type(error).__name__, str(error)))


def _serve(driver: _Driver, runner: Runner) -> None:
    runner.on_begin, runner.heartbeat = driver.on_begin, driver.heartbeat
    warnings.showwarning = driver.on_warning
    warnings.simplefilter("always", EmbedxWarning)
    driver.prefetch()
    driver.tell("ready", dict(runner.setup()))
    while True:
        unit = driver.next_unit()
        driver.tell("done", list(runner(unit, on_progress=driver.on_progress)))


class _Driver:
    """The process that hands out units, as a worker sees it: what came from it, and what is told to it."""

    def __init__(self, connection: Connection, runner: Runner) -> None:
        self._connection, self._runner = connection, runner
        self._telling, self._told_at = threading.Lock(), 0.0
        self._received: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        self._units: deque[Unit] = deque()
        threading.Thread(target=self._receive, daemon=True).start()

    def tell(self, *message: Any) -> None:
        """Send one message."""
        with self._telling:
            write_message(self._connection, message)
            self._told_at = time.monotonic()

    def heartbeat(self) -> None:
        """Tell now and then that what is waited for gets on; nobody does so who only waits."""
        if time.monotonic() - self._told_at > _ALIVE_SECONDS:
            self.tell("alive")

    def on_begin(self, source: Source) -> None:
        """Tell that a window is about to be computed."""
        self.tell("begun", source.key)

    def on_progress(self, source: Source, seconds: float) -> None:
        """Tell that a window is done, and begin to decode what has come meanwhile."""
        self.tell("computed", source.key, seconds)
        self.prefetch()

    def on_warning(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        """Pass on a warning that is meant for users."""
        if issubclass(category, EmbedxWarning):
            self.tell("warned", str(message))

    def prefetch(self) -> None:
        """Begin to decode every unit that has come."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._accept(self._received.get_nowait())

    def next_unit(self) -> Unit:
        """Return the next unit, waiting for one."""
        self.prefetch()
        if not self._units:
            self._accept(self._received.get())
        return self._units.popleft()

    def _accept(self, unit: Unit) -> None:
        self._runner.prefetch(unit)
        self._units.append(unit)

    def _receive(self) -> None:
        """Always listen, so that the other side never waits, and leave at once when it is gone."""
        try:
            while True:
                self._received.put(self._connection.recv())
        except (EOFError, OSError):
            os._exit(0)
