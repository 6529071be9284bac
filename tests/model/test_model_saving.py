"""What was saved predicts the same, and a damaged folder is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedx.heads.catalog import CATALOG
from embedx.model import Model, describe, fit_model

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head", sorted(CATALOG))
def test_saved_model_predicts_the_same(make_dataset, tmp_path, head, n_classes):
    dataset = make_dataset(n_classes=n_classes)
    model = fit_model(dataset, head)
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(dataset), model.predict_proba(dataset))
    assert loaded.classes == model.classes
    assert list(loaded.predict_dataset(dataset)) == list(model.estimator.predict(dataset.inputs_for(model)))
    assert head in describe(tmp_path / "m")[0]


def test_format_1_0_is_read_and_migrated():
    folder = FORMATS / "model-1.0"
    expected = json.loads((FORMATS / "model-1.0.json").read_text())
    model = Model.load(folder)
    X = np.asarray(expected["X"], dtype=np.float32)
    np.testing.assert_allclose(model.estimator.predict_proba(X), expected["proba"], rtol=1e-6)
    assert model.calibration is None
