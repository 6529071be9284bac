"""What every application of the service answers alike: a line for what cannot be answered, and the page."""

from __future__ import annotations

import asyncio
import os
from importlib.resources import files
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from embedx.dataset import Dataset
from embedx.errors import EmbedxError
from embedx.serve.guards import BodyTooLargeError
from embedx.serve.request_batches import QueueFullError
from embedx.serve.sounds import clip_sound

__all__ = ["answer_problems", "healthy", "play_clip", "problem", "refused", "render_page"]


def refused(status: int, told: str) -> JSONResponse:
    """Return a line that says why there is no answer."""
    headers = {"Retry-After": "1"} if status == 429 else None
    return JSONResponse({"error": told}, status, headers)


async def problem(request: Request | None, error: Exception) -> JSONResponse:
    """Turn whatever was raised into a line; of what nobody foresaw only the kind is told."""
    if isinstance(error, HTTPException):
        return refused(error.status_code, str(error.detail))
    if isinstance(error, BodyTooLargeError):
        return refused(413, str(error))
    if isinstance(error, QueueFullError):
        return refused(429, str(error))
    if isinstance(error, ClientDisconnect):
        return refused(400, "the body ended early")
    if isinstance(error, OSError):
        return refused(507, "the service has no room for the recording")
    return refused(500, f"internal error ({type(error).__name__})")


def answer_problems(app: FastAPI) -> None:
    """Let `problem` answer whatever a route raises."""
    for kind in (HTTPException, EmbedxError, OSError, Exception):
        app.add_exception_handler(kind, problem)


async def healthy() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "ok"}


async def play_clip(dataset: Dataset, clip: int) -> Response:
    """Return the sound of a clip, or the line that says why it has none; no folder of this machine is named."""
    try:
        sound = await asyncio.to_thread(clip_sound, dataset, clip)
    except EmbedxError as error:
        return refused(422, str(error).replace(os.path.join(dataset.root, ""), ""))
    if sound is None:
        return refused(404, "there is no such clip, or no audio of it")
    return Response(sound, media_type="audio/ogg")


def render_page(name: str, *, heading: str, footer: str) -> str:
    """Return a page in the style of the report: one file, which asks this service and nobody else.

    ``NAME.html`` and ``NAME.js`` of the template are what it has of its own.
    """
    own, report = files("embedx.serve") / "template", files("embedx.report") / "template"
    parts = (report / "style.css", own / "serve.css", report / "base.js", report / "spectrogram.js", own / "service.js")
    style, more, *scripts = (part.read_text(encoding="utf-8") for part in parts)
    main, script, shell = (
        (own / part).read_text(encoding="utf-8") for part in (f"{name}.html", f"{name}.js", "shell.html")
    )
    facts = {"title": heading.lower(), "heading": heading, "main": main, "footer": footer}
    return Template(shell).substitute(facts, style=style + more, script="\n".join((*scripts, script)))
