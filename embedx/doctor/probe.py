"""A child process that imports libraries one after the other and says of each what it is, a line of JSON each."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

__all__ = ["main"]

_CODECS = ("pcm_s16le", "flac", "mp3", "vorbis", "opus", "aac")


def main() -> None:
    """Import what the arguments name; what they print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for module in sys.argv[3:]:
        answers.write(json.dumps(_look_at(module)) + "\n")
        answers.flush()


def _look_at(module: str) -> dict[str, Any]:
    try:
        library = importlib.import_module(module)
        return {"torch": _torch, "av": _av}.get(module, lambda _: {})(library)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def _torch(torch: Any) -> dict[str, Any]:
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = getattr(torch.backends, "mps", None)
    return {
        "built": torch.version.cuda,
        "cuda": [torch.cuda.get_device_name(i) for i in range(n)],
        "mps": bool(mps is not None and mps.is_available()),
    }


def _av(av: Any) -> dict[str, Any]:
    return {"ffmpeg": getattr(av, "ffmpeg_version_info", ""), "codecs": {n: _decodes(av, n) for n in _CODECS}}


def _decodes(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "r")
    except Exception:
        return False
    return True
