"""In which seeded order clips are asked for, and how they are divided, so that a run can be repeated."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from embedx.download.plan import ClipRequest

__all__ = ["draw_order", "plan_splits"]


def draw_order(requests: Iterable[ClipRequest], *, seed: int = 0) -> dict[str | None, list[ClipRequest]]:
    """Return each class's clips in a seeded order that does not change when rows are added.

    Parameters
    ----------
    requests : iterable of ClipRequest
        Clips of all classes.
    seed : int
        Another seed, another order.

    Returns
    -------
    dict of str to list of ClipRequest
        By label; the clips of one video stand together.
    """
    order: dict[str | None, list[ClipRequest]] = {}
    for request in sorted(
        requests,
        key=lambda request: (
            _rank(seed, "draw", request.row.link.video),
            request.url,
            str(request.start),
            request.part,
        ),
    ):
        order.setdefault(request.label, []).append(request)
    return order


def plan_splits(
    clips: Iterable[tuple[str, str | None, str]],
    *,
    valid_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> dict[str, str]:
    """Divide clips into train, valid and test so that no group is in two of them.

    Parameters
    ----------
    clips : iterable of (key, label, group)
        What was fetched; a group is a video or a channel.
    valid_fraction, test_fraction : float
        Share of every class's clips, rounded to whole clips.
    seed : int
        Another seed, another division.

    Returns
    -------
    dict of str to str
        Key to ``"train"``, ``"valid"`` or ``"test"``.

    Examples
    --------
    >>> clips = [(str(i), "dog", f"video{i}") for i in range(109)]
    >>> Counter(plan_splits(clips, valid_fraction=0.1).values())
    Counter({'train': 98, 'valid': 11})
    """
    members: dict[str, list[tuple[str, str | None]]] = {}
    for key, label, group in clips:
        members.setdefault(group, []).append((key, label))
    totals = Counter(label for rows in members.values() for _, label in rows)
    split: dict[str, str] = {}
    taken: set[str] = set()
    for name, fraction in (("test", test_fraction), ("valid", valid_fraction)):
        room = Counter({label: round(n * fraction) for label, n in totals.items()})
        for group in sorted(members, key=lambda group: _rank(seed, name, group)):
            needs = Counter(label for _, label in members[group])
            if group not in taken and all(room[label] >= n for label, n in needs.items()):
                taken.add(group)
                room -= needs
                split.update({key: name for key, _ in members[group]})
    return {key: split.get(key, "train") for rows in members.values() for key, _ in rows}


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:{name}".encode()).digest()
