"""What a run still has to compute: the manifest against what a store holds and what lies on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from embedx.containers.clip_files import is_clip, stat_clip
from embedx.manifest import ClipKey, Manifest, Source
from embedx.store.publish import Entry, Index
from embedx.store.rows import NO_STAMP, FileStamp

__all__ = ["Known", "StorePlan", "plan_work"]


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What a store says to a manifest.

    Parameters
    ----------
    todo : frozenset of ClipKey
        Clips to compute.
    n_done : int
        Clips whose rows are there (copied ones included).
    n_failed : int
        Clips that failed before and are left as they are.
    n_changed : int
        Clips to compute again because the file's content changed.
    n_copied : int
        Clips whose rows are taken from another path with the same content.
    """

    todo: frozenset[ClipKey]
    n_done: int
    n_failed: int
    n_changed: int
    n_copied: int


class Known(NamedTuple):
    """A clip of the manifest that needs no computing, and the content that its file has now."""

    source: Source
    stamp: FileStamp

    def apply(self, index: Index) -> bool:
        """Put what is known into an index that still holds the content; say whether that changed it."""
        entry = index.find(self.source, self.stamp.sha256)
        if entry is None:
            return False
        clip = entry.clip._replace(source=_last_seen(entry.clip.source, self.source), stamp=self.stamp)
        changed = index.clips.get(self.source.key) != entry or clip != entry.clip
        index.clips[self.source.key] = entry._replace(clip=clip)
        return changed


def _last_seen(old: Source, new: Source) -> Source:
    """Return the new source; what a manifest without such a column does not say stays known."""
    return replace(new, label=new.label or old.label, group=new.group or old.group, split=new.split or old.split)


def plan_work(
    manifest: Manifest, index: Index, *, root: Path, retry_failed: bool
) -> tuple[StorePlan, list[Known], list[ClipKey]]:
    """Sort the clips of a manifest.

    ``(size, mtime_ns)`` is the fast check, sha256 the truth; files of clips that are neither known nor of a
    known size are not read.

    Returns
    -------
    plan : StorePlan
    known : list of Known
        The clips that need no computing.
    gone : list of ClipKey
        Clips of the store whose file is gone and whose content the manifest has at another path.
    """
    known_clips = _KnownClips(index, root)
    todo: set[ClipKey] = set()
    known: list[Known] = []
    tally: Counter[str] = Counter()
    for source in manifest:
        state, found = known_clips.of(source)
        if found is None or (state == "failed" and retry_failed):
            todo.add(source.key)
        else:
            known.append(found)
            tally["left" if state == "failed" else "done"] += 1
        tally[state] += 1
    counts = {f"n_{name}": tally[name] for name in ("done", "changed", "copied")}
    plan = StorePlan(frozenset(todo), n_failed=tally["left"], **counts)
    return plan, known, list(_gone(manifest, index, known, root))


class _KnownClips:
    """Looks at one file after the other, each read once at most."""

    def __init__(self, index: Index, root: Path) -> None:
        self._index, self._root = index, root
        self._sizes = {entry.clip.stamp.size for entry in index.contents.values()}
        self._hashed: dict[str, FileStamp] = {}

    def of(self, source: Source) -> tuple[str, Known | None]:
        """Return ``known``, ``failed``, ``copied``, ``changed`` or ``new``; with what is known but for the last two."""
        own = self._index.clips.get(source.key)
        stamp = self._stamp(source.uri, own)
        found = self._index.find(source, stamp.sha256)
        if found is None:
            return "new" if own is None else "changed", None
        if found is not own:
            return "copied", Known(source, stamp)
        return "known" if own.clip.error is None else "failed", Known(source, stamp)

    def _stamp(self, uri: str, entry: Entry | None) -> FileStamp:
        """Return what the file is now; one that is gone or unreadable, or no regular file, has not changed."""
        known = NO_STAMP if entry is None else entry.clip.stamp
        path = self._root / uri
        try:
            if not is_clip(path):  # a pipe would wait for ever, a device never end
                return known
            size, mtime_ns, _ = stat_clip(path)
            if mtime_ns == known.mtime_ns and size in (None, known.size):
                return known
            if size != known.size and (size not in self._sizes if size is not None else entry is None):
                return FileStamp(b"unread", size or 0, mtime_ns)  # no content that the store knows
            if uri not in self._hashed:
                self._hashed[uri] = FileStamp.read(path)
            return self._hashed[uri]
        except (OSError, ValueError):
            return known


def _gone(manifest: Manifest, index: Index, known: list[Known], root: Path) -> Iterator[ClipKey]:
    named = {source.key for source in manifest}
    content = {(entry.stamp.sha256, *entry.source.key[1:]) for entry in known}
    for key, entry in index.clips.items():
        here = (entry.clip.stamp.sha256, *key[1:]) in content
        if here and key not in named and entry.clip.error is None and not _is_there(root / entry.clip.source.uri):
            yield key


def _is_there(path: Path) -> bool:
    return path.exists() or is_clip(path)
