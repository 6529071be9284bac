"""Frames of any format become mono blocks of one sample rate."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixer"]


class Mixer:
    """Average the channels and resample.

    The channels are averaged in floating point (FFmpeg's own downmix to mono is 3 dB louder on stereo
    and clips), then resampled. A format that changes in mid-stream starts a new filter graph.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._format: tuple[Any, ...] | None = None
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Give one frame; yields what became ready."""
        given = (frame.sample_rate, frame.format.name, frame.layout.name, frame.layout.nb_channels)
        if given != self._format:
            yield from self.flush()
            self._graph, self._format = self._build(frame), given
        frame.pts = None
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """Yield what the resampler still holds."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = self._format = None

    def _pull(self) -> Iterator[NDArray[np.float32]]:
        while True:
            try:
                ready = self._graph.pull()
                yield np.frombuffer(ready.planes[0], np.float32, ready.samples)
            except (BlockingIOError, EOFError):
                return

    def _build(self, frame: Any) -> Any:
        n = frame.layout.nb_channels
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=Fraction(1, frame.sample_rate),
            ),
            graph.add("aformat", "sample_fmts=fltp"),
        ]
        if n > 1:
            steps.append(graph.add("pan", "mono|c0=" + "+".join(f"{1 / n!r}*c{i}" for i in range(n))))
        if frame.sample_rate != self.sample_rate:
            steps.append(graph.add("aresample", f"{self.sample_rate}:osf=fltp"))
        steps.append(graph.add("abuffersink"))
        graph.link_nodes(*steps).configure()
        return graph
