"""How patient a host is asked to be: one request at a time, pauses, and a stop after failures in a row."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedx.download.status import STATUSES

__all__ = ["Hosts"]

_YOUTUBE_PAUSE_SECONDS = (5.0, 10.0)
_MAX_LIMITED_SECONDS = 3600.0


@dataclass(slots=True)
class _Host:
    is_busy: bool = False
    free_at: float = 0.0
    n_failures: int = 0
    n_limited: int = 0
    stopped: str = ""


class Hosts:
    """Knows of every host whether it may be asked now.

    Parameters
    ----------
    pause_seconds : tuple of (float, float), optional
        Between two clips of one host, drawn from this range; by default 5 to 10 s for YouTube (guests
        get about 300 videos an hour) and none elsewhere.
    max_failures : int
        Failures in a row that smell of being blocked, after which a host is left alone.
    limited_seconds : float
        Pause after the first "too many requests" that names none; doubled for every further one.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        *,
        pause_seconds: tuple[float, float] | None = None,
        max_failures: int = 10,
        limited_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pause_seconds, self.max_failures, self.clock = pause_seconds, max_failures, clock
        self.limited_seconds = limited_seconds
        self._hosts: dict[str, _Host] = {}

    def may_start(self, name: str) -> bool:
        """Say whether a request to this host may start now; files of this machine always may."""
        host = self._host(name)
        return not name or not (host.is_busy or host.stopped or self.clock() < host.free_at)

    def is_stopped(self, name: str) -> bool:
        """Say whether the host is left alone for the rest of the run."""
        return bool(self._host(name).stopped)

    def start(self, name: str) -> None:
        """A clip of this host is being fetched."""
        self._host(name).is_busy = True

    def finish(self, name: str, word: str, *, retry_after_seconds: float | None = None) -> None:
        """A clip of this host ended with this status: pause, wait longer, or stop."""
        host = self._host(name)
        host.is_busy = False
        low, high = self.pause_seconds or (_YOUTUBE_PAUSE_SECONDS if name.endswith("youtube.com") else (0.0, 0.0))
        pause = random.uniform(low, high)
        if word == "ok":
            host.n_failures = host.n_limited = 0
        if STATUSES[word].spends_patience:
            host.n_failures += 1
        if word == "rate_limited":
            host.n_limited += 1
            pause = max(pause, min(_MAX_LIMITED_SECONDS, self.limited_seconds * 2 ** (host.n_limited - 1)))
        if retry_after_seconds is not None:
            pause = min(retry_after_seconds, _MAX_LIMITED_SECONDS)
        host.free_at = self.clock() + pause
        if name and (word == "bot_check" or host.n_failures >= self.max_failures):
            host.stopped = word

    @property
    def stopped(self) -> dict[str, str]:
        """Hosts that are left alone, with the status that did it."""
        return {name: host.stopped for name, host in self._hosts.items() if host.stopped}

    @property
    def paused(self) -> dict[str, float]:
        """Hosts that wait, with the seconds left."""
        now = self.clock()
        return {
            name: host.free_at - now for name, host in self._hosts.items() if host.free_at > now and not host.stopped
        }

    def _host(self, name: str) -> _Host:
        return self._hosts.setdefault(name, _Host())
