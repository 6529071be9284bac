"""The tables that are derived from the journal: the manifest, the failures, the summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from embedx.download.ledger import Ledger, write_table, write_text
from embedx.download.links import DAMAGE_CAUSES
from embedx.download.plan import Ask, LinkPlan, plan_splits
from embedx.download.status import STATUSES

__all__ = ["write_tables"]

_MANIFEST = ("path", "label", "group", "split", "url", "start", "seconds", "title", "uploader", "license", "silent")
_FAILURES = ("row", "link", "label", "status", "again", "attempts", "http_status", "error", "advice")


def write_tables(
    ledger: Ledger,
    plan: LinkPlan,
    tried: Sequence[Ask],
    *,
    group: str = "video",
    valid_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """Write ``manifest.csv``, ``failures.csv`` and ``summary.json``; return status to label to rows."""
    entries = [ledger.entries[ask.key] for ask in tried if ask.key in ledger.entries]
    clips = sorted((entry for entry in entries if entry["status"] == "ok"), key=lambda entry: entry["file"])
    _write_manifest(ledger, clips, group, (valid_fraction, test_fraction), seed)
    failures = [*_never(plan), *(_failure(entry) for entry in entries if entry["status"] != "ok")]
    write_table(ledger.folder / "failures.csv", _FAILURES, sorted(failures, key=lambda row: row[0]))
    table = _table(entries, plan, tried)
    write_text(ledger.folder / "summary.json", json.dumps(_summary(plan, table), indent=2, sort_keys=True) + "\n")
    return table


def _write_manifest(
    ledger: Ledger, clips: Sequence[dict[str, Any]], group: str, fractions: tuple[float, float], seed: int
) -> None:
    groups = {clip["key"]: (clip.get("channel_id") if group == "channel" else None) or clip["video"] for clip in clips}
    split = plan_splits(
        ((clip["key"], clip["label"], groups[clip["key"]]) for clip in clips),
        valid_fraction=fractions[0],
        test_fraction=fractions[1],
        seed=seed,
    )
    rows = (
        [clip["file"], clip["label"], groups[clip["key"]], split[clip["key"]]]
        + [clip["url"], clip["start"], clip["seconds"], clip.get("title"), clip.get("uploader"), clip.get("license")]
        + [clip["silent"]]
        for clip in clips
    )
    write_table(ledger.folder / "manifest.csv", _MANIFEST, rows)


def _never(plan: LinkPlan) -> list[list[object]]:
    """Rows that were never requested: damaged ones and those with two labels."""
    advice = STATUSES["invalid_url"].advice
    rows: list[list[object]] = [
        [
            row.number,
            row.link.text[:200],
            row.label,
            "invalid_url",
            "no",
            0,
            "",
            DAMAGE_CAUSES[row.link.damage or ""],
            advice,
        ]
        for row in plan.damaged
    ]
    asked = {ask.url for ask in plan.asks}
    for conflict in plan.conflicts:
        if conflict.url not in asked:
            text = "labels: " + ", ".join(conflict.labels)
            first = conflict.rows[0]
            advice = STATUSES["label_conflict"].advice
            rows.append([first.number, first.link.text, first.label, "label_conflict", "no", 0, "", text, advice])
    return rows


def _failure(entry: dict[str, Any]) -> list[object]:
    status = STATUSES[entry["status"]]
    again = "no" if status.is_permanent else "yes"
    return [entry["row"], entry["url"], entry["label"], status.word, again, entry["attempts"]] + [
        entry.get("http_status"),
        entry["error"],
        status.advice,
    ]


def _table(entries: Sequence[dict[str, Any]], plan: LinkPlan, tried: Sequence[Ask]) -> dict[str, dict[str, int]]:
    counts = Counter((entry["status"], entry["label"] or "") for entry in entries)
    counts.update(("invalid_url", row.label or "") for row in plan.damaged)
    keys = {ask.key for ask in tried}
    counts.update(("not_tried", ask.label or "") for ask in plan.asks if ask.key not in keys)
    table: dict[str, dict[str, int]] = {}
    for (word, label), n in sorted(counts.items(), key=lambda item: list(STATUSES).index(item[0][0])):
        table.setdefault(word, {})[label] = n
    return table


def _summary(plan: LinkPlan, table: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {
        "format": 1,
        "csv": plan.place.name,
        "n_rows": len(plan.rows),
        "n_damaged": len(plan.damaged),
        "damaged": dict(plan.causes),
        "n_unique": plan.n_unique,
        "n_repeats": plan.n_repeats,
        "n_conflicts": len(plan.conflicts),
        "status": table,
    }
