"""Every exception and warning that embedx raises on purpose.

::

    EmbedxError
    ├── ManifestError(ValueError)        a list of clips that cannot be used; names row and column
    ├── SourceError                      one clip that cannot be used; carries ``.source``
    │   ├── FetchError                   it could not be downloaded
    │   ├── DecodeError                  it could not be decoded
    │   └── ClipTooShortError            it holds less than one encoder frame
    ├── EncoderError(ValueError)         an encoder that is unknown, absent or not supported
    ├── RecipeMismatchError(ValueError)  two recipes that must be equal differ; lists the fields
    ├── StoreError(OSError)              a store that cannot be written or read
    │   ├── StoreBusyError               another process holds it
    │   └── StoreFormatError             the file is no embedx store, or a damaged or hostile one
    ├── ModelFormatError(ValueError)     a saved model that cannot be loaded, or a head that cannot be saved
    ├── DatasetError(ValueError)         labels or groups that cannot be learned from
    ├── ParameterError(ValueError)       a parameter outside its allowed values; suggests the nearest name
    ├── RunnerError(RuntimeError)        the machinery failed, not a clip: workers that die, a cluster without room
    └── MissingExtraError(ImportError)   an optional dependency is not installed; says the command

    Interrupted(KeyboardInterrupt)       Ctrl-C; says what is kept

    EmbedxWarning(UserWarning)
    ├── SkippedSourcesWarning            clips were left out; says how many and why
    ├── CollapsedTrainingWarning         a fine-tuning ended at one class
    ├── CheckpointWarning                a fine-tuning's state could not be written; it goes on
    └── ComputeDtypeWarning              rows of one store were computed in different dtypes

A message says what went wrong, where, what was got, what is allowed and what to do next, in one line.
Errors of other libraries are translated in the one module that imports the library.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CheckpointWarning",
    "ClipTooShortError",
    "CollapsedTrainingWarning",
    "ComputeDtypeWarning",
    "DatasetError",
    "DecodeError",
    "EmbedxError",
    "EmbedxWarning",
    "EncoderError",
    "FetchError",
    "Interrupted",
    "ManifestError",
    "MissingExtraError",
    "ModelFormatError",
    "ParameterError",
    "RecipeMismatchError",
    "RunnerError",
    "SkippedSourcesWarning",
    "SourceError",
    "StoreBusyError",
    "StoreError",
    "StoreFormatError",
]


class EmbedxError(Exception):
    """Base of everything that embedx raises on purpose; ``str()`` is one readable line.

    Examples
    --------
    >>> from embedx import EmbedxError, read_manifest
    >>> try:
    ...     read_manifest("nowhere.csv")
    ... except EmbedxError as error:
    ...     print(type(error).__name__)
    ManifestError
    """


class ManifestError(EmbedxError, ValueError):
    """A list of clips cannot be used; the message names the file, the row and the column."""


class SourceError(EmbedxError):
    """One clip cannot be used.

    Parameters
    ----------
    message : str
        What happened, in one line.
    source : Source, optional
        The clip. Filled in by the caller that knows it.

    Attributes
    ----------
    reason : str
        A stable word for tables and for the store's ``error`` column, such as ``"decode"``.
    """

    reason = "error"

    def __init__(self, message: str, source: Any = None) -> None:
        super().__init__(message)
        self.source = source

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.source)


class FetchError(SourceError):
    """A clip could not be downloaded."""

    reason = "fetch"


class DecodeError(SourceError):
    """A clip could not be decoded: not audio, damaged, cut off, or missing."""

    reason = "decode"


class ClipTooShortError(SourceError):
    """A clip holds less than one frame of the encoder (25 ms for wav2vec2)."""

    reason = "too_short"


class EncoderError(EmbedxError, ValueError):
    """An encoder is unknown, cannot be had (no network, no such folder) or is not supported."""


class RecipeMismatchError(EmbedxError, ValueError):
    """Two recipes that must be equal differ.

    Parameters
    ----------
    message : str
        One line with every field that differs and both values.
    differences : tuple of (str, object, object)
        Field, recorded value, requested value, as ``Recipe.diff`` returns them.
    """

    def __init__(self, message: str, differences: tuple[tuple[str, Any, Any], ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.differences)


class StoreError(EmbedxError, OSError):
    """An embedding store cannot be written or read."""


class StoreBusyError(StoreError):
    """Another process is publishing the store; the message names its pid and host."""


class StoreFormatError(StoreError):
    """The file is no embedx store, or one that is damaged, of another schema, or hostile."""


class ModelFormatError(EmbedxError, ValueError):
    """A saved model cannot be loaded, or a head cannot be saved without pickle."""


class DatasetError(EmbedxError, ValueError):
    """Labels or groups cannot be learned from: none, one class, a class of one, too few groups."""


class ParameterError(EmbedxError, ValueError):
    """A parameter is outside its allowed values."""


class RunnerError(EmbedxError, RuntimeError):
    """The machinery of an extraction failed, not a clip: workers that keep dying, a cluster without room."""


class MissingExtraError(EmbedxError, ImportError):
    """An optional dependency is not installed; the message holds the install command."""

    @classmethod
    def for_extra(cls, package: str, extra: str, purpose: str) -> MissingExtraError:
        """Build the one sentence that every missing extra is reported with.

        Examples
        --------
        >>> str(MissingExtraError.for_extra("ray", "ray", "--engine ray"))
        "--engine ray needs the package 'ray', which is not installed: pip install 'embedx[ray]'"
        """
        return cls(f"{purpose} needs the package {package!r}, which is not installed: pip install 'embedx[{extra}]'")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a piece of work.

    No `EmbedxError`: whoever catches errors must not catch it.

    Parameters
    ----------
    message : str
        What is kept and how to go on, for the command line to say after "interrupted".
    """


class EmbedxWarning(UserWarning):
    """Base of the warnings that embedx gives."""


class SkippedSourcesWarning(EmbedxWarning):
    """Clips were left out of a result; the message says how many and why."""


class CollapsedTrainingWarning(EmbedxWarning):
    """A fine-tuning predicts (nearly) one class; the message says at which rate, and what follows."""


class CheckpointWarning(EmbedxWarning):
    """The state of a fine-tuning could not be written; the training goes on, the checkpoint before stays."""


class ComputeDtypeWarning(EmbedxWarning):
    """Rows of one store were computed in different dtypes (comparable within the stated tolerance)."""


def unknown_name(kind: str, got: str, allowed: Iterable[str]) -> str:
    """Say that a name is unknown, which one was probably meant, and which there are.

    Parameters
    ----------
    kind : str
        What is named, such as ``"head"``.
    got : str
        The name that was given.
    allowed : iterable of str
        The names that exist.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> unknown_name("head", "lgmb", ["logreg", "lgbm"])
    "unknown head 'lgmb': did you mean 'lgbm'? Known: lgbm, logreg"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {got!r}{hint} Known: {', '.join(names)}"
