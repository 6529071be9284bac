"""The tables that are derived from the journal: the manifest, the failures, the summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from embedx.download.ledger import Ledger, write_table
from embedx.download.link_rows import LinkRow
from embedx.download.links import DAMAGE_CAUSES, public_url
from embedx.download.plan import ClipRequest, Conflict, LinkPlan
from embedx.download.row_sampling import plan_splits
from embedx.download.status import STATUSES, clean_message
from embedx.errors import ParameterError
from embedx.files import replace_file

__all__ = ["Division", "write_tables"]

_MANIFEST = (
    "path",
    "label",
    "group",
    "split",
    "url",
    "source_start",
    "seconds",
    "silent",
    "title",
    "uploader",
    "license",
)
_FAILURES = ("row", "link", "label", "status", "again", "attempts", "http_status", "error", "advice")

Row = list[object]


@dataclass(frozen=True, slots=True)
class Division:
    """How clips are divided.

    Parameters
    ----------
    group : {"video", "channel"}
        What no split may cut apart.
    valid_fraction, test_fraction : float
        Shares of every class; with neither no split is written.
    seed : int
        Of the draw and the splits.
    """

    group: str = "video"
    valid_fraction: float = 0.0
    test_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ParameterError(
                f"--valid-fraction {self.valid_fraction:g} and --test-fraction {self.test_fraction:g} "
                "leave nothing to train on: together less than 1"
            )


def write_tables(
    ledger: Ledger, plan: LinkPlan, tried: Sequence[ClipRequest], *, division: Division, full: Collection[str] = ()
) -> dict[str, dict[str, int]]:
    """Write ``manifest.csv``, ``failures.csv`` and ``summary.json``; return status to label to rows.

    Rows of a class in ``full`` that were not tried are not needed.
    """
    entries = {request.key: {**ledger.entries[request.key], "label": request.label} for request in tried}
    clips = sorted((entry for entry in entries.values() if entry["status"] == "ok"), key=lambda entry: entry["file"])
    write_table(ledger.folder / "manifest.csv", _MANIFEST, _manifest_rows(clips, division))
    failed = [_failure(entry) for entry in entries.values() if entry["status"] != "ok"]
    rows = [*map(_damaged, plan.damaged), *map(_conflicting, _left_out(plan)), *failed]
    write_table(ledger.folder / "failures.csv", _FAILURES, sorted(rows, key=lambda row: int(str(row[0]))))
    table = _count(entries, plan, full)
    with replace_file(ledger.folder / "summary.json") as file:
        file.write(json.dumps(_summary(plan, table, clips), indent=2) + "\n")
    return table


def _manifest_rows(clips: Sequence[dict[str, Any]], division: Division) -> list[Row]:
    groups = {clip["key"]: _group(clip, division.group) for clip in clips}
    split: dict[str, str] = {}
    if division.valid_fraction or division.test_fraction:
        named = ((clip["key"], clip["label"], groups[clip["key"]]) for clip in clips)
        fractions = {"valid_fraction": division.valid_fraction, "test_fraction": division.test_fraction}
        split = plan_splits(named, **fractions, seed=division.seed)
    return [
        [clip["file"], clip["label"], groups[clip["key"]], split.get(clip["key"], "")]
        + [clip["url"], clip["start"], clip["seconds"], clip["silent"]]
        + [_harmless(clip.get(name)) for name in ("title", "uploader", "license")]
        for clip in clips
    ]


def _group(clip: dict[str, Any], kind: str) -> str:
    channel = clip.get("channel_id") or clip.get("uploader") if kind == "channel" else None
    return str(channel or clip["video"])


def _harmless(text: object) -> str:
    """One line that no spreadsheet takes for a formula: what damaged the ids of this world."""
    line = " ".join(str(text or "").split())
    return f"'{line}" if line[:1] in ("=", "+", "-", "@") else line


def _damaged(row: LinkRow) -> Row:
    word = "invalid_url"
    link = _harmless(public_url(clean_message(row.link.text)))
    cause = DAMAGE_CAUSES[row.link.damage or "not_a_link"]
    return [row.number, link, row.label, word, "no", 0, "", f"{row.link.damage}: {cause}", STATUSES[word].advice]


def _left_out(plan: LinkPlan) -> list[Conflict]:
    asked = {request.row.number for request in plan.requests}
    return [conflict for conflict in plan.conflicts if conflict.rows[0].number not in asked]


def _conflicting(conflict: Conflict) -> Row:
    rows = ", ".join(f"row {row.number} says {row.label!r}" for row in conflict.rows)
    word, first = "label_conflict", conflict.rows[0]
    return [first.number, public_url(conflict.url), first.label, word, "no", 0, "", rows, STATUSES[word].advice]


def _failure(entry: dict[str, Any]) -> Row:
    status = STATUSES[entry["status"]]
    again = "no" if status.is_permanent else "yes"
    row = [entry["row"], entry["url"], entry["label"], status.word, again, entry["attempts"]]
    return [*row, entry.get("http_status"), _harmless(entry["error"]), status.advice]


def _count(entries: dict[str, dict[str, Any]], plan: LinkPlan, full: Collection[str]) -> dict[str, dict[str, int]]:
    counts = Counter((entry["status"], entry["label"] or "") for entry in entries.values())
    counts.update(("invalid_url", row.label or "") for row in plan.damaged)
    counts.update(("label_conflict", conflict.labels[0]) for conflict in _left_out(plan))
    left = [request.label or "" for request in plan.requests if request.key not in entries]
    counts.update(("not_needed" if label in full else "not_tried", label) for label in left)
    order = list(STATUSES)
    table: dict[str, dict[str, int]] = {}
    for (word, label), n in sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        table.setdefault(word, {})[label] = n
    return table


def _summary(plan: LinkPlan, table: dict[str, dict[str, int]], clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": 1,
        "csv": plan.place.name,
        "rows": {
            "all": len(plan.rows),
            "damaged": len(plan.damaged),
            "unique": plan.n_unique,
            "repeats": plan.n_repeats,
        },
        "damage": dict(plan.causes),
        "conflicts": len(plan.conflicts),
        "status": table,
        "seconds_of_audio": round(sum(clip["seconds"] for clip in clips), 3),
        "bytes_fetched": sum(clip.get("bytes_fetched", 0) for clip in clips),
        "n_silent": sum(bool(clip["silent"]) for clip in clips),
    }
