"""tune() finds the layer that carries the signal, and sees only the clips that it is given."""

from __future__ import annotations

from embedx.tuning import tune


def test_defaults_are_trial_zero_and_the_best_is_no_worse(make_dataset):
    tuned = tune("logreg", make_dataset(), n_trials=8)
    first = tuned.history[0]
    assert first["params"] == {"C": 0.1, "class_weight": None, "layer": "mean"}
    assert tuned.value <= first["value"]
    assert tuned.n_trials == 8
