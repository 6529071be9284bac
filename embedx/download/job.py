"""The run: every clip is asked for politely, retried where that can help, and settled in the ledger."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from embedx.download.ledger import Ledger
from embedx.download.links import public_url
from embedx.download.plan import ClipRequest, LinkPlan
from embedx.download.rate_limit import Hosts
from embedx.download.result_tables import Division, write_tables
from embedx.download.row_sampling import draw_order
from embedx.download.schedule import Schedule, Task
from embedx.download.status import STATUSES, StatusError, clean_message
from embedx.download.time_range import SAMPLE_RATE, Section

__all__ = ["DownloadReport", "FetchesClips", "download"]

_TICK_SECONDS = 0.05


class FetchesClips(Protocol):
    """What a thread of the run works with; `embedx.download.fetch.Fetcher` is the real one."""

    def fetch(self, request: ClipRequest) -> Any:
        """Return an object with ``section`` and ``facts``, or raise `StatusError`."""

    def abort(self) -> None:
        """End what another thread is fetching."""


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
        Clips that were wanted of every class (not more than there are whole links).
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
        """Whether every class has all the clips that were wanted, and not none."""
        ok = self.table.get("ok", {})
        labels = {label for counts in self.table.values() for label in counts}
        return all(ok.get(label, 0) >= max(1, self.wanted.get(label, 0)) for label in labels)


def download(
    plan: LinkPlan,
    output: str | os.PathLike[str],
    *,
    make_fetcher: Callable[[Callable[[], bool]], FetchesClips],
    per_class: int | None = None,
    jobs: int = 4,
    hosts: Hosts | None = None,
    retry_status: Collection[str] = (),
    division: Division | None = None,
    backoff_seconds: float = 1.0,
    versions: Mapping[str, str] | None = None,
    progress: Callable[..., None] | None = None,
) -> DownloadReport:
    """Fetch what a plan requests for into a folder that ``embedx extract`` reads as it is.

    Parameters
    ----------
    plan : LinkPlan
        From `plan_links`.
    output : path-like
        Folder for ``audio/``, ``journal.jsonl``, ``manifest.csv``, ``failures.csv``, ``summary.json``; a
        folder of an earlier run is resumed.
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
    division : Division, optional
        Groups, splits and the seed.
    backoff_seconds : float
        Wait before a second try.
    versions : mapping, optional
        Libraries, for the journal.
    progress : callable, optional
        Called as ``progress(done, total, **facts)``.

    Returns
    -------
    DownloadReport
        Also when hosts were stopped; the tables are written even when the run is interrupted.

    Raises
    ------
    ManifestError
        The folder cannot be written, or another process writes there.
    StoreError
        The disk is full.
    """
    how = division or Division()
    with Ledger(output) as ledger:
        run = _Run(plan, ledger, make_fetcher, versions or {}, progress)
        run.prepare(per_class, set(retry_status), how.seed, hosts or Hosts(), backoff_seconds)
        try:
            run.work(jobs)
        finally:
            table = write_tables(ledger, plan, run.tried, division=how, full=run.full_classes())
        return run.report(table)


class _Run:
    def __init__(
        self, plan: LinkPlan, ledger: Ledger, make_fetcher: Any, versions: Mapping[str, str], progress: Any
    ) -> None:
        self.plan, self.ledger, self.versions, self.progress = plan, ledger, dict(versions), progress
        self.tried: list[ClipRequest] = []
        self.n_new = self.n_before = self.bytes_fetched = 0
        self.counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._ended, self._make_fetcher = threading.Event(), make_fetcher
        self._local = threading.local()
        self._fetchers: list[FetchesClips] = []

    def prepare(
        self, per_class: int | None, retry_status: set[str], seed: int, hosts: Hosts, backoff_seconds: float
    ) -> None:
        """Sort out what earlier runs settled."""
        order = draw_order(self.plan.requests, seed=seed)
        todo = {
            label: [request for request in requests if not self._is_settled(request, retry_status)]
            for label, requests in order.items()
        }
        done = Counter(request.label for request in self.tried if self.ledger.entries[request.key]["status"] == "ok")
        self.is_drawn = per_class is not None
        self.n_before = done.total() if self.is_drawn else len(self.tried)
        wanted = {label: min(per_class or len(requests), len(requests)) for label, requests in order.items()}
        self.schedule = Schedule(todo, done, wanted, hosts=hosts, backoff_seconds=backoff_seconds)

    def _is_settled(self, request: ClipRequest, retry_status: set[str]) -> bool:
        word = self.ledger.entries.get(request.key, {}).get("status")
        if word is None or word not in STATUSES:
            return False
        settled = self.ledger.is_done(request.key) if word == "ok" else self._stays(word, retry_status)
        if settled:
            self.tried.append(request)
        return settled

    @staticmethod
    def _stays(word: str, retry_status: set[str]) -> bool:
        return STATUSES[word].is_permanent and word not in retry_status

    def work(self, jobs: int) -> None:
        """Fetch until nothing is left that could be."""
        running: dict[Future[Any], Task] = {}
        self._tell()
        with ThreadPoolExecutor(jobs, thread_name_prefix="download") as pool:
            try:
                while self.schedule.has_more() or running:
                    while len(running) < jobs and (task := self.schedule.next()) is not None:
                        running[pool.submit(self._fetch, task.request)] = task
                    for future in self._wait(running):
                        self._settle(future, running.pop(future))
                    self._tell()
            except BaseException:
                self._end()
                raise

    def _wait(self, running: Mapping[Future[Any], Task]) -> Collection[Future[Any]]:
        if running:
            return wait(running, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)[0]
        time.sleep(_TICK_SECONDS)
        return ()

    def _end(self) -> None:
        self._ended.set()
        for fetcher in self._fetchers:
            fetcher.abort()

    def _fetch(self, request: ClipRequest) -> Any:
        if not hasattr(self._local, "fetcher"):
            self._local.fetcher = self._make_fetcher(self._ended.is_set)
            self._fetchers.append(self._local.fetcher)
        try:
            return self._local.fetcher.fetch(request)
        except StatusError:
            raise
        except Exception as error:  # one clip's surprise must not end a run of days
            raise StatusError("error", clean_message(f"{type(error).__name__}: {error}")) from error

    def _settle(self, future: Future[Any], task: Task) -> None:
        error = future.exception()
        word = error.reason if isinstance(error, StatusError) else "ok"
        if error is not None and not isinstance(error, StatusError):
            raise error
        if not self.schedule.finish(task, word, retry_after_seconds=getattr(error, "retry_after_seconds", None)):
            return
        self.counts[word] += 1
        entry = {**_about(task.request), "status": word, "attempts": task.n_attempts, "error": str(error or "")}
        entry |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "versions": self.versions}
        if error is not None:
            self.ledger.note({**entry, "http_status": getattr(error, "http_status", None)})
        else:
            self._keep(task.request, entry, future.result())
        self.tried.append(task.request)

    def _keep(self, request: ClipRequest, entry: dict[str, Any], fetched: Any) -> None:
        self.ledger.keep(request.key, fetched.section.samples, {**entry, **fetched.facts, **_heard(fetched.section)})
        self.n_new += 1
        self.bytes_fetched += fetched.facts.get("bytes_fetched", 0)

    def _tell(self) -> None:
        if self.progress is None:
            return
        wanted = sum(one.wanted for one in self.schedule)
        done = self.n_before + (self.n_new if self.is_drawn else self.counts.total())
        self.progress(min(done, wanted), wanted, **self._facts())

    def _facts(self) -> dict[str, object]:
        """Short words for the display: classes, statuses, bytes and their rate, hosts that pause."""
        classes = list(self.schedule)
        facts: dict[str, object] = {one.label: f"{one.n_ok}/{one.wanted}" for one in classes[:6] if one.label}
        facts |= dict(self.counts.most_common(5))
        rate = self.bytes_fetched / max(time.monotonic() - self._started, 1e-3)
        facts["fetched"] = f"{self.bytes_fetched / 1e6:.1f}MB({rate / 1e6:.1f}MB/s)"
        paused = {name: left for name, left in self.schedule.hosts.paused.items() if left >= 1}
        if paused:
            facts["paused"] = " ".join(f"{name}:{left:.0f}s" for name, left in sorted(paused.items())[:3])
        if self.schedule.hosts.stopped:
            facts["stopped"] = " ".join(sorted(self.schedule.hosts.stopped)[:3])
        return facts

    def full_classes(self) -> set[str]:
        """Return the classes that have what is wanted of them."""
        return {one.label for one in self.schedule if one.n_ok >= one.wanted}

    def report(self, table: Mapping[str, Mapping[str, int]]) -> DownloadReport:
        """Sum up."""
        wanted = {one.label: one.wanted for one in self.schedule}
        seconds = time.monotonic() - self._started
        stopped = self.schedule.hosts.stopped
        return DownloadReport(self.ledger.folder, table, wanted, stopped, self.n_new, self.bytes_fetched, seconds)


def _about(request: ClipRequest) -> dict[str, Any]:
    return {
        "key": request.key,
        "url": public_url(request.url),
        "row": request.row.number,
        "video": public_url(request.row.link.video),
        "label": request.label,
        "start_asked": request.start,
        "seconds_asked": request.seconds,
        "part": request.part,
    }


def _heard(section: Section) -> dict[str, Any]:
    return {
        "start": round(section.start_seconds, 3),
        "seconds": len(section.samples) / SAMPLE_RATE,
        "source_duration": section.duration_seconds,
        "codec": section.codec,
        "container": section.container,
        "n_bad_packets": section.n_bad_packets,
        "peak": round(section.peak, 5),
        "rms": round(section.rms, 6),
        "silent": section.is_silent,
        "cancelled": section.is_cancelled,
    }
