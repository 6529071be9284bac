"""Every head on embeddings is a scikit-learn citizen."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from embedx.heads.catalog import CATALOG, make_head
from embedx.heads.layers import LayerSelector
from embedx.heads.mlp import MLPClassifier

HEADS = [make_head(name, n_layers=1) for name, spec in CATALOG.items() if spec.eats != "sources"]


@parametrize_with_checks([*HEADS, LayerSelector(), MLPClassifier()])
def test_sklearn_checks(estimator, check):
    check(estimator)
