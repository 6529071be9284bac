"""The Hugging Face hub: whether it answers, and what of it is here."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

from embedx.doctor.findings import Finding
from embedx.text import as_size

__all__ = ["encoders", "reachable"]

_SECONDS = 5.0


def reachable(*, ask: bool) -> Iterator[Finding]:
    """Yield whether the hub answers, if it shall be asked."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("hub", "hub", "offline, as HF_HUB_OFFLINE says: only encoders in the cache can be used")
    elif not ask:
        yield Finding("hub", "hub", "not asked (embedx doctor --network asks)")
    else:
        why = _ask(os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"))
        advice = "copy a checkpoint here and give --encoder FOLDER, or set HF_ENDPOINT or HTTPS_PROXY" if why else ""
        value = f"cannot be reached: {why}" if why else "answers"
        yield Finding("hub", "hub", value, "note" if why else "ok", advice)


def encoders() -> Iterator[Finding]:
    """Yield the encoders in the cache."""
    from embedx.encoders.hub import cached_encoders

    found = list(cached_encoders())
    for one in found:
        yield Finding("hub", one.repo, f"{one.revision[:12]}, {as_size(one.n_bytes)}, {one.says}")
    if not found:
        yield Finding("hub", "encoders in the cache", "none; 'tiny' comes with embedx")


def _ask(endpoint: str) -> str:
    """Return why a server does not answer, empty when it does; even a name that is never resolved takes no longer."""
    answers = []

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "embedx"})
            with urllib.request.urlopen(request, timeout=_SECONDS):
                answers.append("")
        except urllib.error.HTTPError:
            answers.append("")  # it does answer
        except Exception as error:
            answers.append(str(getattr(error, "reason", "") or error) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True, name="embedx-doctor")
    thread.start()
    thread.join(_SECONDS)
    return answers[0] if answers else f"no answer within {_SECONDS:g} s"
