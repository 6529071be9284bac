"""Checkpoints of the Hugging Face hub: fetched once, pinned; the encoders' one door to huggingface_hub."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedx.encoders.description import PREPROCESSORS, SUPPORTED, describe, weights_files
from embedx.encoders.encoder_info import read_record
from embedx.errors import EncoderError

__all__ = ["CachedEncoder", "cached_checkpoint", "cached_encoders", "downloading", "fetch_checkpoint", "reporting"]

_CONFIGS = ["config.json", *PREPROCESSORS]
_SAFE = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
_TORCH = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]


Report = Callable[[int, int | None], None]
"""Called with the megabytes that are there and those in all."""


@contextlib.contextmanager
def _on_terminal(title: str) -> Iterator[Report]:
    """Draw a bar on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(desc=title, unit=" MB", disable=not (sys.stderr is not None and sys.stderr.isatty())) as bar:

        def report(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


_MAKE: ContextVar[Callable[[str], contextlib.AbstractContextManager[Report]]] = ContextVar("_MAKE")


@contextlib.contextmanager
def reporting(make: Callable[[str], contextlib.AbstractContextManager[Report]]) -> Iterator[None]:
    """Have downloads within the block reported elsewhere than to a bar on the terminal.

    Parameters
    ----------
    make : callable
        Turns a title into what is entered for one download, and called with megabytes there and in all.
    """
    token = _MAKE.set(make)
    try:
        yield
    finally:
        _MAKE.reset(token)


@contextlib.contextmanager
def downloading(repo: str) -> Iterator[type]:
    """Report one download as `reporting` says, and give the class of bars that huggingface_hub is to use for it."""
    with _MAKE.get(_on_terminal)(f"download {repo}") as report:
        yield _bar_class(report)


def _bar_class(report: Report) -> type:
    """Return the class of bars that huggingface_hub is given: those that count bytes report, none is drawn."""
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "file": open(os.devnull, "w"), "disable": False})  # noqa: SIM115

        def display(self, *_: Any, **__: Any) -> bool:
            if self.unit == "B" and self.n and self.total:
                with contextlib.suppress(Exception):  # tqdm would keep its lock, and the download wait for it
                    report(round(self.n / 1e6), round(self.total / 1e6) or 1)
            return True

        def close(self) -> None:
            if not self.disable:
                super().close()
                self.fp.close()

    Bar.set_lock(threading.RLock())  # tqdm's own may be held for ever by a bar that was interrupted while it was drawn
    return Bar


def fetch_checkpoint(repo: str, *, revision: str | None = None) -> tuple[Path, str]:
    """Return the folder of a hub checkpoint and its commit, downloading what is not there yet.

    A commit that lies in the cache is used without asking the network.

    Parameters
    ----------
    repo : str
        ``OWNER/NAME``.
    revision : str, optional
        Branch, tag or commit.

    Raises
    ------
    EncoderError
        No such checkpoint, no access, no network and nothing in the cache.
    """
    import huggingface_hub as hub

    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        cached = cached_checkpoint(repo, revision)
        if cached is not None and any((cached[0] / file).exists() for file in PREPROCESSORS):
            return cached
    try:
        with downloading(repo) as bar:
            options: dict[str, Any] = {"revision": revision, "tqdm_class": bar}
            folder = Path(hub.snapshot_download(repo, allow_patterns=[*_CONFIGS, *_SAFE], **options))
            if not any(folder.glob("model*.safetensors")):
                folder = Path(hub.snapshot_download(repo, allow_patterns=[*_CONFIGS, *_TORCH], **options))
    except Exception as error:
        cached = cached_checkpoint(repo, revision)
        if cached is not None:
            return cached
        raise EncoderError(_explain(repo, revision, error)) from error
    return folder, folder.name


@dataclass(frozen=True, slots=True)
class CachedEncoder:
    """A snapshot in the cache: hub id, commit, bytes on disk, and what it is in a few words."""

    repo: str
    revision: str
    n_bytes: int
    says: str


def cached_encoders() -> Iterator[CachedEncoder]:
    """Yield the snapshots in the cache that hold an audio encoder that is supported, or say why they do not."""
    import huggingface_hub as hub

    try:
        repos = hub.scan_cache_dir().repos
    except (hub.CacheNotFound, ValueError):
        return
    for repo in sorted(repos, key=lambda one: one.repo_id):
        for snapshot in sorted(repo.revisions, key=lambda one: one.last_modified) if repo.repo_type == "model" else ():
            kind = _kind_of(snapshot.snapshot_path)
            if kind in SUPPORTED:
                yield CachedEncoder(repo.repo_id, snapshot.commit_hash, snapshot.size_on_disk, _told(snapshot, repo))


def _kind_of(folder: Path) -> str:
    try:
        return str(read_record(folder / "config.json", str(folder)).values.get("model_type"))
    except EncoderError:
        return ""


def _told(snapshot: Any, repo: Any) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights_files(snapshot.snapshot_path)
            facts = describe(snapshot.snapshot_path, repo.repo_id)
    except EncoderError as error:
        return f"cannot be used: {error}"
    return f"{facts['model_type']}, {facts['n_layers']} layers x {facts['dim']}, {facts['sample_rate'] / 1000:g} kHz"


def cached_checkpoint(repo: str, revision: str | None) -> tuple[Path, str] | None:
    """Return a complete snapshot from the cache, or None."""
    import huggingface_hub as hub

    for wanted in (_SAFE, _TORCH):  # a snapshot that was fetched in part is incomplete to huggingface_hub
        options: dict[str, Any] = {"revision": revision, "local_files_only": True}
        try:
            folder = Path(hub.snapshot_download(repo, allow_patterns=[*_CONFIGS, *wanted], **options))
        except Exception:
            continue
        weights = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
        if weights and (folder / "config.json").exists():
            return folder, folder.name
    return None


def _explain(repo: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    at = f" at revision {revision!r}" if revision else ""
    ways = "use --encoder tiny (bundled, for trying out) or --encoder FOLDER with a downloaded checkpoint"
    if isinstance(error, errors.GatedRepoError):
        return f"encoder {repo!r} is gated: accept its terms on the hub and log in (hf auth login), or {ways}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"encoder {repo!r} has no revision {revision!r} on the hub: leave --revision out for the newest"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no encoder {repo!r} (or it is private): check the name, or {ways}"
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is no hub id, no folder and no bundled encoder: {ways}"
    return (
        f"encoder {repo!r}{at} is not in the cache and the hub cannot be reached ({type(error).__name__}): "
        f"connect once to download it, or {ways}"
    )
