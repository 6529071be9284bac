"""Ids whose ends were cut off are looked for by title; one is accepted only if it explains the damage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from embedx.download.ledger import Journal
from embedx.download.link_rows import LinkRow
from embedx.download.links import read_link
from embedx.download.plan import LinkPlan
from embedx.download.rate_limit import Hosts
from embedx.download.status import StatusError

__all__ = ["explains", "is_stripped", "repair_rows"]

_STRIPPED = frozenset("https://www.youtube.com/watch?v=")
"""What Python's ``str.strip`` takes from both ends of an id when it is given YouTube's address."""

_MIN_EVIDENCE = 20
_HOST = "www.youtube.com"


def explains(candidate: str, damaged: str) -> bool:
    """Say whether stripping the characters of YouTube's address from a whole id leaves the damaged one.

    Examples
    --------
    >>> explains("ahttps12_bc", "a12"), explains("wJLZlCZ0hac", "JLZlCZ0"), explains("JLZlCZ0XXXX", "JLZlCZ0")
    (False, True, False)
    """
    if not damaged or read_link(candidate).damage is not None or len(candidate) != 11:
        return False
    before, found, after = candidate.partition(damaged)
    return bool(found) and set(before + after) <= _STRIPPED


def is_stripped(plan: LinkPlan) -> bool:
    """Say whether ``str.strip`` with YouTube's address cut the ids: none begins or ends with one of its letters."""
    pieces = [row.link.text for row in plan.damaged if row.link.damage == "too_short"]
    return len(pieces) >= _MIN_EVIDENCE and not any({text[0], text[-1]} & _STRIPPED for text in pieces)


def repair_rows(
    plan: LinkPlan,
    folder: Path,
    *,
    search: Callable[[str], Sequence[str]],
    hosts: Hosts | None = None,
    progress: Callable[..., None] | None = None,
) -> dict[str, str]:
    """Look for the whole ids of cut ones by their rows' titles, and remember the answers.

    Parameters
    ----------
    plan : LinkPlan
        With damaged rows.
    folder : Path
        ``repairs.jsonl`` in it is resumed: no title is searched twice.
    search : callable
        Words to ids; may raise `StatusError`.
    hosts : Hosts, optional
        Politeness; a stopped host ends the search.
    progress : callable, optional
        Called as ``progress(done, total, **facts)``.

    Returns
    -------
    dict of str to str
        ``LinkRow.repair_key`` to the one id that explains the damage. Where several do, none is taken.
    """
    patience = hosts or Hosts()
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "repairs.jsonl")
    rows = list({row.repair_key: row for row in plan.damaged if _is_searchable(row)}.values())
    found: dict[str, str] = {}
    try:
        for n, row in enumerate(rows, start=1):
            entry = journal.entries.get(_key(row)) or _search_once(row, journal, search, patience)
            if entry is None:
                break
            if entry["id"]:
                found[row.repair_key] = str(entry["id"])
            if progress is not None:
                progress(n, len(rows), found=len(found))
    finally:
        journal.close()
    return found


def _is_searchable(row: LinkRow) -> bool:
    return row.link.damage == "too_short" and bool(row.title.strip())


def _key(row: LinkRow) -> str:
    return hashlib.sha256(row.repair_key.encode()).hexdigest()[:16]


def _search_once(
    row: LinkRow, journal: Journal, search: Callable[[str], Sequence[str]], hosts: Hosts
) -> dict[str, object] | None:
    """Search once, politely; None when the site is not to be asked any more."""
    while not hosts.may_start(_HOST):
        if hosts.is_stopped(_HOST):
            return None
        time.sleep(0.05)
    hosts.start(_HOST)
    try:
        fits = _fitting(search(row.title), row.link.text)
    except StatusError as error:
        hosts.finish(_HOST, error.reason, retry_after_seconds=error.retry_after_seconds)
        return {"id": ""}
    hosts.finish(_HOST, "ok")
    one = fits[0] if len(fits) == 1 else ""
    return journal.note(
        {"key": _key(row), "row": row.number, "damaged": row.link.text, "id": one, "n_fitting": len(fits)}
    )


def _fitting(candidates: Iterable[str], damaged: str) -> list[str]:
    return sorted({candidate for candidate in candidates if explains(candidate, damaged)})
