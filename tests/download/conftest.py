"""Real media, a real server, and short ways to plan, fetch and run."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedx.download.fetch import Fetcher, FetchOptions
from embedx.download.job import download
from embedx.download.link_rows import LinkRow
from embedx.download.links import read_link
from embedx.download.plan import ClipRequest, plan_links
from embedx.download.rate_limit import Hosts
from embedx.download.result_tables import Division

HERE = Path(__file__).resolve().parent
MEDIA = SimpleNamespace(**runpy.run_path(str(HERE / "_media.py")))
SITE = SimpleNamespace(**runpy.run_path(str(HERE / "_site.py")))
SECONDS = 40.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Whatever proxy the developer uses stays out of the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def media():
    return MEDIA


@pytest.fixture(scope="session")
def wave():
    """Known noise, 48 kHz, shape (n,)."""
    return MEDIA.noise(SECONDS)


class Files(dict):
    """The noise in every container, made when it is first asked for."""

    def __init__(self, folder, wave):
        self.folder, self.wave = folder, np.stack([wave, wave])

    def __missing__(self, kind):
        path = self.folder / f"{kind}{MEDIA.CONTAINERS[kind][0]}"
        self[kind] = MEDIA.write_media(path, self.wave, kind=kind)
        return self[kind]


@pytest.fixture(scope="session")
def files(tmp_path_factory, wave):
    """``files["mp3"]`` -> path of the noise in that container."""
    return Files(tmp_path_factory.mktemp("media"), wave)


@pytest.fixture
def site():
    one = SITE.Site()
    yield one
    one.close()


@pytest.fixture
def make_request():
    """``make_request(url, start=..., seconds=...)`` -> ClipRequest."""

    def make(url, *, start="middle", seconds=4.0, label="a", row=2):
        return ClipRequest(LinkRow(row, read_link(str(url), allow_private=True), label), start, seconds)

    return make


@pytest.fixture
def fetch(make_request):
    """``fetch(url, start=..., seconds=..., option=...)`` -> Fetched, with the real Fetcher."""

    def run(url, *, start="middle", seconds=4.0, **options):
        options = {"allow_private": True, "timeout_seconds": 2.0, **options}
        return Fetcher(FetchOptions(**options)).fetch(make_request(url, start=start, seconds=seconds))

    return run


@pytest.fixture
def write_csv(tmp_path):
    """``write_csv([(link, label), ...])`` -> path."""

    def write(rows, *, header=("link", "category"), name="links.csv", prefix=""):
        import csv

        path = tmp_path / name
        with open(path, "w", newline="", encoding="utf-8") as stream:
            stream.write(prefix)
            csv.writer(stream).writerows([header, *rows])
        return path

    return write


@pytest.fixture
def run_job(tmp_path):
    """``run_job(csv, per_class=..., ...)`` -> (report, entries by row): plan and download in this process."""

    def run(csv, *, output=None, options=None, hosts=None, division=None, backoff_seconds=0.01, progress=None, **rest):
        job_names = ("per_class", "jobs", "retry_status")
        job = {name: rest.pop(name) for name in job_names if name in rest}
        plan = plan_links(csv, allow_private=True, **{"seconds": 4.0, **rest})
        fetching = FetchOptions(**{"allow_private": True, "timeout_seconds": 2.0, **(options or {})})
        folder = output or tmp_path / "out"
        report = download(
            plan,
            folder,
            make_fetcher=lambda is_stopped: Fetcher(fetching, is_stopped=is_stopped),
            hosts=hosts or Hosts(pause_seconds=(0.0, 0.0), limited_seconds=0.05),
            division=division or Division(),
            backoff_seconds=backoff_seconds,
            progress=progress,
            **job,
        )
        lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        return report, {line["row"]: line for line in lines}

    return run


@pytest.fixture(scope="session")
def embedx_download():
    """``embedx_download(*words)`` -> CompletedProcess of the real command; ``start=True`` -> Popen."""

    def run(*words, start=False, code=None, **options):
        program = ["-m", "embedx", "download"] if code is None else ["-c", code]
        command = [sys.executable, *program, *map(str, words)]
        if start:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)

    return run
