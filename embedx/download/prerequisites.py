"""What a download needs around it: a JavaScript runtime for YouTube, cookies, room on the disk."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from embedx.errors import ParameterError
from embedx.files import special_kind

__all__ = ["JsRuntime", "find_js_runtime", "free_bytes", "has_solver", "read_cookies"]

_RUNTIMES = {"deno": ("deno", (2, 3)), "node": ("node", (22, 0)), "bun": ("bun", (1, 2))}
_VERSION = re.compile(r"(\d+)\.(\d+)[.\d]*")
_COOKIE_FIELDS = 7


@dataclass(frozen=True, slots=True)
class JsRuntime:
    """A program that runs the scripts of YouTube's pages: yt-dlp's name of it, where it is, its version."""

    name: str
    path: str
    version: str


def find_js_runtime() -> JsRuntime | None:
    """Return the first runtime that is new enough for yt-dlp; None when there is none.

    Deno (``pip install 'embedx[youtube]'`` brings it), Node 22 and Bun 1.2 are looked for beside
    Python and on the PATH.
    """
    scripts = sysconfig.get_path("scripts")
    for name, (program, least) in _RUNTIMES.items():
        path = shutil.which(program, path=scripts) or shutil.which(program)
        version = _version_of(path) if path else None
        if path and version and tuple(int(part) for part in version.split(".")[:2]) >= least:
            return JsRuntime(name, path, version)
    return None


def has_solver() -> bool:
    """Say whether yt-dlp's scripts for YouTube are installed (package ``yt-dlp-ejs``)."""
    return importlib.util.find_spec("yt_dlp_ejs") is not None


def _version_of(path: str) -> str | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(done.stdout)
    return match[0] if match else None


def free_bytes(folder: str | os.PathLike[str]) -> int:
    """Return the room on the disk where a folder is or will be."""
    place = Path(os.path.abspath(folder))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def read_cookies(path: str | os.PathLike[str]) -> str:
    """Read a Netscape cookie file, which is never written to.

    Raises
    ------
    ParameterError
        Not there, not text, or of another format. The message holds no cookie.
    """
    kind = special_kind(path, but_streams=True)
    if kind is not None:
        raise ParameterError(f"--cookies {path} cannot be read: it is {kind}, not a file")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ParameterError(f"--cookies {path} cannot be read: {why}") from error
    lines = [line.removeprefix("#HttpOnly_") for line in text.splitlines()]
    kept = [line for line in lines if line.strip() and not line.startswith("#")]
    if not kept or any(len(line.split("\t")) != _COOKIE_FIELDS for line in kept):
        raise ParameterError(f"--cookies {path} is no Netscape cookie file (7 fields a line, separated by tabs)")
    return text
