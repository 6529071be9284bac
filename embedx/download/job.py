"""The run: every clip is asked for politely, retried where that can help, and settled in the ledger."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedx.download.hosts import Hosts
from embedx.download.ledger import Ledger
from embedx.download.links import public_url
from embedx.download.plan import Ask, LinkPlan, draw_order
from embedx.download.status import STATUSES, StatusError
from embedx.download.tables import write_tables

__all__ = ["DownloadReport", "download"]

_BACKOFF_SECONDS = 1.0
_WINDOW = 256


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What became of a run.

    Parameters
    ----------
    output : Path
        The folder.
    table : mapping of str to mapping of str to int
        Status to label to rows; ``not_tried`` among them.
    wanted : mapping of str to int
        Clips that were wanted of every class.
    stopped : mapping of str to str
        Hosts that are left alone, and why.
    n_new, bytes_fetched, seconds : int, int, float
        Clips of this run, what they cost.
    """

    output: Path
    table: Mapping[str, Mapping[str, int]]
    wanted: Mapping[str, int]
    stopped: Mapping[str, str]
    n_new: int
    bytes_fetched: int
    seconds: float

    @property
    def n_ok(self) -> int:
        """Clips that are there now."""
        return sum(self.table.get("ok", {}).values())

    @property
    def is_complete(self) -> bool:
        """Whether every class has all the clips that were wanted."""
        ok = self.table.get("ok", {})
        return all(ok.get(label, 0) >= n for label, n in self.wanted.items())


@dataclass(slots=True)
class _Task:
    ask: Ask
    n_attempts: int = 0
    not_before: float = 0.0
    is_running: bool = False


@dataclass(slots=True)
class _Class:
    """One label's clips: those still to draw, those under way, those that are there."""

    label: str
    wanted: int
    waiting: deque[Ask]
    active: list[_Task] = field(default_factory=list)
    n_ok: int = 0

    def refill(self) -> None:
        room = min(self.wanted - self.n_ok, _WINDOW) - len(self.active)
        while room > 0 and self.waiting:
            self.active.append(_Task(self.waiting.popleft()))
            room -= 1


