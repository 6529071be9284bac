"""A small network as a scikit-learn classifier: trained by torch, kept and applied as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from embedx.errors import ParameterError
from embedx.evaluation.splits import stratified_holdout
from embedx.heads.mlp_settings import MLPSettings

__all__ = ["MLPClassifier", "forward"]


class MLPClassifier(ClassifierMixin, BaseEstimator, MLPSettings):
    """Train 1 to 3 hidden layers with AdamW and stop when held-out clips stop gaining.

    The part that is held out of the training data for stopping keeps groups together; the weights
    of the best epoch are the ones that are kept. Where few groups make that part more than twice as large as asked
    (one of two speakers, say), it only says how many epochs: the network is then trained for as many on all clips.
    Equal seeds give equal weights on one machine.
    Trained on the GPU when there is one; `predict_proba` is plain numpy, so a saved network needs no torch.

    Parameters
    ----------
    n_layers : int
        Layers that lie side by side in X; with more than one, a softmax over them is learned
        (as SUPERB does, Yang et al. 2021, arXiv:2105.01051).
    n_hidden : int
        Hidden layers, 1 to 3.
    width : int
        Units of a hidden layer.
    dropout : float
        Share of the units that a training step leaves out, 0 to below 1.
    norm : {'none', 'batch', 'layer'}
        Normalisation ahead of the ReLU.
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
    batch_size : int, optional
        Clips a step. By default a quarter of the training clips at most, 32 to 512, and the learning rate, which is
        meant for 32, grows with its square root.
    max_epochs : int
        Passes over the data at most.
    patience : int
        Epochs without gain until training stops.
    validation_fraction : float
        Share of the training data that is held out for stopping; 0 trains ``max_epochs`` epochs on all of it.
        So does a training set that cannot be split with every class in both parts.
    class_weight : None, 'balanced' or dict
        As in scikit-learn.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    random_state : int, RandomState or None
        Seed of weights, order, dropout and held-out part.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    weights_ : dict of str to ndarray
        What `forward` takes.
    n_iter_ : int
        Epochs that were trained.
    best_epoch_ : int
        Epoch (from 0) whose weights were kept.
    validation_losses_ : ndarray of shape (n_iter_,), float64
        Weighted log-loss of the held-out part after each epoch; of the training batches when nothing was held out.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> MLPClassifier:
        """Learn from X of shape (n, n_features).

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features; standardise them first.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), optional
            Weight of each clip in the loss.
        groups : array-like of shape (n,), optional
            What the part held out for stopping must not cut apart.
        on_epoch : callable, optional
            Called with epoch and held-out loss after each epoch; what it raises ends the training.
        """
        self.check()
        X, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(y)
        self._require_layers(X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"MLPClassifier needs at least two classes, y holds 1 class: {self.classes_[0]!r}")
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            weight = weight * by_class[codes]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, valid = stratified_holdout(codes, groups, self.validation_fraction, seed)
        self._train(X, codes, weight, train, valid, seed, on_epoch)
        return self

    def _require_layers(self, X: NDArray[Any]) -> None:
        if X.shape[1] % self.n_layers:
            raise ParameterError(
                f"MLPClassifier: {X.shape[1]} columns cannot be cut into n_layers={self.n_layers} layers"
            )

    def _train(self, X, codes, weight, train, valid, seed, on_epoch) -> None:  # type: ignore[no-untyped-def]
        from embedx.heads.mlp_training import train_network

        learn = partial(train_network, self, X, codes, weight, n_classes=len(self.classes_), seed=seed)
        trained = learn(train=train, valid=valid, max_epochs=self.max_epochs, on_epoch=on_epoch)
        self.weights_ = trained.weights
        if len(valid) > 2 * self.validation_fraction * len(codes):
            everything = np.arange(len(codes))
            n_epochs = trained.best_epoch + 1
            self.weights_ = learn(train=everything, valid=everything[:0], max_epochs=n_epochs).weights
        if not all(np.isfinite(values).all() for values in self.weights_.values()):
            raise ValueError(f"the training diverged: learning_rate={self.learning_rate:g} is too high, lower it")
        self.best_epoch_ = trained.best_epoch
        self.validation_losses_ = np.asarray(trained.losses)
        self.n_iter_ = len(trained.losses)

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Return probabilities of shape (n, n_classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float32, np.float64))
        scores = forward(self.weights_, X).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        exponents = np.exp(scores)
        return exponents / exponents.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each row, shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


def forward(weights: dict[str, NDArray[Any]], X: NDArray[Any]) -> NDArray[Any]:
    """Return the scores (logits) of a trained network.

    Parameters
    ----------
    weights : dict of str to ndarray
        ``layers`` (L,), the share of each layer, only when they were learned; ``weight_I`` (out, in) and ``bias_I``
        (out,) of hidden layer I; ``gain_I`` and ``shift_I`` (out,) with layer norm; ``weight_out`` and ``bias_out``.
    X : ndarray of shape (n, n_features)
        Features.

    Returns
    -------
    ndarray of shape (n, n_classes)
    """
    values = X
    if "layers" in weights:
        shares = weights["layers"].astype(X.dtype)
        values = np.einsum("nld,l->nd", X.reshape(len(X), len(shares), -1), shares)
    hidden = 0
    while f"weight_{hidden}" in weights:
        values = values @ weights[f"weight_{hidden}"].T + weights[f"bias_{hidden}"]
        if f"gain_{hidden}" in weights:
            values = values - values.mean(axis=1, keepdims=True)
            values = values / np.sqrt((values**2).mean(axis=1, keepdims=True) + 1e-5)
            values = values * weights[f"gain_{hidden}"] + weights[f"shift_{hidden}"]
        values = np.maximum(values, 0)
        hidden += 1
    return values @ weights["weight_out"].T + weights["bias_out"]
