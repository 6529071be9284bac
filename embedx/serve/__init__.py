"""A saved model as a page to try it on and as HTTP: `create_app` makes it, ``embedx serve`` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedx.errors import MissingExtraError
from embedx.serve.limits import ServiceLimits

if TYPE_CHECKING:
    from embedx.model import Model

__all__ = ["ServiceLimits", "create_app"]


def create_app(
    model: Model,
    *,
    limits: ServiceLimits | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
) -> Any:
    """Return a model as an ASGI application, for ``uvicorn`` or any other server.

    Parameters
    ----------
    model : Model
        What answers.
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
        ``POST /predict``, ``/embed``; ``GET /`` (the page), ``/model``, ``/healthz``, ``/metrics``, ``/docs``,
        ``/openapi.json``.

    Raises
    ------
    MissingExtraError
        FastAPI is not installed.

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
    return build_app(model, limits=limits or ServiceLimits(), token=token, hosts=hosts)
