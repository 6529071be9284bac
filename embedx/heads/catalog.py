"""Every head by name: how it is made, what tuning may try, what it takes in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from embedx.checks import require_choice, require_number
from embedx.errors import EmbedxError, ParameterError, unknown_name
from embedx.heads.head_spec import ENTRIES, HeadSpec, InputKind
from embedx.heads.search_space import Choice, Dimension, as_plain
from embedx.text import first_line

__all__ = [
    "CATALOG",
    "HeadSpec",
    "InputKind",
    "as_spec",
    "check_parameters",
    "default_parameters",
    "fit_arguments",
    "fit_head",
    "get_head",
    "make_head",
    "search_space",
    "with_recipe",
]

CATALOG: dict[str, HeadSpec] = {spec.name: spec for spec in ENTRIES}


def get_head(name: str) -> HeadSpec:
    """Return the entry of a head, or say which name was probably meant.

    Raises
    ------
    ParameterError
        There is no such head.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise ParameterError(unknown_name("head", name, CATALOG)) from None


def as_spec(head: Any, *, space: Mapping[str, Dimension] | None = None) -> HeadSpec:
    """Return the entry of a name, an entry as it is, or an entry made for any scikit-learn classifier.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        An estimator is given the layers through a `LayerSelector` unless it is a pipeline that has its own.
    space : mapping of str to Dimension, optional
        Replaces what tuning may try.

    Raises
    ------
    ParameterError
        No such name, or not a classifier.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> as_spec(GaussianNB()).name
    'GaussianNB'
    """
    if isinstance(head, str):
        spec = get_head(head)
    elif isinstance(head, HeadSpec):
        spec = head
    else:
        spec = _spec_of(head)
    if space is None:
        return spec
    return HeadSpec(**{**{name: getattr(spec, name) for name in _FIELDS}, "space": dict(space)})


_GIVEN = ("n_layers", "random_state")
"""What every factory is given; not among a head's parameters."""

_FIELDS = tuple(HeadSpec.__dataclass_fields__)


def _spec_of(estimator: Any) -> HeadSpec:
    from sklearn.base import is_classifier

    if isinstance(estimator, type) or not hasattr(estimator, "fit") or not is_classifier(estimator):
        raise ParameterError(f"head={estimator!r}: give a name ({', '.join(CATALOG)}) or a scikit-learn classifier")
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    name = type(last).__name__
    knows_later = getattr(last, "final_estimator", last) is None  # a StackingClassifier makes its last step itself
    if not hasattr(estimator, "predict_proba") and not knows_later:
        raise ParameterError(
            f"head {name} gives no probabilities (it has no predict_proba as it is set), which scores and predictions "
            f"need: wrap it, as in CalibratedClassifierCV({name}()), or set it so that it has them"
        )
    return HeadSpec(name=name, title=name, factory=partial(_user_head, estimator), layered=not _has_selector(estimator))


def _has_selector(estimator: Any) -> bool:
    from embedx.heads.layers import LayerSelector

    return any(isinstance(step, LayerSelector) for _, step in getattr(estimator, "steps", ()))


def _user_head(
    estimator: Any, *, n_layers: int = 1, random_state: int = 0, layer: int | str = "mean", **parameters: Any
) -> Any:
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    from embedx.heads.layers import LayerSelector

    head = clone(estimator)
    known = head.get_params()
    for name in parameters:
        if name not in known:
            raise ParameterError(unknown_name(f"parameter of {type(head).__name__}", name, known))
    head.set_params(**parameters)
    if known.get("random_state", 0) is None and "random_state" not in parameters:
        head.set_params(random_state=random_state)
    if _has_selector(head):
        return head
    return Pipeline([("layers", LayerSelector(n_layers=n_layers, layer=layer)), ("head", head)])


def with_recipe(head: Any, recipe: Any) -> Any:
    """Tell a head that learns from audio which encoder and windows the embeddings beside it have.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        Any head.
    recipe : Recipe
        Of the embeddings that the other heads learn from.

    Returns
    -------
    str, HeadSpec or estimator
        An entry whose factory has the recipe; other heads as they are.

    Examples
    --------
    >>> with_recipe("logreg", None)
    'logreg'
    """
    spec = as_spec(head)
    if spec.input_kind != "sources":
        return head
    factory = partial(spec.factory, recipe=recipe)
    space = {
        name: _within(dimension, max(recipe.layers)) if name == "n_frozen_layers" else dimension
        for name, dimension in spec.space.items()
    }
    return HeadSpec(**{**{name: getattr(spec, name) for name in _FIELDS}, "factory": factory, "space": space})


def _within(dimension: Dimension, most: int) -> Dimension:
    """Leave out choices that an encoder with fewer layers does not have."""
    if not isinstance(dimension, Choice):
        return dimension
    return Choice(tuple(option for option in dimension.options if option == 0 or option < most))


def search_space(head: Any, *, n_layers: int) -> dict[str, Dimension]:
    """Return what tuning may try for a head: its own space, and the layer when there are several."""
    from embedx.heads.layers import layer_choices

    spec = as_spec(head)
    space = dict(spec.space)
    if spec.layered and n_layers > 1 and "layer" not in space:
        space["layer"] = layer_choices(n_layers, learned=spec.learns_layers)
    return space


