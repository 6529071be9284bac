"""Decoding ahead of the encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embedx.audio.loader import ClipEvent, ClipRequest, load_clip

__all__ = ["DecodePool"]


class DecodePool:
    """Decodes clips; thin first version: in this process.

    Parameters
    ----------
    n_workers : int
        Processes; 0 decodes in this one.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def load(self, requests: Sequence[ClipRequest]) -> Iterator[tuple[int, ClipEvent]]:
        """Return the events of all clips, each with the clip's index."""
        for index, request in enumerate(requests):
            for event in load_clip(request):
                yield index, event

    def close(self) -> None:
        """End the workers."""
