"""What a request to the service may cost."""

from __future__ import annotations

from dataclasses import dataclass

from embedx.checks import require_number

__all__ = ["ServiceLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Sizes, lengths and times; what is beyond them is refused, and nothing is computed for it.

    Parameters
    ----------
    most_bytes : int
        Of a request's body. Beyond it: 413.
    most_seconds : float
        Of a recording, in seconds. Beyond it: 413.
    most_waiting : int
        Requests that wait for the model. Beyond it: 429.
    most_together : int
        Requests that the model computes at a time.
    timeout_seconds : float
        So long a request may take, its upload included, in seconds. Beyond it: 408 or 504.

    Raises
    ------
    ParameterError
        A value that lets nothing through.

    Examples
    --------
    >>> ServiceLimits(most_seconds=30).timeout_seconds
    60.0
    """

    most_bytes: int = 50_000_000
    most_seconds: float = 600.0
    most_waiting: int = 64
    most_together: int = 16
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("most_bytes", "most_waiting", "most_together"):
            require_number(name, getattr(self, name), 1, whole=True)
        for name in ("most_seconds", "timeout_seconds"):
            require_number(name, getattr(self, name), 0, open_low=True)
