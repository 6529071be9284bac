"""Under which licence an encoder's weights are, as far as what lies on this machine says it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["read_license", "read_terms"]


def read_license(folder: Path) -> str:
    """Return the licence that a checkpoint's own card names; empty when it names none."""
    return _find_in_card(folder, r"^license:\s*['\"]?([\w.+-]+)")


def read_terms(folder: Path) -> str:
    """Return what a checkpoint's own card says of its licence in words, in one line; empty when it says nothing."""
    return _find_in_card(folder, r"^#+\s*Licen[cs]e\s*\n+(.+?)(?:\n\s*\n|\Z)")


def _find_in_card(folder: Path, pattern: str) -> str:
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(pattern, text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""
