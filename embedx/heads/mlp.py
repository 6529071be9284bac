"""A small network as a scikit-learn classifier: trained by torch, kept and applied as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from embedx.checks import require_choice, require_number
from embedx.errors import ParameterError
from embedx.evaluation.splits import stratified_holdout

__all__ = ["MLPClassifier", "forward"]


class MLPClassifier(ClassifierMixin, BaseEstimator):
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
    batch_size : int
        Clips a step.
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

    def __init__(
        self,
        *,
        n_layers: int = 1,
        n_hidden: int = 1,
        width: int = 128,
        dropout: float = 0.3,
        norm: str = "batch",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 32,
        max_epochs: int = 100,
        patience: int = 10,
        validation_fraction: float = 0.15,
        class_weight: Any = None,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.n_layers = n_layers
        self.n_hidden = n_hidden
        self.width = width
        self.dropout = dropout
        self.norm = norm
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.device = device
        self.random_state = random_state

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
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(y)
        if X.shape[1] % self.n_layers:
            raise ParameterError(
                f"MLPClassifier: {X.shape[1]} columns cannot be cut into n_layers={self.n_layers} layers"
            )
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

    def _train(self, X, codes, weight, train, valid, seed, on_epoch) -> None:  # type: ignore[no-untyped-def]
        from dataclasses import replace

        from embedx.heads.training import Settings, train_network

        settings = Settings(
            n_layers=self.n_layers,
            n_hidden=self.n_hidden,
            width=self.width,
            dropout=self.dropout,
            norm=self.norm,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            device=self.device,
            seed=seed,
        )
        n_classes = len(self.classes_)
        trained = train_network(
            settings, X, codes, weight, train=train, valid=valid, n_classes=n_classes, on_epoch=on_epoch
        )
        self.weights_ = trained.weights
        if len(valid) > 2 * self.validation_fraction * len(codes):
            everything = np.arange(len(codes))
            again = replace(settings, max_epochs=trained.best_epoch + 1)
            self.weights_ = train_network(
                again, X, codes, weight, train=everything, valid=everything[:0], n_classes=n_classes
            ).weights
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

    def _check_parameters(self) -> None:
        whole = {"width": 1, "batch_size": 2, "max_epochs": 1, "patience": 1, "n_layers": 1}
        for name, least in whole.items():
            require_number(f"MLPClassifier {name}", getattr(self, name), least, whole=True)
        require_number("MLPClassifier n_hidden", self.n_hidden, 1, 3, whole=True)
        for name in ("dropout", "validation_fraction"):
            require_number(f"MLPClassifier {name}", getattr(self, name), 0, 1, open_high=True)
        require_number("MLPClassifier learning_rate", self.learning_rate, 0, open_low=True)
        require_number("MLPClassifier weight_decay", self.weight_decay, 0)
        require_choice("MLPClassifier norm", self.norm, ("none", "batch", "layer"))


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
