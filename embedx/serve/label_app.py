"""The routes of a page to label clips on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field

from embedx import __version__
from embedx.errors import EmbedxError
from embedx.labelling import AnsweredElsewhereError, LabellingSession, Question
from embedx.serve.guards import Guards
from embedx.serve.responses import answer_problems, healthy, play_clip, refused, render_page

__all__ = ["build_label_app"]

_MOST_BYTES = 20_000
_FOOTER = 'Labels go to <code id="file"></code> and nowhere else.'


class Tab(BaseModel):
    """Which page asks."""

    tab: str = Field(min_length=1, max_length=64)


class Passed(Tab):
    """A clip that is passed over."""

    clip: int


class Given(Passed):
    """A label for a clip, and the label that the page showed."""

    label: str
    seen: str | None = None


class Guess(BaseModel):
    """A class and the head's probability."""

    label: str
    probability: float


class Asked(BaseModel):
    """A clip to listen to (``/clips/N`` plays it) and what the head thinks of it; no clip when all are answered."""

    clip: int | None
    why: str = ""
    name: str = ""
    start: float = 0.0
    stop: float | None = None
    label: str | None = None
    guesses: list[Guess] | None = None
    classes: list[str]


class Point(BaseModel):
    """Accuracy after so many labels, on the clips that were drawn at random."""

    n_labels: int
    n_judged: int
    accuracy: float
    interval: tuple[float, float]
    majority: float


class State(BaseModel):
    """How far the labelling is, and how good the head."""

    store: str
    file: str
    n_labels: int
    n_clips: int
    n_passed: int
    n_folds: int
    is_learning: bool
    counts: list[tuple[str, int]]
    curve: list[Point]


def build_label_app(
    session: LabellingSession, *, store: str, file: str, token: str | None, hosts: tuple[str, ...] | None
) -> FastAPI:
    """Return the application; see `embedx.serve.create_label_app`."""
    service = _Service(session, store, file)
    app = FastAPI(title="embedx label", version=__version__, docs_url=None, redoc_url=None, lifespan=service.running)
    app.add_middleware(Guards, token=token, hosts=hosts, most_bytes=_MOST_BYTES)
    for name, answer in {
        "next": service.next,
        "label": service.label,
        "skip": service.skip,
        "undo": service.undo,
    }.items():
        app.add_api_route(f"/{name}", answer, methods=["POST"], response_model=Asked, summary=answer.__doc__)
    app.add_api_route("/state", service.state, response_model=State, summary="How far the labelling is")
    app.add_api_route("/clips/{clip}", service.clip, summary="Play a clip of the store", response_class=Response)
    app.add_api_route("/healthz", healthy, summary="Whether the service runs")
    app.add_api_route("/", _page, include_in_schema=False)
    answer_problems(app)
    app.add_exception_handler(RequestValidationError, _unreadable)
    return app


class _Service:
    def __init__(self, session: LabellingSession, store: str, file: str) -> None:
        self.session, self.store, self.file = session, store, file

    @contextlib.asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Learn as long as the application runs."""
        self.session.__enter__()
        try:
            yield
        finally:
            await asyncio.to_thread(self.session.__exit__)

    async def next(self, body: Tab) -> Response:
        """Ask for the next clip"""
        return await self._asked(lambda: None, body.tab)

    async def label(self, body: Given) -> Response:
        """Label a clip, and ask for the next one"""
        return await self._asked(lambda: self.session.answer(body.tab, body.clip, body.label, seen=body.seen), body.tab)

    async def skip(self, body: Passed) -> Response:
        """Pass a clip over, and ask for the next one"""
        return await self._asked(lambda: self.session.skip(body.tab, body.clip), body.tab)

    async def undo(self, body: Tab) -> Response:
        """Take the last label of a page back, and ask for its clip again"""
        return await self._asked(lambda: self.session.undo(body.tab), body.tab)

    async def _asked(self, do: Callable[[], object], tab: str) -> Response:
        """Do what is wanted, then ask a page for its clip."""

        def done() -> Response:
            try:
                do()
                return JSONResponse(self._told(self.session.question(tab)))
            except AnsweredElsewhereError as error:
                return refused(409, str(error))
            except EmbedxError as error:
                return refused(422, str(error))
            except OSError as error:
                return refused(507, f"the label was not written, and is not kept: {error.strerror or error}")

        return await asyncio.to_thread(done)

    def _told(self, question: Question | None) -> dict[str, Any]:
        classes = list(self.session.classes)
        if question is None:
            return Asked(clip=None, classes=classes).model_dump()
        source = self.session.dataset.sources[question.row]
        guesses = [Guess(label=label, probability=round(share, 4)) for label, share in question.guesses or ()]
        return Asked(
            clip=question.row,
            why=question.why,
            name=Path(source.uri).name,
            start=source.start_seconds,
            stop=source.stop_seconds,
            label=question.label,
            guesses=None if question.guesses is None else guesses,
            classes=classes,
        ).model_dump()

    async def state(self) -> State:
        """Return how far the labelling is."""
        progress = await asyncio.to_thread(self.session.progress)
        return State(store=self.store, file=self.file, **asdict(progress))

    async def clip(self, clip: int) -> Response:
        """Return the sound of a clip."""
        return await play_clip(self.session.dataset, clip)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return refused(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _page() -> HTMLResponse:
    return HTMLResponse(render_page("label", heading="Label clips", footer=_FOOTER))