def default_parameters(head: Any) -> dict[str, Any]:
    """Return the default of every parameter that a head's factory names, or a user's own classifier has (trial 0)."""
    factory = as_spec(head).factory
    own = [given for given in getattr(factory, "args", ()) if hasattr(given, "get_params")]
    found = own[0].get_params() if own else {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name not in _GIVEN:
            found[name] = parameter.default
    return found


def check_parameters(head: Any, parameters: Mapping[str, Any], *, n_layers: int = 1) -> dict[str, Any]:
    """Return the parameters of a head as plain Python, or refuse the first that it cannot take, before any training.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        Any head.
    parameters : mapping
        For `make_head`.
    n_layers : int
        Layers in X.

    Raises
    ------
    ParameterError
        No such parameter, a value that is not allowed, or one that a saved model cannot hold.

    Examples
    --------
    >>> check_parameters("mlp", {"width": 0})
    Traceback (most recent call last):
    embedx.errors.ParameterError: MLPClassifier width=0: a whole number from 1 to 65536 is needed
    """
    spec = as_spec(head)
    given, own = dict(parameters), spec.name in CATALOG and spec.input_kind != "sources"
    for name in _GIVEN:
        if name in given:
            raise ParameterError(f"{name} is no parameter of a head: layers follow from the data, draws from seed")
    if own:
        given = {name: as_plain(name, value) for name, value in given.items()}
    try:
        made = make_head(spec, n_layers=n_layers, **given)
        for _, step in getattr(made, "steps", [("head", made)]):
            _check_step(step)
            if own:
                _check_weights(getattr(step, "class_weight", None))
    except (TypeError, ValueError) as error:
        if isinstance(error, EmbedxError):
            raise
        raise ParameterError(first_line(error)) from error
    return given


def _check_step(step: Any) -> None:
    check = getattr(step, "check", None) or getattr(step, "span", None)
    if check is not None and type(step).__module__.startswith("embedx."):
        check()
    elif hasattr(step, "_parameter_constraints"):
        step._validate_params()


def _check_weights(weights: Any) -> None:
    if isinstance(weights, dict):
        for label, weight in weights.items():
            require_number(f"class_weight of {label!r}", weight, 0)
    else:
        require_choice("class_weight", weights, ("balanced",), optional=True)


def make_head(head: Any, /, *, n_layers: int, random_state: int = 0, **parameters: Any) -> Any:
    """Return an unfitted scikit-learn classifier.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        A name of the catalogue, an entry, or a classifier of your own (it is cloned).
    n_layers : int
        Layers in X.
    random_state : int
        Seed.
    **parameters
        Parameters of the head's factory, ``layer`` among them.

    Raises
    ------
    ParameterError
        No such head, or no such parameter.

    Examples
    --------
    >>> head = make_head("logreg", n_layers=3, layer=1, C=0.5)
    >>> [name for name, _ in head.steps]
    ['layers', 'scaler', 'head']
    """
    spec = as_spec(head)
    signature = inspect.signature(spec.factory)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in parameters:
        if name not in signature.parameters and not open_ended:
            known = [p for p in signature.parameters if p not in _GIVEN]
            raise ParameterError(unknown_name(f"parameter of head {spec.name!r}", name, known))
    return spec.factory(n_layers=n_layers, random_state=random_state, **parameters)


def fit_arguments(estimator: Any) -> tuple[str, ...]:
    """Return what the last step of a head takes in ``fit``."""
    steps = getattr(estimator, "steps", None)
    return tuple(inspect.signature((steps[-1][1] if steps else estimator).fit).parameters)


def fit_head(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    sample_weight: Any = None,
    on_epoch: Any = None,
    progress: Any = None,
) -> Any:
    """Fit a head; groups and weights go to the last step if it takes them.

    Parameters
    ----------
    estimator : estimator
        What `make_head` returned, or any scikit-learn classifier. It is fitted in place and returned.
    X, y : array-like
        As the head takes them; labels of shape (n,).
    groups : array-like of shape (n,), optional
        For heads that hold out a part for early stopping; other heads need none.
    sample_weight : array-like of shape (n,), optional
        Refused by heads that cannot use it.
    on_epoch : callable, optional
        For heads that train by epochs; called with epoch and held-out loss.
    progress : callable, optional
        For heads that take long; called as ``progress(done, total, **facts)``.

    Raises
    ------
    ParameterError
        The head takes no ``sample_weight``.
    """
    from sklearn import config_context

    steps = getattr(estimator, "steps", None)
    last = steps[-1][1] if steps else estimator
    prefix = f"{steps[-1][0]}__" if steps else ""
    taken = fit_arguments(estimator)
    if sample_weight is not None and "sample_weight" not in taken:
        raise ParameterError(f"{type(last).__name__} takes no sample_weight: use another head, or leave it out")
    extras = {"groups": groups, "sample_weight": sample_weight, "on_epoch": on_epoch, "progress": progress}
    given = {f"{prefix}{name}": value for name, value in extras.items() if value is not None and name in taken}
    _require_neighbors(last, len(y))
    with config_context(enable_metadata_routing=False):
        try:
            return estimator.fit(X, y, **given)
        except Exception as error:
            if type(error).__name__ != "LightGBMError":
                raise
            raise ValueError(f"LightGBM: {first_line(error)}") from error


def _require_neighbors(head: Any, n_clips: int) -> None:
    """Refuse a classifier of the user's own that would fail at its first prediction."""
    n_neighbors = getattr(head, "n_neighbors", None)
    own = type(head).__module__.startswith("sklearn.neighbors")
    if own and isinstance(n_neighbors, int) and n_neighbors > n_clips:
        raise ParameterError(
            f"{type(head).__name__} asks {n_neighbors} neighbours and has {n_clips} clips to learn from: "
            f"set n_neighbors to {n_clips} or fewer, or use the head 'knn', which limits them itself"
        )
