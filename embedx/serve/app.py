"""The routes of a model. This is the one module that imports the Prometheus client."""

from __future__ import annotations

import asyncio
import contextlib
import html
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from embedx import __version__
from embedx.serve.answers import Answerer, Job, Refusal
from embedx.serve.guards import Guards
from embedx.serve.limits import ServiceLimits
from embedx.serve.neighbors import Neighbors
from embedx.serve.request_batches import BatchWorker
from embedx.serve.responses import answer_problems, healthy, play_clip, problem, refused, render_page
from embedx.serve.scratch import scratch_folder

if TYPE_CHECKING:
    from embedx.model import Model

__all__ = ["build_app"]

_FOOTER = "Recordings go to this service and nowhere else, and are not kept."
_RAW = ("audio/", "video/", "application/octet-stream", "application/ogg", "application/x-www-form-urlencoded")
_UPLOAD = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A recording in any format that FFmpeg reads, as the body or as the file of a form.",
        "content": {"audio/*": _UPLOAD, "application/octet-stream": _UPLOAD, "multipart/form-data": _FORM},
    }
}


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    error: str


class Prediction(BaseModel):
    """Label and probabilities of a recording, the most likely class first."""

    seconds: float | None
    label: str
    probability: float
    probabilities: dict[str, float]
    novelty: float | None = None
    known: bool | None = None


class Embedding(BaseModel):
    """What the model sees of a recording: a row of numbers for each layer of its encoder."""

    seconds: float
    layers: list[int]
    embedding: list[list[float]]


class Segment(BaseModel):
    """What is heard from when to when."""

    onset_seconds: float
    offset_seconds: float
    label: str
    mean_probability: float | None
    peak_probability: float | None


class Windows(BaseModel):
    """Bounds and probabilities of the windows that a time line is made of, a row each."""

    start_seconds: list[float]
    end_seconds: list[float]
    probabilities: list[list[float]]


class TimeLine(BaseModel):
    """What is heard when in a recording."""

    seconds: float
    classes: list[str]
    segments: list[Segment]
    windows: Windows


class Neighbor(BaseModel):
    """A clip that sounds like the recording; ``/clips/N`` plays it."""

    clip: int
    similarity: float
    label: str | None
    name: str
    start: float
    stop: float | None


class Nearest(BaseModel):
    """The most similar clips of the store."""

    seconds: float
    nearest: list[Neighbor]


class Heard(Prediction):
    """The first of the lines of ``/listen``; the second one is a `TimeLine`, or why there is none."""

    nearest: list[Neighbor] | None = None


class ModelFacts(BaseModel):
    """What answers."""

    head: str
    encoder: str
    classes: list[str]
    most_seconds: float
    most_bytes: int
    has_search: bool


_REFUSALS = {
    401: "No token, or a wrong one.",
    408: "The upload took too long.",
    413: "Too many bytes, or too many seconds.",
    415: "The content type is none of a recording.",
    422: "No audio in it, or audio that cannot be used.",
    429: "Too many requests wait.",
    504: "The answer took too long.",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": told, "model": Problem} for status, told in _REFUSALS.items()
}


def build_app(
    model: Model,
    *,
    neighbors: Neighbors | None,
    limits: ServiceLimits,
    token: str | None,
    hosts: tuple[str, ...] | None,
) -> FastAPI:
    """Return the application; see `embedx.serve.create_app`."""
    service = _Service(model, limits, neighbors)
    app = FastAPI(title="embedx", version=__version__, docs_url=None, redoc_url=None, lifespan=service.running)
    app.add_middleware(Guards, token=token, hosts=hosts, most_bytes=limits.most_bytes)
    posts: dict[str, Any] = {"methods": ["POST"], "openapi_extra": _BODY, "responses": _RESPONSES}
    routes: list[tuple[str, Any, str]] = [
        ("predict", Prediction, "Label a recording"),
        ("timeline", TimeLine, "Say what is heard when in a recording"),
        ("embed", Embedding, "Embed a recording"),
    ]
    if neighbors is not None:
        routes.append(("search", Nearest, "Find the clips of the store that sound most like a recording"))
        app.add_api_route("/clips/{clip}", service.clip, summary="Play a clip of the store", response_class=Response)
    for name, shape, told in routes:
        app.add_api_route(f"/{name}", service.answering(name), response_model=shape, summary=told, **posts)
    told = "Label a recording, find what sounds like it, then say what is heard when: one upload, two lines"
    posts["responses"] = {**_RESPONSES, 200: {"model": Heard, "description": "The first of two lines of JSON"}}
    posts |= {"response_model": None, "response_class": _Lines}
    app.add_api_route("/listen", service.answering("listen"), summary=told, **posts)
    app.add_api_route("/model", service.facts, response_model=ModelFacts, summary="What answers")
    app.add_api_route("/healthz", healthy, summary="Whether the service runs")
    app.add_api_route("/metrics", service.metrics, summary="Figures for Prometheus", response_class=Response)
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/docs", lambda: HTMLResponse(_docs(app)), include_in_schema=False)
    answer_problems(app)
    return app


