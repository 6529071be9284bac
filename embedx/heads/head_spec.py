"""What a head declares, and the declaration of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embedx.heads import factories
from embedx.heads.mlp_settings import MLPSettings
from embedx.heads.search_space import Choice, Dimension, Integer, Real

__all__ = ["ENTRIES", "HeadSpec", "InputKind"]

InputKind = Literal["embeddings", "control", "sources"]


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
    input_kind : {'embeddings', 'control', 'sources'}
        The pooled layers (n, L * D), the log-mel statistics (n, 128), or the audio itself.
    space : mapping of str to Dimension
        What tuning may try, by parameter of the factory. Empty: nothing to tune.
    layered : bool
        Whether the layer is one of its hyper-parameters.
    is_control : bool
        Whether it is a control row that every table has.
    learns_layers : bool
        Whether ``layer="learned"`` is one of its choices.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> def make(*, n_layers, random_state, var_smoothing=1e-9):
    ...     return GaussianNB(var_smoothing=var_smoothing)
    >>> HeadSpec(name="nb", title="naive Bayes", factory=make, layered=False).input_kind
    'embeddings'
    """

    name: str
    title: str
    factory: Callable[..., Any]
    input_kind: InputKind = "embeddings"
    space: Mapping[str, Dimension] = field(default_factory=dict)
    layered: bool = True
    is_control: bool = False
    learns_layers: bool = False


_BALANCE = Choice((None, "balanced"))

ENTRIES = (
    HeadSpec(name="majority", title="majority class", factory=factories.majority, layered=False, is_control=True),
    HeadSpec(
        name="logmel",
        title="log-mel + logistic regression",
        factory=factories.logmel,
        input_kind="control",
        space={"C": Real(1e-4, 1e2, log=True), "class_weight": _BALANCE},
        layered=False,
        is_control=True,
    ),
    HeadSpec(
        name="logreg",
        title="logistic regression",
        factory=factories.logreg,
        space={"C": Real(1e-5, 1e2, log=True), "class_weight": _BALANCE},
    ),
    HeadSpec(
        name="lgbm",
        title="LightGBM",
        factory=factories.lgbm,
        space={
            "n_estimators": Integer(30, 300, log=True),
            "learning_rate": Real(0.02, 0.3, log=True),
            "num_leaves": Integer(3, 31, log=True),
            "min_child_samples": Integer(2, 30, log=True),
            "colsample_bytree": Real(0.05, 1.0, log=True),
            "subsample": Real(0.5, 1.0),
            "reg_lambda": Real(1e-3, 30.0, log=True),
            "class_weight": _BALANCE,
        },
    ),
    HeadSpec(
        name="mlp",
        title="MLP",
        factory=factories.mlp,
        space=MLPSettings.search_space(),
        learns_layers=True,
    ),
    HeadSpec(
        name="knn",
        title="k nearest neighbours",
        factory=factories.knn,
        space={
            "n_neighbors": Integer(1, 25, log=True),
            "weights": Choice(("uniform", "distance")),
            "metric": Choice(("cosine", "euclidean")),
        },
    ),
    HeadSpec(
        name="finetune",
        title="fine-tuned encoder",
        factory=factories.finetune,
        input_kind="sources",
        space={
            "learning_rate": Real(1e-5, 1e-3, log=True),
            "epochs": Integer(5, 40, log=True),
            "layer_decay": Real(0.6, 1.0),
            "n_frozen_layers": Choice((0, 2, 4)),
            "mask_time_prob": Choice((None, 0.0, 0.1, 0.2)),
            "pooling": Choice(("mean", "attention")),
        },
        layered=False,
    ),
)
"""Every head; a new one is a new entry."""
