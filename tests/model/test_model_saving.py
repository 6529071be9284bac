"""What was saved predicts the same, and a damaged folder is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from embedx.heads.catalog import CATALOG
from embedx.model import Model, describe, fit_model


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head", sorted(CATALOG))
def test_saved_model_predicts_the_same(make_dataset, tmp_path, head, n_classes):
    dataset = make_dataset(n_classes=n_classes)
    model = fit_model(dataset, head)
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_dataset(dataset).proba, model.predict_dataset(dataset).proba)
    assert loaded.classes == model.classes
    assert list(loaded.predict_dataset(dataset).labels) == list(model.estimator.predict(dataset.inputs_for(model)))
    assert head in describe(tmp_path / "m")[0]
