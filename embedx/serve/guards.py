"""What stands before every route: who may call, how large a body may be, and what a browser may do with an answer."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from embedx.errors import EmbedxError

__all__ = ["BodyTooLargeError", "Guards"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN_TO_ALL = ("/", "/healthz")
"""Routes that say nothing of the model and need no token."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; media-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class BodyTooLargeError(EmbedxError):
    """A body has more bytes than may be sent."""


class Guards:
    """ASGI middleware: a host that is not ours, a page of another site, no token, a body that is too large.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    token : str or None
        What ``Authorization: Bearer`` must hold.
    hosts : tuple of str or None
        Names by which the service may be called: a page that had its name point here could read the answers.
    most_bytes : int
        Of a body.
    """

    def __init__(self, app: Any, *, token: str | None, hosts: tuple[str, ...] | None, most_bytes: int) -> None:
        self.app, self.token, self.hosts, self.most_bytes = app, token, hosts, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self.app(scope, self._counted(receive), _with_headers(send))

    def _refusal(self, path: str, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return 421, f"this service is not called {_name(host)[:80]!r}: call it {self.hosts[0]}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "pages of other sites may not use this service"
        if self.token is not None and path not in OPEN_TO_ALL and not self._has_token(headers):
            return 401, "a token is needed: send the header 'Authorization: Bearer TOKEN' with the one that was printed"
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.most_bytes:
            return 413, self._too_large()
        return None

    def _has_token(self, headers: MutableMapping[str, str]) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _too_large(self) -> str:
        return f"the body has more than {self.most_bytes / 1e6:g} MB: send a shorter recording, or a compressed one"

    def _counted(self, receive: Receive) -> Receive:
        """Stop reading a body as soon as it is too large, whatever its header says."""
        n_bytes = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self.most_bytes:
                raise BodyTooLargeError(self._too_large())
            return message

        return counted


def _name(host: str) -> str:
    """Return a host without its port."""
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, told: str) -> None:
    body = json.dumps({"error": told}).encode()
    extra = [(b"www-authenticate", b"Bearer")] if status == 401 else []
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *extra, *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
