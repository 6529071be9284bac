"""Every head by name: how it is made, what tuning may try, what it eats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embedx.errors import ParameterError, unknown_name
from embedx.heads.space import Dimension

__all__ = ["CATALOG", "Eats", "HeadSpec", "get_head"]

Eats = Literal["embeddings", "control", "sources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One catalogue entry; adding a head is adding one of these.

    Parameters
    ----------
    name : str
        What the user types.
    title : str
        What a table prints.
    factory : callable
        ``factory(n_layers=..., random_state=..., **parameters)`` returns an unfitted scikit-learn classifier.
    eats : {'embeddings', 'control', 'sources'}
        The pooled layers (n, L * D), the log-mel statistics (n, 128), or the audio itself.
    space : mapping of str to Dimension
        What tuning may try, by parameter of the factory. Empty: nothing to tune.
    layered : bool
        Whether the layer is one of its hyper-parameters.
    is_control : bool
        Whether it is a control row that every table has.
    """

    name: str
    title: str
    factory: Callable[..., Any]
    eats: Eats = "embeddings"
    space: Mapping[str, Dimension] = field(default_factory=dict)
    layered: bool = True
    is_control: bool = False


CATALOG: dict[str, HeadSpec] = {}


def get_head(name: str) -> HeadSpec:
    """Return the entry of a head, or say which name was probably meant.

    Raises
    ------
    ParameterError
        There is no such head.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise ParameterError(unknown_name("head", name, CATALOG)) from None
