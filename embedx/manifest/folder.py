"""The audio of a folder: what is taken, what is left out, and what the folders mean."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedx.errors import EmbedxWarning, ManifestError, SkippedSourcesWarning
from embedx.manifest.file_types import AUDIO_SUFFIXES, OTHER_SUFFIXES, ending_of, holds_audio
from embedx.manifest.manifest import Manifest
from embedx.manifest.paths import is_text, shorten
from embedx.manifest.source import Source
from embedx.manifest.split_folders import Layout, find_layout, is_like_part, is_part

__all__ = ["find_beside", "read_folder"]

_PROBED = 16
"""Files of one ending in one class that are looked into before the others are taken to be no audio either."""

_TOLD = 8


@dataclass(slots=True)
class _Listing:
    """What a walk through a folder found, as names relative to it."""

    audio: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    bad_names: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def read_folder(folder: Path) -> Manifest:
    """Read the audio below a folder; the first subfolder is the label, unless it is a part such as ``train``.

    Raises
    ------
    ManifestError
        There is no audio, or the folders contradict each other.
    """
    root = Path(os.path.abspath(folder))
    listing = _list(root)
    _look_into(listing, root)
    if not listing.audio:
        seen = f"it holds {_count(listing.other)}" if listing.other else "it is empty"
        raise ManifestError(
            f"no audio file under {folder} ({seen}; looked for {' '.join(sorted(AUDIO_SUFFIXES))} and for files that "
            "begin as audio does). Give another folder, or a CSV"
        )
    names = sorted(listing.audio)
    layout = find_layout(names, str(folder))
    sources = tuple(Source(name, label=label, split=split) for name in names for label, split in [layout.read(name)])
    _warn_left_out(folder, listing, layout, names)
    _warn_of_labels(folder, layout, names)
    return Manifest(
        sources,
        root,
        notes=tuple(_notes(layout, sources, listing.other)),
        left_out=dict(listing.other),
        n_bad_names=len(listing.bad_names),
    )


def _list(root: Path) -> _Listing:
    listing = _Listing()
    start = len(os.fspath(root).rstrip(os.sep)) + 1

    def closed(error: OSError) -> None:
        listing.closed.append(os.fsdecode(error.filename or root)[start:])

    for parent, folders, files in os.walk(root, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = f"{parent[start:]}/" if len(parent) > start - 1 else ""
        listing.closed.extend(f"{inside}{name}" for name in folders if os.path.islink(os.path.join(parent, name)))
        listing.folders.extend(inside + name for name in folders)
        for name in files:
            if not name.startswith("."):
                _sort_in(listing, (inside + name).replace(os.sep, "/"), ending_of(name))
    return listing


def _sort_in(listing: _Listing, name: str, ending: str) -> None:
    if not is_text(name):
        if ending not in OTHER_SUFFIXES:
            listing.bad_names.append(name)
    elif ending in AUDIO_SUFFIXES:
        listing.audio.append(name)
    elif ending in OTHER_SUFFIXES:
        listing.other[ending] += 1
    else:
        listing.unknown.append(name)


def _look_into(listing: _Listing, root: Path) -> None:
    """Take files whose ending says nothing and whose first bytes are audio's; a few of each kind decide for many."""
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(listing.unknown):
        alike[name.rpartition("/")[0], ending_of(name)].append(name)
    for (_, ending), names in alike.items():
        first = [name for name in names[:_PROBED] if holds_audio(root / name)]
        rest = [name for name in names[_PROBED:] if first and holds_audio(root / name)]
        listing.audio += first + rest
        listing.other[ending] += len(names) - len(first) - len(rest)
    listing.other = +listing.other


def find_beside(place: Path) -> list[Path]:
    """Return the audio files beside a file of annotations whose names its own begins with.

    The longest such name wins: ``rec1.Table.1.selections.txt`` belongs to ``rec1.wav``.
    """
    names = [name for name in os.listdir(place.parent) if ending_of(name) in AUDIO_SUFFIXES]
    stem = place.name.rpartition(".")[0]
    while stem:
        found = sorted(name for name in names if os.path.splitext(name)[0] == stem or name == stem)
        if found:
            return [place.parent / name for name in found]
        stem = stem.rpartition(".")[0]
    return []


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n:,} files"


def _count(endings: Counter[str]) -> str:
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{n:,} {ending or 'without ending'}" for ending, n in ordered[:_TOLD]]
    rest = sum(n for _, n in ordered[_TOLD:])
    return ", ".join([*told, *([f"{rest:,} others"] if rest else [])])


