"""Which versions of what stand behind a result: one list for comparisons, model cards and benchmarks."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_versions"]


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of packages; those that are not installed are left out.

    Parameters
    ----------
    packages : iterable of str
        Names as the package index has them.

    Examples
    --------
    >>> sorted(installed_versions(["numpy", "no-such-package"]))
    ['numpy', 'python']
    """
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
