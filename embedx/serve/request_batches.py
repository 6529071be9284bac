"""Requests wait in a queue of bounded length; one thread takes what waits and computes it together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from embedx.errors import RunnerError

__all__ = ["BatchWorker", "QueueFullError"]


class QueueFullError(RunnerError):
    """As many requests wait already as may."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: Any
    future: Future[Any] = field(default_factory=Future)


class BatchWorker:
    """A thread that answers jobs, several at a time when several wait.

    The first one that waits begins at once: nobody waits for others to come, and while it is computed the next ones
    gather.

    Parameters
    ----------
    answer : callable
        ``answer(jobs)`` gives an answer for each of a list of jobs, in order.
    most_waiting, most_together : int
        See `ServiceLimits`.

    Examples
    --------
    >>> worker = BatchWorker(lambda jobs: [2 * job for job in jobs], most_waiting=8, most_together=4)
    >>> worker.submit(21).result()
    42
    >>> worker.close()
    """

    def __init__(self, answer: Callable[[Sequence[Any]], list[Any]], *, most_waiting: int, most_together: int) -> None:
        self._answer, self._most_together = answer, most_together
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(most_waiting)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="embedx-serve", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Requests that have not begun."""
        return self._queue.qsize()

    def submit(self, job: Any) -> Future[Any]:
        """Let a job wait for its turn; one whose future is cancelled before is left out.

        Raises
        ------
        QueueFullError
            As many wait already as may, or the worker is closed.
        """
        waiting = _Waiting(job)
        if self._is_closed:
            raise QueueFullError("the service is being stopped")
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise QueueFullError(f"{self._queue.maxsize} requests wait already: try again in a moment") from None
        return waiting.future

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._take()
            ready = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if ready:
                self._compute(ready)

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Wait for a job, and take those that wait beside it; the second value says that there will be no more."""
        batch: list[_Waiting] = []
        one = self._queue.get()
        while one is not None:
            batch.append(one)
            if len(batch) == self._most_together:
                return batch, False
            try:
                one = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _compute(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._answer([one.job for one in batch])
        except Exception as error:  # of whatever kind: each request is told, and the next batch begins
            for one in batch:
                one.future.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.future.set_result(answer)
