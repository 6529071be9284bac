"""Which clip is asked for next: drawn evenly over the classes, retried where that helps, its host willing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embedx.download.plan import ClipRequest
from embedx.download.rate_limit import Hosts
from embedx.download.status import STATUSES

__all__ = ["Drawn", "Schedule", "Task"]

_WINDOW = 256


@dataclass(slots=True, eq=False)
class Task:
    """One clip under way: tries so far, when it may be tried again."""

    request: ClipRequest
    drawn: Drawn
    n_attempts: int = 0
    not_before: float = 0.0
    is_running: bool = False


@dataclass(slots=True, eq=False)
class Drawn:
    """One class: the clips that wait to be drawn, those under way, and how many there are.

    Never more clips are under way than are still wanted, so which clips are tried does not depend on
    how fast they come: always the first of the order until enough succeed.
    """

    label: str
    wanted: int
    waiting: deque[ClipRequest]
    n_ok: int = 0
    n_started: int = 0
    active: list[Task] = field(default_factory=list)

    def refill(self) -> None:
        """Draw as many clips as may be under way."""
        room = min(self.wanted - self.n_ok, _WINDOW) - len(self.active)
        while room > 0 and self.waiting:
            self.active.append(Task(self.waiting.popleft(), self))
            room -= 1


class Schedule:
    """Hands out clips until every class has what is wanted of it.

    Parameters
    ----------
    order : mapping of str to sequence of ClipRequest
        From `draw_order`, without what earlier runs settled.
    n_ok : mapping of str to int
        What earlier runs fetched.
    wanted : mapping of str to int
        Clips wanted of every class, earlier ones included.
    hosts : Hosts
        Their patience.
    backoff_seconds : float
        Wait before the second try; doubled for every further one.
    """

    def __init__(
        self,
        order: Mapping[str | None, Sequence[ClipRequest]],
        n_ok: Mapping[str | None, int],
        wanted: Mapping[str | None, int],
        *,
        hosts: Hosts,
        backoff_seconds: float = 1.0,
    ) -> None:
        self.hosts, self.backoff_seconds = hosts, backoff_seconds
        self.classes = [
            Drawn(label or "", wanted[label], deque(requests), n_ok.get(label, 0)) for label, requests in order.items()
        ]

    def next(self) -> Task | None:
        """Start the next clip that may start now; None when there is none."""
        now = time.monotonic()
        for one in sorted(self.classes, key=lambda one: one.n_started):
            one.refill()
            for task in one.active:
                if not task.is_running and now >= task.not_before and self.hosts.may_start(_host(task)):
                    task.is_running, task.n_attempts = True, task.n_attempts + 1
                    one.n_started += task.n_attempts == 1
                    self.hosts.start(_host(task))
                    return task
        return None

    def finish(self, task: Task, word: str, *, retry_after_seconds: float | None = None) -> bool:
        """Note how a try ended; return whether the clip is settled (else it is tried again)."""
        self.hosts.finish(_host(task), word, retry_after_seconds=retry_after_seconds)
        task.is_running = False
        if word != "ok" and task.n_attempts < STATUSES[word].max_attempts and not self.hosts.is_stopped(_host(task)):
            task.not_before = time.monotonic() + self.backoff_seconds * 2 ** (task.n_attempts - 1)
            return False
        task.drawn.active.remove(task)
        task.drawn.n_ok += word == "ok"
        return True

    def has_more(self) -> bool:
        """Say whether anything is under way or could be; clips of stopped hosts are let go."""
        for one in self.classes:
            one.active[:] = [task for task in one.active if task.is_running or not self._is_lost(task)]
            while not one.active and one.waiting and one.n_ok < one.wanted:
                one.refill()
                one.active[:] = [task for task in one.active if not self._is_lost(task)]
        return any(one.active for one in self.classes)

    def __iter__(self) -> Iterator[Drawn]:
        return iter(self.classes)

    def _is_lost(self, task: Task) -> bool:
        return self.hosts.is_stopped(_host(task))


def _host(task: Task) -> str:
    return task.request.row.link.host
