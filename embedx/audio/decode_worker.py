"""The process that decodes: requests come as lines on stdin, events go out on stdout. Imports no torch."""

from __future__ import annotations

import os
import sys
import time
from typing import BinaryIO

from embedx.audio.decode_messages import HEARTBEAT, READY, write_event, write_mark
from embedx.audio.loader import ClipRequest, load_clip

__all__ = ["main"]

_HEARTBEAT_SECONDS = 1.0


def main() -> None:
    """Serve until stdin ends."""
    answers = _take_stdout()
    try:
        write_mark(answers, READY)
        for line in sys.stdin:
            for event in load_clip(ClipRequest.from_json(line), heartbeat=_Heartbeat(answers)):
                write_event(answers, event)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    os._exit(0)  # a library's exit handler must not keep a worker alive


def _take_stdout() -> BinaryIO:
    """Keep stdout for events: what a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    return answers


class _Heartbeat:
    """Tells the parent now and then that packets still come."""

    def __init__(self, answers: BinaryIO) -> None:
        self.answers, self._last = answers, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last > _HEARTBEAT_SECONDS:
            self._last = now
            write_mark(self.answers, HEARTBEAT)


if __name__ == "__main__":
    main()