def download(
    plan: LinkPlan,
    output: str | os.PathLike[str],
    *,
    make_fetcher: Callable[[Callable[[], bool]], Any],
    per_class: int | None = None,
    jobs: int = 4,
    hosts: Hosts | None = None,
    retry_status: Collection[str] = (),
    group: str = "video",
    valid_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> DownloadReport:
    """Fetch what a plan asks for into a folder that ``embedx extract`` reads as it is.

    Parameters
    ----------
    plan : LinkPlan
        From `plan_links`.
    output : path-like
        Folder for ``audio/``, ``journal.jsonl``, ``manifest.csv``, ``failures.csv``, ``summary.json``; a
        folder of an earlier run is gone on with.
    make_fetcher : callable
        Given a function that says whether the run is being ended, returns one thread's ``Fetcher``.
    per_class : int, optional
        Clips a class, drawn in a seeded order until so many succeed; None fetches all.
    jobs : int
        Clips at a time, over all hosts; of one host only one.
    hosts : Hosts, optional
        Politeness.
    retry_status : collection of str
        Permanent statuses of earlier runs that are tried again.
    group : {"video", "channel"}
        What no split may cut apart.
    valid_fraction, test_fraction : float
        Shares of every class.
    seed : int
        Of the draw and the splits.
    progress : callable, optional
        Called as ``progress(done, total, **facts)``.
    """
    with Ledger(output) as ledger:
        run = _Run(plan, ledger, make_fetcher, hosts or Hosts(), jobs, progress)
        run.prepare(per_class, set(retry_status), seed)
        try:
            run.work()
        finally:
            table = write_tables(
                ledger,
                plan,
                run.tried,
                group=group,
                valid_fraction=valid_fraction,
                test_fraction=test_fraction,
                seed=seed,
            )
        return run.report(table)


class _Run:
    def __init__(
        self, plan: LinkPlan, ledger: Ledger, make_fetcher: Callable[..., Any], hosts: Hosts, jobs: int, progress: Any
    ) -> None:
        self.plan, self.ledger, self.hosts, self.jobs, self.progress = plan, ledger, hosts, jobs, progress
        self.classes: list[_Class] = []
        self.tried: list[Ask] = []
        self.n_new = self.bytes_fetched = 0
        self.counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._make_fetcher, self._local = make_fetcher, threading.local()

    def prepare(self, per_class: int | None, retry_status: set[str], seed: int) -> None:
        """Sort out what earlier runs settled."""
        for label, asks in draw_order(self.plan.asks, seed=seed).items():
            wanted = len(asks) if per_class is None else min(per_class, len(asks))
            one = _Class(label or "", wanted, deque())
            for ask in asks:
                entry = self.ledger.entries.get(ask.key)
                word = entry["status"] if entry else ""
                if word == "ok" and self.ledger.is_done(ask.key):
                    one.n_ok += 1
                    self.tried.append(ask)
                elif word and word != "ok" and STATUSES[word].is_permanent and word not in retry_status:
                    self.tried.append(ask)
                else:
                    one.waiting.append(ask)
            self.classes.append(one)

    def work(self) -> None:
        """Fetch until nothing is left that could be."""
        running: dict[Future[Any], tuple[_Class, _Task]] = {}
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="download") as pool:
            try:
                while True:
                    self._submit(pool, running)
                    self._drop_stopped()
                    if not running and not any(one.active for one in self.classes):
                        return
                    for future in (
                        wait(running, timeout=0.05, return_when=FIRST_COMPLETED)[0] if running else self._nap()
                    ):
                        self._settle(future, *running.pop(future))
            except BaseException:
                self._ended.set()
                raise

    def _nap(self) -> tuple[()]:
        time.sleep(0.02)
        return ()

    def _submit(self, pool: ThreadPoolExecutor, running: dict[Future[Any], tuple[_Class, _Task]]) -> None:
        now = time.monotonic()
        for one in self.classes:
            one.refill()
            for task in one.active:
                if len(running) >= self.jobs:
                    return
                host = task.ask.row.link.host
                if task.is_running or now < task.not_before or not self.hosts.may_start(host):
                    continue
                task.is_running, task.n_attempts = True, task.n_attempts + 1
                self.hosts.start(host)
                running[pool.submit(self._fetch, task.ask)] = (one, task)

    def _fetch(self, ask: Ask) -> Any:
        if not hasattr(self._local, "fetcher"):
            self._local.fetcher = self._make_fetcher(self._ended.is_set)
        return self._local.fetcher.fetch(ask)

    def _drop_stopped(self) -> None:
        for one in self.classes:
            left = [
                task for task in one.active if not task.is_running and self.hosts.is_stopped(task.ask.row.link.host)
            ]
            for task in left:
                one.active.remove(task)

    def _settle(self, future: Future[Any], one: _Class, task: _Task) -> None:
        error = future.exception()
        if error is not None and not isinstance(error, StatusError):
            raise error
        task.is_running = False
        word = "ok" if error is None else error.reason
        wait_seconds = getattr(error, "retry_after_seconds", None)
        self.hosts.finish(task.ask.row.link.host, word, retry_after_seconds=wait_seconds)
        if error is not None and task.n_attempts < STATUSES[word].max_attempts:
            task.not_before = time.monotonic() + _BACKOFF_SECONDS * 2 ** (task.n_attempts - 1)
            return
        one.active.remove(task)
        self._record(one, task, word, None if error else future.result(), error)

    def _record(self, one: _Class, task: _Task, word: str, fetched: Any, error: Any) -> None:
        ask = task.ask
        entry = {**_about(ask), "status": word, "attempts": task.n_attempts, "error": str(error) if error else ""}
        self.counts[word] += 1
        self.tried.append(ask)
        if fetched is None:
            self.ledger.note({**entry, "http_status": error.http_status})
        else:
            entry |= dict(fetched.facts) | _heard(fetched.section)
            self.ledger.keep(ask.key, fetched.section.samples, entry)
            one.n_ok, self.n_new = one.n_ok + 1, self.n_new + 1
            self.bytes_fetched += fetched.facts.get("bytes_fetched", 0)
        self._tell()

    def _tell(self) -> None:
        if self.progress is None:
            return
        facts = {word: n for word, n in self.counts.most_common(4)}
        facts["MB"] = f"{self.bytes_fetched / 1e6:.1f}"  # type: ignore[assignment]
        if paused := self.hosts.paused:
            facts["paused"] = " ".join(f"{name}:{seconds:.0f}s" for name, seconds in sorted(paused.items()))  # type: ignore[assignment]
        self.progress(sum(one.n_ok for one in self.classes), sum(one.wanted for one in self.classes), **facts)

    def report(self, table: Mapping[str, Mapping[str, int]]) -> DownloadReport:
        """Sum up."""
        wanted = {one.label: one.wanted for one in self.classes}
        seconds = time.monotonic() - self._started
        return DownloadReport(
            self.ledger.folder, table, wanted, self.hosts.stopped, self.n_new, self.bytes_fetched, seconds
        )


def _about(ask: Ask) -> dict[str, Any]:
    return {
        "key": ask.key,
        "url": public_url(ask.url),
        "row": ask.row.number,
        "video": public_url(ask.row.link.video),
        "label": ask.label,
        "start_asked": ask.start,
        "seconds_asked": ask.seconds,
        "part": ask.part,
    }


def _heard(section: Any) -> dict[str, Any]:
    return {
        "start": round(section.start_seconds, 3),
        "seconds": len(section.samples) / 16_000,
        "source_duration": section.duration_seconds,
        "codec": section.codec,
        "container": section.container,
        "n_bad_packets": section.n_bad_packets,
        "peak": round(section.peak, 5),
        "rms": round(section.rms, 6),
        "silent": section.is_silent,
        "cancelled": section.is_cancelled,
    }
