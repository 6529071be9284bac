"""What a notebook shows of a recipe, a dataset, a comparison and a model."""

import numpy as np
import pytest

from embedx import compare, fit_model


@pytest.fixture
def dataset(make_dataset):
    made = make_dataset(n=24)
    return made.relabel([f"<b>{label}" for label in made.y])


def test_everything_is_shown_and_nothing_is_markup(dataset):
    comparison = compare(dataset, ["logreg"], folds=2, auto=False, curves=False)
    model = fit_model(dataset, "logreg", params={"C": 0.5}, valid=dataset)
    shown = [one._repr_html_() for one in (dataset, dataset.recipe, comparison, model)]
    assert all(text.startswith("<table>") and "<b>" not in text for text in shown)
    assert shown[0].count("&lt;b&gt;") == len(np.unique(dataset.y))
    assert dataset.recipe.encoder in shown[1]
    assert "majority" in shown[2].lower()
    assert f"{comparison['logreg'].scores['accuracy']:.1%}" in shown[2]
    assert "valid accuracy" in shown[3]
