"""Which segments belong to which recording: by the names that files of segments write."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from embedx.errors import EmbedxWarning, ManifestError
from embedx.text import count
from embedx.timeline.segment_readers import NamedSegment
from embedx.timeline.segments import Segment

__all__ = ["by_recording", "name_recordings"]

Read = tuple[str, NamedSegment]
"""The file that a segment was read from, and the segment."""


def name_recordings(segments: Iterable[Read]) -> tuple[str, ...]:
    """Return the recordings that are named; one called ``recording`` where nothing names any.

    Examples
    --------
    >>> one = NamedSegment("x/a.wav", Segment(0, 1, "dog"))
    >>> other = NamedSegment("a", Segment(0, 1, "dog"))
    >>> name_recordings([("t.csv", one), ("t.rttm", other)])
    ('x/a.wav',)
    """
    names: dict[str, str] = {}
    for _, named in segments:
        if named.recording is not None:
            names.setdefault(_stem(named.recording), named.recording)
    return tuple(names.values()) or ("recording",)


def by_recording(recordings: Sequence[str], segments: Iterable[Read], *, what: str) -> dict[str, tuple[Segment, ...]]:
    """Sort segments by recording.

    A name belongs to the recording of the same path, else of the same file name without its ending. A file that names
    no recording belongs to the only one, or to the one whose name its own begins with.

    Parameters
    ----------
    recordings : sequence of str
        Paths or names.
    segments : iterable of (str, NamedSegment)
        Segments, and the files that they are from.
    what : str
        What the files were given as, for messages.

    Raises
    ------
    ManifestError
        A name fits several recordings, or no segment fits any.

    Warns
    -----
    EmbedxWarning
        Some are of other recordings.

    Examples
    --------
    >>> named = NamedSegment("far/a.wav", Segment(0.0, 1.0, "dog"))
    >>> by_recording(["a.flac", "b.flac"], [("truth.csv", named)], what="--truth")["b.flac"]
    ()
    """
    found: dict[str, list[Segment]] = {recording: [] for recording in recordings}
    lost: list[str] = []
    for place, named in segments:
        recording = _recording_of(recordings, place, named.recording, what)
        if recording is None:
            lost.append(named.recording or place)
        else:
            found[recording].append(named.segment)
    if lost:
        told = f"{what}: {count(len(lost), 'segment')} of other recordings ({lost[0]})"
        if not any(found.values()):
            raise ManifestError(f"{told}, and none of {recordings[0]}: names of recordings must be the same")
        warnings.warn(f"{told} are left out", EmbedxWarning, stacklevel=2)
    return {recording: tuple(some) for recording, some in found.items()}


def _recording_of(recordings: Sequence[str], place: str, name: str | None, what: str) -> str | None:
    if name is None:
        if len(recordings) == 1:
            return recordings[0]
        fits = [one for one in recordings if PurePath(place).name.startswith(f"{_stem(one)}.")]
        longest = max((len(_stem(one)) for one in fits), default=0)
        fits = [one for one in fits if len(_stem(one)) == longest]
        if not fits:
            raise ManifestError(f"{what} {place} names no recording, and none of {len(recordings):,} has its name")
    else:
        fits = [one for one in recordings if one == name] or [one for one in recordings if _stem(one) == _stem(name)]
    if len(fits) > 1:
        raise ManifestError(f"{what} {place}: {name or 'its name'} fits {fits[0]} and {fits[1]}: judge them apart")
    return fits[0] if fits else None


def _stem(name: str) -> str:
    path = PurePath(name.replace("\\", "/"))
    return path.stem if path.suffix[1:].isalnum() else path.name