class _Service:
    """A model, the thread that computes, the folder where bodies lie meanwhile, and what is counted."""

    def __init__(self, model: Model, limits: ServiceLimits, neighbors: Neighbors | None) -> None:
        self.model, self.limits, self.neighbors = model, limits, neighbors
        self._numbers = itertools.count()
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("embedx_requests", "Requests answered", ["path", "status"], **own)
        self._seconds = Histogram(
            "embedx_request_seconds", "Seconds from the first byte to the answer", ["path"], **own
        )
        self._together = Histogram(
            "embedx_batch_clips", "Requests computed at a time", buckets=(1, 2, 4, 8, 16, 32), **own
        )
        self._audio = Counter("embedx_audio_seconds", "Seconds of audio answered for", **own)
        waiting = Gauge("embedx_waiting_requests", "Requests that have not begun", **own)
        waiting.set_function(lambda: self._worker.n_waiting)

    @contextlib.asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Hold the thread and the folder as long as the application runs; what waits at its end is answered."""
        answer = Answerer(self.model, self.limits, self.neighbors)

        def counted(jobs: Any) -> list[Any]:
            self._together.observe(len(jobs))
            return answer(jobs)

        counts = {"most_waiting": self.limits.most_waiting, "most_together": self.limits.most_together}
        self._worker = BatchWorker(counted, **counts)
        with scratch_folder() as self._folder:
            try:
                yield
            finally:
                await asyncio.to_thread(self._worker.close)

    def answering(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a request of one kind."""

        async def answer(request: Request) -> Response:
            started = time.monotonic()
            response = await _answered(self._answer(kind, request))
            self._requests.labels(f"/{kind}", str(response.status_code)).inc()
            self._seconds.labels(f"/{kind}").observe(time.monotonic() - started)
            return response

        return answer

    async def _answer(self, kind: str, request: Request) -> Response:
        deadline = time.monotonic() + self.limits.timeout_seconds
        path = self._folder / f"{next(self._numbers)}.upload"
        with contextlib.ExitStack() as stack:
            stack.callback(path.unlink, missing_ok=True)
            try:
                async with asyncio.timeout(self.limits.timeout_seconds):
                    await _receive(request, path)
            except TimeoutError:
                return refused(408, f"the upload took longer than {self.limits.timeout_seconds:g} s")
            answer = await self._computed(Job(kind, path), deadline)
            if kind == "listen" and answer.status_code == 200:
                answer = _Lines(self._lines(answer, path, deadline), path)
                stack.pop_all()  # it is needed for the second line
            return answer

    async def _lines(self, first: Response, path: Path, deadline: float) -> AsyncIterator[bytes]:
        """Yield the label as soon as it is there, then the time line or why there is none."""
        yield bytes(first.body) + b"\n"
        second = await _answered(self._computed(Job("timeline", path), deadline, is_counted=False))
        yield bytes(second.body) + b"\n"

    async def _computed(self, job: Job, deadline: float, *, is_counted: bool = True) -> Response:
        future = self._worker.submit(job)
        try:
            seconds = max(deadline - time.monotonic(), 0.001)
            found = await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            return refused(504, f"the answer took longer than {self.limits.timeout_seconds:g} s: send less at a time")
        if isinstance(found, Refusal):
            return refused(found.status, found.told)
        if is_counted:
            self._audio.inc(found["seconds"] or 0)
        return JSONResponse(found)

    async def facts(self) -> ModelFacts:
        """Return what the page shows of the model."""
        model, limits = self.model, self.limits
        names = {"head": model.head, "encoder": Path(model.recipe.encoder).name, "classes": list(model.classes)}
        most: dict[str, Any] = {"most_seconds": limits.most_seconds, "most_bytes": limits.most_bytes}
        return ModelFacts(**names, **most, has_search=self.neighbors is not None)

    async def clip(self, clip: int) -> Response:
        """Return the sound of a clip of the store."""
        assert self.neighbors is not None
        return await play_clip(self.neighbors.dataset, clip)

    async def metrics(self) -> Response:
        """Return all figures as Prometheus reads them."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _Lines(StreamingResponse):
    """Lines of JSON, each sent when it is there; the recording is removed after the last one, or when nobody reads."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes], path: Path, status_code: int = 200) -> None:
        super().__init__(lines, status_code)
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._path.unlink(missing_ok=True)


async def _answered(answer: Awaitable[Response]) -> Response:
    """Wait for an answer; what is raised on the way becomes one."""
    try:
        return await answer
    except Exception as error:
        return await problem(None, error)


async def _receive(request: Request, path: Path) -> None:
    """Write the body, or the file of a form, to ``path``."""
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=4) as form:
            upload = next((value for value in form.values() if isinstance(value, UploadFile)), None)
            if upload is None:
                raise HTTPException(422, "the form has no file: send one as the field 'file'")
            with open(path, "wb") as file:
                await asyncio.to_thread(shutil.copyfileobj, upload.file, file)
        return
    if not kind.startswith(_RAW):
        raise HTTPException(
            415, f"content type {kind[:80]!r}: send audio/*, video/*, application/octet-stream or a form"
        )
    with open(path, "wb") as file:
        async for block in request.stream():
            file.write(block)
    if not path.stat().st_size:
        raise HTTPException(422, "the body is empty: send a recording")


async def _page() -> HTMLResponse:
    return HTMLResponse(render_page("serve", heading="Try the model", footer=_FOOTER))


def _docs(app: FastAPI) -> str:
    """Return the routes as a page, drawn from the OpenAPI document without any script of others."""
    parts = ["<!doctype html><meta charset=utf-8><title>embedx: HTTP</title><h1>HTTP</h1>"]
    for path, methods in app.openapi()["paths"].items():
        for method, facts in methods.items():
            codes = ", ".join(f"{code} {html.escape(one['description'])}" for code, one in facts["responses"].items())
            parts.append(
                f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(facts['summary'])}</p><p>{codes}</p>"
            )
    parts.append("<pre>curl --data-binary @dog.wav http://127.0.0.1:8000/predict</pre>")
    parts.append('<p><a href="/openapi.json">openapi.json</a></p>')
    return "".join(parts)
