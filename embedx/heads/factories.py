"""How each head is put together; libraries are imported when a head is made, not when it is named."""

from __future__ import annotations

import inspect
from typing import Any

from embedx.checks import require_choice, require_number
from embedx.heads.mlp_settings import taking_settings

__all__ = ["finetune", "knn", "lgbm", "logmel", "logreg", "majority", "mlp"]


def majority(*, n_layers: int = 1, random_state: int = 0) -> Any:
    """Predict the most frequent class with the class frequencies as probabilities, whatever is heard."""
    from sklearn.dummy import DummyClassifier

    return _routed(DummyClassifier(strategy="prior"))


def logmel(*, n_layers: int = 1, random_state: int = 0, C: float = 0.1, class_weight: str | None = None) -> Any:
    """Logistic regression on log-mel statistics: what can be had without an encoder."""
    from sklearn.preprocessing import StandardScaler

    from embedx.heads.pipeline import HeadPipeline

    return HeadPipeline([("scaler", _routed(StandardScaler())), ("head", _routed(_logistic(C, class_weight)))])


def logreg(
    *,
    n_layers: int = 1,
    random_state: int = 0,
    layer: int | str = "mean",
    C: float = 0.1,
    class_weight: str | None = None,
) -> Any:
    """Logistic regression on standardised embeddings."""
    return _on_layers(n_layers, layer, _logistic(C, class_weight))


def knn(
    *,
    n_layers: int = 1,
    random_state: int = 0,
    layer: int | str = "mean",
    n_neighbors: int = 5,
    weights: str = "distance",
    metric: str = "cosine",
) -> Any:
    """Vote of the nearest training clips."""
    from embedx.heads.neighbors import METRICS, NeighborsClassifier

    require_number("knn n_neighbors", n_neighbors, 1, whole=True)
    require_choice("knn weights", weights, ("uniform", "distance"))
    require_choice("knn metric", metric, METRICS)
    head = NeighborsClassifier(n_neighbors=n_neighbors, weights=weights, metric=metric, algorithm="brute")
    return _on_layers(n_layers, layer, head)


def lgbm(
    *,
    n_layers: int = 1,
    random_state: int = 0,
    layer: int | str = "mean",
    n_estimators: int = 100,
    learning_rate: float = 0.1,
    num_leaves: int = 7,
    min_child_samples: int = 5,
    colsample_bytree: float = 0.3,
    subsample: float = 0.8,
    reg_lambda: float = 1.0,
    class_weight: str | None = None,
    n_jobs: int = 1,
) -> Any:
    """LightGBM's own classifier with defaults for hundreds of clips, not for millions."""
    from lightgbm import LGBMClassifier

    for name, value, low, high in (("n_estimators", n_estimators, 1, 100_000), ("num_leaves", num_leaves, 2, 131_072)):
        require_number(f"lgbm {name}", value, low, high, whole=True)
    require_number("lgbm min_child_samples", min_child_samples, 0, 2**31 - 1, whole=True)
    require_number("lgbm n_jobs", n_jobs, -1, 4096, whole=True)
    for name, share in (("colsample_bytree", colsample_bytree), ("subsample", subsample)):
        require_number(f"lgbm {name}", share, 0, 1, open_low=True)
    require_number("lgbm learning_rate", learning_rate, 0, open_low=True)
    require_number("lgbm reg_lambda", reg_lambda, 0)
    head = LGBMClassifier(
        n_estimators=n_estimators,
        learning_rate=learning_rate,
        num_leaves=num_leaves,
        min_child_samples=min_child_samples,
        colsample_bytree=colsample_bytree,
        subsample=subsample,
        subsample_freq=1,
        reg_lambda=reg_lambda,
        class_weight=class_weight,
        max_bin=63,
        random_state=random_state,
        n_jobs=n_jobs,
        deterministic=True,
        force_col_wise=True,
        verbosity=-1,
    )
    return _on_layers(n_layers, layer, head, scaled=False)


@taking_settings
def mlp(*, n_layers: int = 1, random_state: int = 0, layer: int | str = "mean", **settings: Any) -> Any:
    """A small network in torch; ``layer="learned"`` weighs the layers itself."""
    from embedx.heads.mlp import MLPClassifier

    learned = layer == "learned" and n_layers > 1
    head = MLPClassifier(n_layers=n_layers if learned else 1, random_state=random_state, **settings)
    return _on_layers(n_layers, "all" if layer == "learned" else layer, head)


def finetune(
    *,
    n_layers: int = 1,
    random_state: int = 0,
    recipe: Any = None,
    epochs: int = 20,
    learning_rate: float = 1e-4,
    layer_decay: float = 0.9,
    n_frozen_layers: int = 0,
    mask_time_prob: float | None = None,
    pooling: str = "mean",
    **parameters: Any,
) -> Any:
    """The whole encoder with a classification layer, trained end to end on the audio."""
    from embedx.heads.finetune.classifier import make_finetune

    return make_finetune(
        random_state=random_state,
        recipe=recipe,
        epochs=epochs,
        learning_rate=learning_rate,
        layer_decay=layer_decay,
        n_frozen_layers=n_frozen_layers,
        mask_time_prob=mask_time_prob,
        pooling=pooling,
        **parameters,
    )


def _logistic(C: float, class_weight: str | None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, class_weight=class_weight, max_iter=2000)


def _on_layers(n_layers: int, layer: int | str, head: Any, *, scaled: bool = True) -> Any:
    from sklearn.preprocessing import StandardScaler

    from embedx.heads.layers import LayerSelector
    from embedx.heads.pipeline import HeadPipeline

    scaler = [("scaler", _routed(StandardScaler()))] if scaled else []
    return HeadPipeline([("layers", LayerSelector(n_layers=n_layers, layer=layer)), *scaler, ("head", _routed(head))])


def _routed(step: Any) -> Any:
    """Ask for the weights and groups that a step can use, where scikit-learn's metadata routing is on."""
    from sklearn import get_config

    if get_config()["enable_metadata_routing"]:
        taken = inspect.signature(step.fit).parameters
        step.set_fit_request(**{name: True for name in ("sample_weight", "groups") if name in taken})
        if hasattr(step, "set_score_request"):
            step.set_score_request(sample_weight=True)
    return step
