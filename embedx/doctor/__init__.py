"""What this machine has, what is wrong with it, and what to do about it; imports nothing but Python's own library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from embedx.doctor import hub, libraries, system
from embedx.doctor.findings import Finding

__all__ = ["Finding", "examine"]


def examine(*, network: bool = False) -> Iterator[Finding]:
    """Yield what this machine has, as it is found out.

    Parameters
    ----------
    network : bool
        Whether to ask the hub for a sign of life, for five seconds at most. Without it nothing is sent.

    Yields
    ------
    Finding
        Whatever is missing or broken is one of them; nothing is raised for it.

    Examples
    --------
    >>> next(iter(examine())).section
    'system'
    """
    yield from _guarded("system", system.python_and_machine)
    yield from _guarded("places", system.places)
    yield from _guarded("limits", system.limits)
    yield from _guarded("libraries", libraries.installed)
    yield from _guarded("extras", libraries.extras)
    yield from _guarded("download", libraries.download)
    yield from _guarded("hub", lambda: hub.reachable(ask=network))
    yield from _guarded("hub", hub.encoders)


def _guarded(section: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Let what cannot be looked at, for a library that is broken, be a finding, too."""
    try:
        yield from look()
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        yield Finding(section, "rest", f"cannot be looked at ({what})", "note", "mend the libraries first")
