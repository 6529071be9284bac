"""What one clip may cost, and how hosts are reached: the options of a fetch and their enforcement."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedx.download.range_reader import Budget
from embedx.download.ssrf import Watch
from embedx.download.status import StatusError
from embedx.download.time_range import Section

__all__ = ["Deadline", "FetchOptions", "Fetched", "count_progress", "error_chain", "wait_until"]


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How to reach the hosts, and what one clip may cost.

    Parameters
    ----------
    cookies : str or None
        Text of a Netscape cookie file.
    proxy : str or None
        Address of a proxy; None takes the environment's.
    timeout_seconds, deadline_seconds : float
        For one answer of a server; for one try of a clip.
    max_bytes : int
        Bytes of media of one clip.
    max_duration_seconds : float or None
        Longer sources are refused.
    allow_private : bool
        Whether addresses of this machine and of private networks may be reached.
    js_runtimes : mapping
        As yt-dlp takes them; YouTube needs one.
    extractors : tuple
        yt-dlp extractor classes of your own, asked before yt-dlp's.
    search : str
        yt-dlp's name of the search that looks for cut ids.

    Examples
    --------
    >>> options = FetchOptions(max_duration_seconds=600.0)
    >>> options.deadline_seconds, options.allow_private
    (300.0, False)
    """

    cookies: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    timeout_seconds: float = 20.0
    deadline_seconds: float = 300.0
    max_bytes: int = 400 * 2**20
    max_duration_seconds: float | None = None
    allow_private: bool = False
    js_runtimes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    extractors: tuple[Any, ...] = ()
    search: str = "ytsearch"


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """A section, and what is known of its source."""

    section: Section
    facts: Mapping[str, Any]


class Deadline:
    """Cuts the connections of one clip when its time is up, and says so."""

    def __init__(self, watch: Watch, budget: Budget) -> None:
        self._watch, self._budget = watch, budget
        self._timer = threading.Timer(max(0.0, budget.deadline - time.monotonic()) + 0.05, watch.cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._watch.begin()
        self._timer.start()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._timer.cancel()
        if isinstance(error, StatusError):
            self._budget.check()


def wait_until(moment: float | None, budget: Budget) -> None:
    """Sleep until a moment (seconds since 1970), as long as the budget allows."""
    while moment and time.time() < moment:
        budget.check()
        time.sleep(min(0.25, max(0.0, moment - time.time())))


def count_progress(budget: Budget, state: Mapping[str, Any]) -> None:
    """Progress hook of yt-dlp's downloader: spend what came since the last call."""
    budget.spend(max(0, int(state.get("downloaded_bytes") or 0) - budget.n_bytes))


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk through everything that a foreign error wraps."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [(getattr(one, "exc_info", None) or (None, None))[1], getattr(one, "cause", None)]
        waiting += [getattr(one, "reason", None), one.__cause__, one.__context__]
