"""Pages on this machine, and HTTP: a saved model to try (`create_app`), clips to label (`create_label_app`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from embedx.errors import MissingExtraError, ParameterError
from embedx.serve.limits import ServiceLimits

if TYPE_CHECKING:
    from embedx.labelling import LabellingSession
    from embedx.model import Model

__all__ = ["ServiceLimits", "create_app", "create_label_app"]


def create_app(
    model: Model,
    *,
    store: str | os.PathLike[str] | None = None,
    limits: ServiceLimits | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
) -> Any:
    """Return a model as an ASGI application, for ``uvicorn`` or any other server.

    Parameters
    ----------
    model : Model
        What answers.
    store : path-like, optional
        Embeddings of the model's recipe, such as those that it was trained on: ``/search`` finds the clips among them
        that sound most like a recording, and ``/clips/N`` plays them.
    limits : ServiceLimits, optional
        Sizes, lengths and times that a request may have.
    token : str, optional
        What every request has to show as ``Authorization: Bearer TOKEN``; by default none has to.
    hosts : tuple of str, optional
        Names by which the service may be called; any by default. Without a token give the loopback names, so that no
        other web page can reach the service through a browser.

    Returns
    -------
    fastapi.FastAPI
        ``POST /predict``, ``/timeline``, ``/embed``, ``/search``; ``GET /`` (the page), ``/model``, ``/clips/N``,
        ``/healthz``, ``/metrics``, ``/docs``, ``/openapi.json``.

    Raises
    ------
    MissingExtraError
        FastAPI is not installed.
    ParameterError
        The store cannot be compared with: the model learned from log-mel statistics or from audio itself.
    RecipeMismatchError
        The store has another recipe than the model.

    Examples
    --------
    >>> from embedx import fit_model
    >>> from embedx.testing import make_dataset
    >>> app = create_app(fit_model(make_dataset(), "logreg"))
    >>> sorted(route.path for route in app.routes if route.path.startswith("/p"))
    ['/predict']
    """
    try:
        from embedx.serve.app import build_app
    except ImportError as error:
        raise MissingExtraError.for_extra("fastapi", "serve", "embedx serve") from error
    neighbors = None
    if store is not None:
        if model.input_kind != "embeddings":
            raise ParameterError(f"a store is of no use with the head {model.head!r}, which learned from no embeddings")
        from embedx.serve.neighbors import Neighbors

        neighbors = Neighbors(store, model.recipe)
    return build_app(model, neighbors=neighbors, limits=limits or ServiceLimits(), token=token, hosts=hosts)


def create_label_app(
    session: LabellingSession,
    *,
    store: str = "",
    file: str = "",
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
) -> Any:
    """Return a page to label clips on as an ASGI application.

    Parameters
    ----------
    session : LabellingSession
        What asks and is told.
    store, file : str
        What the page calls the store and the CSV.
    token, hosts
        As in `create_app`.

    Returns
    -------
    fastapi.FastAPI
        ``POST /next``, ``/label``, ``/skip``, ``/undo``; ``GET /`` (the page), ``/state``, ``/clips/N``, ``/healthz``.

    Raises
    ------
    MissingExtraError
        FastAPI is not installed.
    """
    try:
        from embedx.serve.label_app import build_label_app
    except ImportError as error:
        raise MissingExtraError.for_extra("fastapi", "serve", "embedx label") from error
    return build_label_app(session, store=store, file=file, token=token, hosts=hosts)
