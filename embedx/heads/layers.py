"""The layer as a hyper-parameter: the first step of every head on embeddings."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from embedx.errors import ParameterError
from embedx.heads.search_space import Choice
from embedx.pooling import StoredLayers, average_layers

__all__ = ["LayerSelector", "layer_choices"]

Layer = int | Literal["mean", "all"] | str


class LayerSelector(TransformerMixin, BaseEstimator):
    """Take one layer, the mean of some, or all of them from X of shape (n, L * D).

    Which layer is used matters more than the head, so it is a parameter that tuning may choose.

    Parameters
    ----------
    n_layers : int
        Number L of layers that lie side by side in a row of X.
    layer : int or str
        Position of one layer (0 is the first that the store holds, -1 the last), ``"mean"`` of all,
        ``"2-4"`` for the mean of positions 2, 3 and 4, or ``"all"`` side by side.

    Attributes
    ----------
    n_features_in_ : int
        L * D.
    dim_ : int
        D.

    Examples
    --------
    >>> X = np.array([[1, 2, 3, 4, 5, 6]], dtype=np.float32)  # three layers of two
    >>> LayerSelector(n_layers=3, layer=1).fit_transform(X)
    array([[3., 4.]], dtype=float32)
    >>> LayerSelector(n_layers=3, layer="1-2").fit_transform(X)
    array([[4., 5.]], dtype=float32)
    """

    def __init__(self, n_layers: int = 1, layer: Layer = "mean") -> None:
        self.n_layers = n_layers
        self.layer = layer

    def fit(self, X: Any, y: object = None) -> LayerSelector:
        """Check that X has ``n_layers`` layers and that the layer is one of them."""
        self._chosen(X, reset=True)
        return self

    def fit_transform(self, X: Any, y: object = None, **fit_params: Any) -> NDArray[np.floating]:
        """Fit and transform in one pass over X."""
        return self._chosen(X, reset=True)

    def transform(self, X: Any) -> NDArray[np.floating]:
        """Return the chosen layers.

        Returns
        -------
        ndarray of shape (n, D), or (n, L * D) for ``"all"``
            float32 and float64 are kept, everything else becomes float32.
        """
        check_is_fitted(self)
        return self._chosen(X, reset=False)

    def _chosen(self, X: Any, *, reset: bool) -> NDArray[np.floating]:
        """Cut the layers out before anything is cast or looked at; the others are not touched."""
        array = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f" and len(X) > 0
        plain = array or isinstance(X, StoredLayers)
        X = validate_data(self, X, reset=reset, skip_check_array=True) if plain else self._validated(X, reset=reset)
        first, last = self.span()
        if reset:
            self.dim_ = self._width_of(X)
        if self.layer == "all" or self.n_layers == 1:
            return self._checked(X)
        if first == last and isinstance(X, np.ndarray):
            return self._checked(X[:, first * self.dim_ : (last + 1) * self.dim_])
        return self._checked(average_layers(X, self.n_layers, first, last))

    def _width_of(self, X: NDArray[Any]) -> int:
        if X.shape[1] % self.n_layers:
            raise ParameterError(
                f"{X.shape[1]} columns cannot be cut into n_layers={self.n_layers} layers of one width"
            )
        return int(X.shape[1] // self.n_layers)

    def _checked(self, values: NDArray[Any]) -> NDArray[np.floating]:
        return check_array(values, dtype=(np.float32, np.float64), estimator=self, input_name="X")

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return a name for every column, such as ``layer_3_17``; of unchanged columns the names of X."""
        check_is_fitted(self)
        if self.layer == "all" or self.n_layers == 1:
            return self._names_in(input_features)
        name = str(self.layer if isinstance(self.layer, str) else self.span()[0])
        return np.array([f"layer_{name}_{column}" for column in range(self.dim_)], dtype=object)

    def _names_in(self, given: Any) -> NDArray[np.object_]:
        from sklearn.utils.validation import _check_feature_names_in

        return np.asarray(_check_feature_names_in(self, given), dtype=object)

    def _validated(self, X: Any, *, reset: bool) -> NDArray[np.floating]:
        return validate_data(self, X, reset=reset, dtype=(np.float32, np.float64))

    def span(self) -> tuple[int, int]:
        """Return the first and the last position that are used; refuse a layer that is not there."""
        n = self.n_layers
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ParameterError(f"n_layers={n!r}: it is the number of layers in X, 1 or more")
        first, last = _parse(self.layer, int(n))
        if not 0 <= first <= last < n:
            raise ParameterError(
                f"layer={self.layer!r:.60}: X has {n} layers, so a position from 0 to {n - 1} (or -{n} to -1), "
                "a range such as '0-1', 'mean' or 'all'"
            )
        return first, last

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags


def _parse(layer: Layer, n_layers: int) -> tuple[int, int]:
    if layer in ("mean", "all"):
        return 0, n_layers - 1
    if isinstance(layer, int | np.integer) and not isinstance(layer, bool):
        position = int(layer) + (n_layers if layer < 0 else 0)
        return position, position
    parts = re.fullmatch(r"([0-9]{1,4})-([0-9]{1,4})", layer) if isinstance(layer, str) else None
    return (int(parts[1]), int(parts[2])) if parts else (-1, -1)


def layer_choices(n_layers: int, *, learned: bool = False) -> Choice:
    """Return what tuning tries for the layer: each one, the mean, thirds of a deep encoder, all side by side.

    Examples
    --------
    >>> layer_choices(3).options
    ('mean', 'all', 0, 1, 2)
    """
    third = n_layers // 3
    bounds = ((0, third - 1), (third, 2 * third - 1), (2 * third, n_layers - 1))
    ranges = tuple(f"{a}-{b}" for a, b in bounds) if n_layers >= 6 else ()
    return Choice(("mean", "all", *(("learned",) if learned else ()), *ranges, *range(n_layers)))
