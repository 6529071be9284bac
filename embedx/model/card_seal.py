"""By its last line, a hash of the rest, a model's card is known to be as embedx wrote it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

__all__ = ["CARD_NAME", "is_own_card", "sealed"]

CARD_NAME = "README.md"
_MOST_CARD_BYTES = 2**20
_SEAL = re.compile(r"<!-- written by embedx, ([0-9a-f]{64}): a card that is changed is never replaced -->\n?\Z")


def sealed(text: str) -> str:
    """Return a card with the line, a comment that no reader sees, behind it."""
    return f"{text}<!-- written by embedx, {_hash(text)}: a card that is changed is never replaced -->\n"


def is_own_card(place: str | os.PathLike[str]) -> bool:
    r"""Say whether a file is a card as embedx wrote it; one that somebody changed is theirs.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "README.md"
    >>> _ = place.write_text(sealed("# Barks\n"))
    >>> is_own_card(place)
    True
    >>> _ = place.write_text(sealed("# Barks\n") + "My own words.")
    >>> is_own_card(place)
    False
    """
    path = Path(place)
    try:
        if not path.is_file() or path.stat().st_size > _MOST_CARD_BYTES:
            return False
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    seal = _SEAL.search(text)
    return seal is not None and seal[1] == _hash(text[: seal.start()])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
