"""Checkpoints of the Hugging Face hub: fetched once, pinned; the only module that imports huggingface_hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from embedx.encoders.description import PREPROCESSORS
from embedx.errors import EncoderError

__all__ = ["cached_checkpoint", "fetch_checkpoint"]

_CONFIGS = ["config.json", *PREPROCESSORS]
_SAFE = ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
_TORCH = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]


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
    from huggingface_hub.utils import disable_progress_bars

    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        cached = cached_checkpoint(repo, revision)
        if cached is not None and any((cached[0] / file).exists() for file in PREPROCESSORS):
            return cached
    if not os.environ.get("EMBEDX_DEBUG"):
        disable_progress_bars()
    try:
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=[*_CONFIGS, *_SAFE]))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=[*_CONFIGS, *_TORCH]))
    except Exception as error:
        cached = cached_checkpoint(repo, revision)
        if cached is not None:
            return cached
        raise EncoderError(_explain(repo, revision, error)) from error
    return folder, folder.name


def cached_checkpoint(repo: str, revision: str | None) -> tuple[Path, str] | None:
    """Return a complete snapshot from the cache, or None."""
    import huggingface_hub as hub

    try:
        folder = Path(hub.snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:
        return None
    weights = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
    return (folder, folder.name) if weights and (folder / "config.json").exists() else None


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