def _notes(layout: Layout, sources: Sequence[Source], other: Counter[str]) -> Iterator[str]:
    if layout.split is not None:
        parts = Counter(source.split for source in sources)
        counted = ", ".join(f"{part} ({n:,})" for part, n in sorted(parts.items(), key=str))
        unlabelled = all(source.label is None for source in sources)
        label = "there is no label" if unlabelled else f"the label is folder {(layout.label or 0) + 1} of the path"
        yield f"parts: {shorten(counted)}, from folder {layout.split + 1} of the path; {label}"
    if other:
        yield f"no audio by ending or first bytes, left out: {_count(other)}"


def _warn_left_out(folder: Path, listing: _Listing, layout: Layout, names: Sequence[str]) -> None:
    told = []
    if listing.bad_names:
        shown = os.fsencode(listing.bad_names[0]).decode("utf-8", "backslashreplace")
        told.append(f"left out, as their names are not UTF-8: {_files(len(listing.bad_names))} ({shorten(shown)})")
    if listing.closed:
        shown = shorten(", ".join(map(repr, sorted(listing.closed)[:_TOLD])))
        told.append(f"left out, as they are links or may not be read: the folders {shown}: give what they lead to")
    empty = _empty_classes(listing, layout, names)
    if empty:
        odd = Counter({ending: n for ending, n in listing.other.items() if ending not in OTHER_SUFFIXES})
        kinds = f"; left out as no audio: {_count(odd)}" if odd else ""
        told.append(f"no audio was found in {shorten(', '.join(map(repr, empty)))}{kinds}")
    elif odd := Counter({ending: n for ending, n in listing.other.items() if ending not in OTHER_SUFFIXES}):
        told.append(f"files that do not begin as audio does were left out: {_count(odd)}")
    for text in told:
        warnings.warn(f"{folder}: {text}", SkippedSourcesWarning, stacklevel=4)


def _empty_classes(listing: _Listing, layout: Layout, names: Sequence[str]) -> list[str]:
    """Return the folders that would be labels or parts, and from which no clip comes."""
    depth = max(layout.label or 0, layout.split or 0) + 1
    used = {name.rsplit("/", n)[0] for name in names for n in range(1, name.count("/") + 1)}
    least = min(layout.label or 0, depth - 1 if layout.split is None else layout.split)
    candidates = (one for one in listing.folders if least < one.count("/") + 1 <= depth and is_text(one))
    empty = [one for one in candidates if one not in used and one not in listing.closed]
    return sorted(one for one in empty if one.rpartition("/")[0] not in empty)


def _warn_of_labels(folder: Path, layout: Layout, names: Sequence[str]) -> None:
    told = layout.split is None and _doubt_of_parts(folder, names)
    told = told or _doubt_of_depth([tuple(name.split("/")[:-1]) for name in names], layout)
    if told:
        warnings.warn(f"{folder}: {told}", EmbedxWarning, stacklevel=4)


def _doubt_of_parts(folder: Path, names: Sequence[str]) -> str:
    """Say which labels may be parts, and which parts were not read."""
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in names}
    below = {one[1] for one in (name.split("/") for name in names) if len(one) > 2}
    parts = sorted(filter(is_part, below))
    like = sorted(top for top in tops if is_like_part(top) or is_part(top))
    if len(like) > 1:
        return f"the folders {shorten(', '.join(map(repr, like)))} became labels; if they are parts, give a CSV"
    if len(parts) > 1:
        return f"{shorten(', '.join(map(repr, parts)))} in some of the labels' folders were not read as parts"
    if len(tops) == 1 and len(below) > 1:
        top = next(iter(tops))
        return f"every clip is labelled {top!r}, the one folder; if the labels are in it, give {Path(folder, top)}"
    return ""


def _doubt_of_depth(paths: Sequence[tuple[str, ...]], layout: Layout) -> str:
    """Say where all labels hold the same folders: labels in turn (anna/dog, bert/dog), or speakers (dog/anna)."""
    if layout.label is None:
        return ""
    depth = layout.label + 1 + (layout.split == layout.label + 1)
    inside: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > layout.label:
            inside.setdefault(path[layout.label], set()).update(path[depth : depth + 1])
    common = set.intersection(*inside.values()) if len(inside) > 1 else set()
    if len(common) < 2 or 2 * len(common) < len(set.union(*inside.values())):
        return ""
    labels, same = (shorten(", ".join(map(repr, sorted(names)))) for names in (inside, common))
    return (
        f"the folders {labels} became labels, and all of them hold the folders {same}: if these are the labels, or "
        "speakers or recordings that must not be cut apart, give a CSV with the columns path, label and group"
    )
