"""One clip, and what is known of it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from embedx.errors import ManifestError
from embedx.manifest.label_sets import join_classes, split_classes

__all__ = [
    "KNOWN",
    "LONGEST_TEXT",
    "ClipKey",
    "Source",
    "describe_alike",
    "require_short",
    "short_number",
    "unique_sources",
    "with_labels",
]

ClipKey = tuple[str, float, float | None]
"""(path relative to the root, start, stop): two segments of one file are two clips."""

KNOWN = ("label", "group", "split")
"""What may be known of a clip, beside where it lies."""

LONGEST_TEXT = 1_000
"""Characters of a label, group or split; every row of a store is as wide as the longest."""


@dataclass(frozen=True, slots=True)
class Source:
    """One clip: a file, or a segment of one, with what is known of it.

    Parameters
    ----------
    uri : str
        Path relative to the manifest's root where it lies below it (POSIX separators), else absolute.
    label, group, split : str or None
        The class; what must not be cut apart (speaker, video, source recording); a predefined part
        (``train``, ``valid``, a fold's name).
    start_seconds : float
        Where the segment begins in the file, in seconds.
    stop_seconds : float or None
        Where it ends; None is the end of the file.

    Examples
    --------
    >>> Source("a.wav", label="dog", start_seconds=1.5, stop_seconds=4).id
    'a.wav#1.5-4'
    """

    uri: str
    label: str | None = None
    group: str | None = None
    split: str | None = None
    start_seconds: float = 0.0
    stop_seconds: float | None = None

    @property
    def key(self) -> ClipKey:
        """What names the clip: path, start, stop."""
        return (self.uri, self.start_seconds, self.stop_seconds)

    @property
    def id(self) -> str:
        """The key as one readable text."""
        if self.start_seconds == 0 and self.stop_seconds is None:
            return self.uri
        stop = "" if self.stop_seconds is None else short_number(self.stop_seconds)
        return f"{self.uri}#{short_number(self.start_seconds)}-{stop}"

    @property
    def sort_key(self) -> tuple[str, float, float]:
        """The key with an open end last: the order of a store's rows."""
        return (self.uri, self.start_seconds, math.inf if self.stop_seconds is None else self.stop_seconds)


def short_number(value: float) -> str:
    """Return six digits where they say all, else all: two segments of a long file must not look like one."""
    text = f"{value:g}"
    return text if float(text) == value else repr(float(value))


def require_short(text: str | None, what: str) -> None:
    """Refuse a label, group or split that is no name any more.

    Raises
    ------
    ManifestError
        It has more than `LONGEST_TEXT` characters; ``what`` says which it is.
    """
    if text is not None and len(text) > LONGEST_TEXT:
        raise ManifestError(
            f"{what} has {len(text):,} characters ({text[:40]!r}...), at most {LONGEST_TEXT:,} are allowed: "
            "shorten it, or name another column"
        )


def unique_sources(
    rows: Iterable[tuple[int, Source]], where: str, unit: str, *, separator: str | None = None
) -> tuple[tuple[Source, ...], int]:
    """Keep every clip once, with all that its rows say of it.

    Parameters
    ----------
    rows : iterable of (int, Source)
        Sources, and the number that a message names each by.
    where, unit : str
        What holds them and what the numbers count, for messages.
    separator : str, optional
        What stands between the classes of a clip that may have several: the rows of one clip then add theirs.

    Returns
    -------
    sources : tuple of Source
        In the order of their first rows.
    n_repeats : int
        Rows that repeated an earlier clip.

    Raises
    ------
    ManifestError
        Two rows of one clip contradict each other.

    Examples
    --------
    >>> unique_sources([(2, Source("a.wav")), (3, Source("a.wav", label="dog"))], "clips.csv", "row")[0][0].label
    'dog'
    """
    clips: dict[ClipKey, Source] = {}
    first: dict[ClipKey, int] = {}
    told: dict[tuple[ClipKey, str], int] = {}  # what a later row knew first
    n_repeats = 0
    for number, source in rows:
        key = source.key
        if key not in clips:
            clips[key], first[key] = source, number
            continue
        n_repeats += 1
        for name in KNOWN:
            old, new = getattr(clips[key], name), getattr(source, name)
            if new is None or new == old:
                continue
            if old is not None and name == "label" and separator is not None:
                new = join_classes({*split_classes(old, separator), *split_classes(new, separator)}, separator)
                require_short(new, f"{where}: {source.id}: the label")
            elif old is not None:
                rows_told = f"{old!r} in {unit} {told.get((key, name), first[key])} and {new!r} in {unit} {number}"
                raise ManifestError(f"{where}: {source.id}: the {name} is {rows_told}. {_ADVICE[name]}")
            clips[key], told[key, name] = replace(clips[key], **{name: new}), number
    return tuple(clips.values()), n_repeats


_ADVICE = {
    "label": "One clip has one label: delete one of them, say which segment each is of (start, stop), or that clips "
    "may have several (--multi-label)",
    "group": "One clip is of one group: delete one of them, or give what both have in common as the group",
    "split": "A clip that is learned from must not be judged on: delete one of them",
}


def with_labels(sources: Iterable[Source], labels: Iterable[Source]) -> tuple[Source, ...]:
    """Give sources the label, group and split that another manifest has for the same clip.

    Clips that ``labels`` does not name keep None. Letters with accents are the same however they are composed.

    Examples
    --------
    >>> with_labels([Source("a.wav"), Source("b.wav", label="old")], [Source("a.wav", label="dog")])
    (Source(uri='a.wav', label='dog', group=None, split=None, start_seconds=0.0, stop_seconds=None), \
Source(uri='b.wav', label=None, group=None, split=None, start_seconds=0.0, stop_seconds=None))
    """
    listed = tuple(labels)
    composed = {_composed(source.key): source for source in listed}
    known = {source.key: source for source in listed}
    blank = Source("")
    found = ((old, known.get(old.key) or composed.get(_composed(old.key), blank)) for old in sources)
    return tuple(replace(old, label=new.label, group=new.group, split=new.split) for old, new in found)


def describe_alike(sources: Iterable[Source]) -> list[str]:
    """Say which labels, groups and parts are written in two ways, a sentence each.

    Examples
    --------
    >>> describe_alike([Source("a.wav", group="Spk 1"), Source("b.wav", group="spk_1")])
    ["2 groups differ only in how they are written ('Spk 1', 'spk_1') and are taken for different ones, so what is \
one of them may be learned from and tested on: write them alike"]
    """
    listed = tuple(sources)
    return [told for role, then in _ALIKE.items() if (told := _alike({getattr(s, role) for s in listed}, role, then))]


_ALIKE = {
    "label": "one class is learned as several",
    "group": "what is one of them may be learned from and tested on",
    "split": "clips of one part or fold may be learned from and tested on",
}


def _alike(names: set[str | None], role: str, then: str) -> str:
    kinds: dict[str, list[str]] = {}
    for name in names:
        if name is not None:
            kinds.setdefault(_plain(name), []).append(name)
    pairs = sorted(sorted(some) for some in kinds.values() if len(some) > 1)
    if role == "split":
        pairs = [some for some in pairs if any(map(str.isdigit, _plain(some[0])))]  # parts are read in any case
    if not pairs:
        return ""
    shown = ", ".join(repr(name[:80]) for name in pairs[0])
    return (
        f"{sum(map(len, pairs)):,} {role}s differ only in how they are written ({shown}) and are taken for different "
        f"ones, so {then}: write them alike"
    )


def _plain(name: str) -> str:
    """Return a name without what a second spelling of it may have: case, blanks, zeros around a number."""
    text = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()
    number = re.fullmatch(r"0*(\d+)(?:\.0*)?", text)
    return number.group(1) if number else text


def _composed(key: ClipKey) -> ClipKey:
    return (unicodedata.normalize("NFC", key[0]), *key[1:])
