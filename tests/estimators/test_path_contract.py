"""The contract that embedx.testing ships for estimators over paths holds for ours, and catches those that break it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from embedx.estimators import AudioClassifier, AudioEmbedder
from embedx.testing import check_path_classifier, check_path_transformer


@pytest.fixture(scope="module")
def two_pitches(tone_folder):
    paths = [str(path) for name in ("high", "low") for path in sorted((tone_folder / name).glob("*.wav"))[:5]]
    return paths, ["high"] * 5 + ["low"] * 5


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "cache.h5"


def test_embedder(two_pitches, cache):
    check_path_transformer(AudioEmbedder("tiny", store=cache, layer="all"), *two_pitches)


@pytest.mark.parametrize("head", ["logreg", "logmel"])
def test_classifier(two_pitches, cache, head):
    check_path_classifier(AudioClassifier(head, encoder="tiny", store=cache), *two_pitches)


class Honest(ClassifierMixin, BaseEstimator):
    """Labels by the length of the name; what `broken` spoils in it has to be noticed."""

    def __init__(self, broken=""):
        self.broken = broken

    def fit(self, X, y):
        values = np.asarray(X, dtype=object)
        if self.broken != "anything goes":
            if isinstance(X, str) or not values.size or values.ndim > 2 or (values.ndim == 2 and values.shape[1] > 1):
                raise ValueError("no list of paths")
            if not all(hasattr(v, "__fspath__") or isinstance(v, str) for v in values.ravel()):
                raise ValueError("no paths")
        if len(values) != len(y) or len(set(y)) < 2:
            raise ValueError("labels")
        self.classes_ = np.unique(y) if self.broken != "unsorted" else np.unique(y)[::-1]
        if self.broken == "changes a parameter":
            self.broken = "something else"
        self.shift_ = np.random.default_rng().random() if self.broken == "other every time" else 0.5
        return None if self.broken == "returns nothing" else self

    def predict_proba(self, X):
        from sklearn.utils.validation import check_is_fitted

        if self.broken != "never unfitted":
            check_is_fitted(self)
        values = np.asarray(X, dtype=object).ravel()
        first = np.array([(hash(str(v)) % 1000) / 1000 * self.shift_ for v in values])
        if self.broken == "order":
            first = np.sort(first)
        rest = np.repeat(((1 - first) / (len(self.classes_) - 1))[:, None], len(self.classes_) - 1, axis=1)
        proba = np.column_stack([first, rest])
        return proba * 2 if self.broken == "sum" else proba

    def predict(self, X):
        best = self.predict_proba(X).argmax(axis=1)
        labels = self.classes_[best]
        return labels.astype(object) if self.broken == "type of labels" else labels


def test_an_honest_classifier_passes(two_pitches):
    check_path_classifier(Honest(), *two_pitches)


@pytest.mark.parametrize(
    "broken",
    ["anything goes", "unsorted", "changes a parameter", "other every time", "returns nothing", "never unfitted"]
    + ["order", "sum", "type of labels"],
)
def test_what_breaks_the_contract_is_noticed(two_pitches, broken):
    with pytest.raises((AssertionError, AttributeError)):
        check_path_classifier(Honest(broken), *two_pitches)
