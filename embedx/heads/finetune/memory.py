"""Seconds of audio that are computed at a time: a budget that halves when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch

from embedx.encoders.device import is_out_of_memory, release_memory
from embedx.errors import RunnerError

__all__ = ["Budget"]

_T = TypeVar("_T")
_LEAST_SECONDS = 0.5


class Budget:
    """How much is computed at a time, and in which dtype: changes speed and memory, not the result.

    Parameters
    ----------
    seconds : float
        Padded seconds of audio in a batch; one longer clip is a batch of its own.
    sample_rate : int
        Hertz.
    device : torch.device
        Where it is computed.
    compute_dtype : {'float32', 'bfloat16'}
        In bfloat16 weights stay float32 and torch's autocast casts (CUDA only: on CPUs the backward pass of
        convolutions is many times slower in bfloat16).

    Examples
    --------
    >>> budget = Budget(8.0, sample_rate=16_000, device=torch.device("cpu"))
    >>> def compute():
    ...     if budget.seconds > 3:
    ...         raise torch.OutOfMemoryError("no room")
    ...     return "done"
    >>> budget.spend(compute), budget.seconds
    ('done', 2.0)
    """

    def __init__(
        self, seconds: float, *, sample_rate: int, device: torch.device, compute_dtype: str = "float32"
    ) -> None:
        self.seconds, self.sample_rate, self.device = float(seconds), sample_rate, device
        self.compute_dtype = compute_dtype

    @property
    def samples(self) -> int:
        """The budget in samples."""
        return round(self.seconds * self.sample_rate)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that the network runs in."""
        if self.compute_dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def spend(self, compute: Callable[[], _T], *, undo: Callable[[], None] | None = None) -> _T:
        """Call ``compute`` until it fits, with half the budget after each time that memory ran out.

        Parameters
        ----------
        compute : callable
            Reads the budget anew each time.
        undo : callable, optional
            Takes back what a failed call left, such as gradients.

        Raises
        ------
        RunnerError
            Half a second at a time is too much.
        """
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
            if undo is not None:
                undo()
            release_memory(self.device.type)

    def _halve(self, error: BaseException) -> None:
        if self.seconds <= _LEAST_SECONDS:
            raise RunnerError(
                "memory ran out with a single clip: use shorter windows (--window-seconds), "
                "--gradient-checkpointing, --freeze encoder or a smaller encoder"
            ) from error
        self.seconds /= 2
