"""torch.compile for functions of frames, with the plain functions to fall back on."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from embedx.encoders.device import is_out_of_memory
from embedx.errors import EmbedxWarning
from embedx.text import describe_error

__all__ = ["compile_each", "compile_layers", "say_why_not"]


def compile_each(functions: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Return compiled versions of functions, for any number of frames.

    Compiling happens at the first call. Where it fails (no compiler, an operation that it does not know), all of
    the functions go on as they were, with one warning.

    Parameters
    ----------
    functions : sequence of callable
        Of tensors.
    """
    faith = _Faith()
    return [_Compiled(function, faith) for function in functions]


def compile_layers(layers: Sequence[Any]) -> None:
    """Compile modules in their places, as `compile_each` does; hooks that watch them stay outside."""
    for forward, layer in zip(compile_each([layer.forward for layer in layers]), layers, strict=True):
        layer.forward = forward


def say_why_not(why: str) -> None:
    """Warn that nothing is compiled."""
    warnings.warn(f"torch.compile does not work here ({why}): going on without it", EmbedxWarning, stacklevel=3)


class _Faith:
    """Whether compiling is still worth trying, for all functions of one encoder."""

    def __init__(self) -> None:
        self.holds = True
        self.guard = threading.Lock()  # several threads may see it fail at a time

    def lose(self, error: Exception) -> None:
        with self.guard:
            if not self.holds:
                return
            self.holds = False
        say_why_not(describe_error(error)[:200])


class _Compiled:
    """A function, compiled as long as that works."""

    def __init__(self, function: Callable[..., Any], faith: _Faith) -> None:
        self._plain, self._faith = function, faith
        self._fast = torch.compile(function, dynamic=True)

    def __call__(self, *values: Any, **named: Any) -> Any:
        if self._faith.holds:
            try:
                return self._fast(*values, **named)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self._faith.lose(error)
        return self._plain(*values, **named)
