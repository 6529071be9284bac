"""From a CSV of links to a folder of labelled clips in one call: what ``embedx download`` does, for Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from embedx.download.fetch_options import FetchOptions
from embedx.download.job import DownloadReport, download
from embedx.download.plan import LinkPlan, plan_links
from embedx.download.prerequisites import find_js_runtime
from embedx.download.rate_limit import Hosts
from embedx.download.result_tables import Division

if TYPE_CHECKING:
    from embedx.download.fetch import Fetcher

__all__ = ["download_clips", "download_plan"]


def download_clips(
    links: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    url_column: str | None = None,
    label_column: str | None = None,
    seconds: float | None = 30.0,
    start: float | str = "middle",
    per_class: int | None = None,
    clips_per_video: int = 1,
    conflicts: str = "drop",
    group: str = "video",
    valid_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
    retry_status: Collection[str] = (),
    jobs: int = 4,
    pause_seconds: tuple[float, float] | None = None,
    options: FetchOptions | None = None,
    progress: Callable[..., None] | None = None,
) -> DownloadReport:
    """Turn a CSV of links into a folder of labelled clips that `read_manifest` takes, resuming an earlier run.

    Parameters
    ----------
    links : path-like
        CSV with a column of links (URLs, bare YouTube ids, local files) and one of labels.
    output : path-like
        Folder for ``audio/``, ``manifest.csv``, ``failures.csv``, ``summary.json`` and the journal.
    url_column, label_column : str, optional
        Column names; guessed from the usual ones.
    seconds : float or None
        Length of a clip; None takes the whole.
    start : float or {"middle", "random"}
        Where a clip begins; columns of the CSV named start and stop decide for their row.
    per_class : int, optional
        Clips of each class, tried in a seeded order until so many succeed; None tries all.
    clips_per_video : int
        Clips of a video, spread evenly.
    conflicts : {"drop", "first"}
        Whether a link with several labels is left out or keeps the first one.
    group : {"video", "channel"}
        What splits must not cut apart.
    valid_fraction, test_fraction : float
        Shares of each class; with neither no split is written.
    seed : int
        Of the order and the splits.
    retry_status : collection of str
        Statuses of permanent failures of earlier runs that are tried again.
    jobs : int
        Clips at a time; of one host only one.
    pause_seconds : (float, float), optional
        Between two clips of a host; by default 5 to 10 s for YouTube, none elsewhere.
    options : FetchOptions, optional
        Cookies, proxy, time limits and sizes (`embedx.download.fetch_options.FetchOptions`).
    progress : callable, optional
        Called as ``progress(done, total, **facts)``.

    Returns
    -------
    DownloadReport
        ``table`` (status, label, rows), ``n_ok``, ``is_complete``, ``stopped`` hosts. Failures do not raise.

    Raises
    ------
    ManifestError
        The CSV cannot be used, or the folder is not to be written.
    ParameterError
        Fractions that leave nothing to train on.
    StoreError
        The disk is full; what was fetched is kept.

    Examples
    --------
    >>> report = embedx.download_clips("youtube.csv", "clips", seconds=10, per_class=100)  # doctest: +SKIP
    >>> manifest = embedx.read_manifest("clips/manifest.csv")  # doctest: +SKIP
    """
    division = Division(group, valid_fraction, test_fraction, seed)
    if options is None:
        runtime = find_js_runtime()
        options = FetchOptions(js_runtimes={runtime.name: {"path": runtime.path}} if runtime else {})
    plan = plan_links(
        links,
        url_column=url_column,
        label_column=label_column,
        start=start,
        seconds=seconds,
        clips_per_video=clips_per_video,
        conflicts=conflicts,
        allow_private=options.allow_private,
    )
    hosts = Hosts(pause_seconds=pause_seconds)
    return download_plan(
        plan,
        output,
        options,
        division=division,
        hosts=hosts,
        per_class=per_class,
        jobs=jobs,
        retry_status=retry_status,
        progress=progress,
    )


def download_plan(
    plan: LinkPlan,
    output: str | os.PathLike[str],
    options: FetchOptions,
    *,
    division: Division,
    hosts: Hosts,
    per_class: int | None = None,
    jobs: int = 4,
    retry_status: Collection[str] = (),
    progress: Callable[..., None] | None = None,
) -> DownloadReport:
    """Fetch a plan with the real fetcher; see `download_clips`."""
    from embedx import __version__
    from embedx.audio.decode import decoder_versions
    from embedx.download.fetch import Fetcher, fetch_versions

    def make_fetcher(is_stopped: Callable[[], bool]) -> Fetcher:
        return Fetcher(options, is_stopped=is_stopped)

    return download(
        plan,
        output,
        make_fetcher=make_fetcher,
        per_class=per_class,
        jobs=jobs,
        hosts=hosts,
        retry_status=retry_status,
        division=division,
        versions={"embedx": __version__, **fetch_versions(), **decoder_versions()},
        progress=progress,
    )
