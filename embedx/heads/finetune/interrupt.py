"""Ctrl-C in the middle of a training: the step is finished and the state kept before the training ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupt", "wait_for_step"]


class Interrupt:
    """Whether somebody asked for the end.

    Attributes
    ----------
    asked : bool
        True after the first Ctrl-C; the second one ends everything at once.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: Any) -> None:
        """Take a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def wait_for_step(*, wanted: bool) -> Iterator[Interrupt]:
    """Hold Ctrl-C back while a training runs that can keep its state.

    Parameters
    ----------
    wanted : bool
        False leaves Ctrl-C as it is; so does a thread other than the main one, or a handler of somebody else.

    Examples
    --------
    >>> with wait_for_step(wanted=True) as interrupt:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interrupt.asked
    True
    """
    interrupt = Interrupt()
    alone = threading.current_thread() is threading.main_thread()
    if not wanted or not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
