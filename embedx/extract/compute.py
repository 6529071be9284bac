"""Windows become rows: batches, the encoder, pooling and the control, several at a time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.batching import bucket_by_length
from embedx.encoders.base import Encoder, EncoderInfo, PoolingEncoder
from embedx.encoders.device import as_memory_error, choose_device, count_encode_threads, one_thread_each, release_memory
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.logmel import log_mel_of_each
from embedx.encoders.resolve import load_encoder
from embedx.errors import EmbedxWarning
from embedx.recipe import Recipe, Resources

__all__ = ["ClipEncoder", "Row", "SameThreadEncoder", "Stream", "Window"]

_AHEAD = 4  # batches' worth of windows that are sorted by length together on a GPU


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Samples on their way to the encoder; ``clip`` and ``number`` say whose they are."""

    clip: int
    number: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What became of a window: embedding (L, D) and control (128,), or None when memory did not suffice."""

    window: Window
    embedding: NDArray[np.float32] | None
    control: NDArray[np.float32] | None


OnBegin = Callable[[Window], None]


def _ignore(window: Window) -> None:
    pass


class ClipEncoder:
    """Encodes a stream of windows on every core, or on a GPU.

    On a CPU each thread computes one window at a time, by itself: batches leave the caches, and threads
    that share one clip wait for each other at every operation. So a window's numbers depend neither on the
    windows beside it nor on the number of cores. On a GPU two threads take turns: one prepares a batch while
    the other's computes.

    Parameters
    ----------
    recipe, info, resources
        What to compute, with what, on what.
    """

    def __init__(self, recipe: Recipe, info: EncoderInfo, resources: Resources) -> None:
        self.recipe, self.info, self.resources = recipe, info, resources
        self.device = choose_device(resources.device)
        self._budget = round(resources.batch_seconds * recipe.sample_rate)
        self._has_warned = False
        self._count = itertools.count()
        self._waiting: queue.PriorityQueue[Any] = queue.PriorityQueue()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> ClipEncoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what waits, let the threads end with what they are at, and let the weights go."""
        self._open.close()
        self._waiting = queue.PriorityQueue()
        self.__dict__.pop("encoder", None)
        self.__dict__.pop("_executor", None)

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder; weights are loaded when it is first asked for."""
        return load_encoder(
            self.info,
            layers=self.recipe.layers,
            padding=self.recipe.padding,
            device=self.device,
            compute_dtype=self.recipe.compute_dtype,
            compiled=self.resources.compile,
        )

    @property
    def on_gpu(self) -> bool:
        """Whether batches pay."""
        return self.device.startswith("cuda")

    @functools.cached_property
    def n_threads(self) -> int:
        """Windows (CPU) or batches (GPU) that are computed at a time."""
        return count_encode_threads(self.device, self.resources.threads)

    @functools.cached_property
    def _memory_gate(self) -> _MemoryGate:
        return _MemoryGate(self.n_threads)

    @functools.cached_property
    def _executor(self) -> ThreadPoolExecutor:
        start = None if self.on_gpu else self._open.enter_context(one_thread_each())
        executor = ThreadPoolExecutor(self.n_threads, thread_name_prefix="embedx-encode", initializer=start)
        self._open.callback(executor.shutdown, wait=False, cancel_futures=True)
        return executor

    def encode(self, windows: Iterable[Window]) -> Iterator[Row]:
        """Encode a stream of windows, holding only a few of them.

        Parameters
        ----------
        windows : iterable of Window
            None shorter than one frame of the encoder.

        Yields
        ------
        Row
            In any order.
        """
        stream = self.stream()
        for window in windows:
            stream.put(window)
            yield from stream.collect()
            while not stream.has_room:
                wait(stream.pending, return_when=FIRST_COMPLETED)  # whichever ends first: no thread waits for another
                yield from stream.collect()
        stream.flush()
        while stream.pending:
            wait(stream.pending, return_when=FIRST_COMPLETED)
            yield from stream.collect()

    def stream(self, on_begin: OnBegin = _ignore) -> Stream:
        """Return a way through the threads; several may be open at a time, and no batch holds windows of two.

        Parameters
        ----------
        on_begin : callable
            Called in the thread with each window of a batch before it is computed.
        """
        assert self.encoder is not None  # made here, not by several threads at once
        assert self._memory_gate is not None
        return Stream(self, next(self._count), on_begin)

    def adopt(self, encoder: Encoder) -> ClipEncoder:
        """Compute with weights that are loaded already and belong to somebody else."""
        self.__dict__["encoder"] = encoder
        return self

    def submit(self, batch: Sequence[Window], *, turn: int, on_begin: OnBegin = _ignore) -> Future[list[Row]]:
        """Have a batch computed as soon as a thread is free: the lowest turn first, and of one turn the longest batch.

        What is long must not begin last, when the other threads have nothing left to do.
        """
        future: Future[list[Row]] = Future()
        n_samples = sum(len(window.samples) for window in batch)
        self._waiting.put((turn, -n_samples, next(self._count), batch, on_begin, future))
        self._executor.submit(self._compute_next)
        return future

    def _compute_next(self) -> None:
        """Compute what comes next, in a thread."""
        *_, batch, on_begin, future = self._waiting.get()
        try:
            for window in batch:
                on_begin(window)
            future.set_result(self._compute(batch))
        except BaseException as error:
            future.set_exception(error)

    @property
    def budget_samples(self) -> int:
        """Padded samples in a batch, by what memory has been found to hold."""
        return self._budget

    def _compute(self, batch: Sequence[Window]) -> list[Row]:
        """Compute one batch in a thread; halve it when memory does not suffice."""
        with self._memory_gate.shared():
            rows = self._rows(batch)
        if rows is not None:
            return rows
        if len(batch) == 1:
            with self._memory_gate.alone():  # another thread's batch may have been what was too much
                return self._rows(batch) or [Row(batch[0], None, None)]
        self._halve(batch)
        middle = len(batch) // 2
        return self._compute(batch[:middle]) + self._compute(batch[middle:])

    def _rows(self, batch: Sequence[Window]) -> list[Row] | None:
        """Return the rows of a batch, or None when memory does not suffice; nothing of the attempt is kept then."""
        samples = [window.samples for window in batch]
        with contextlib.suppress(MemoryError), as_memory_error():
            pooled = self._pooled(samples)
            controls = log_mel_of_each(samples, self.recipe.sample_rate, device=self.device)
            return [Row(*found) for found in zip(batch, pooled, controls, strict=True)]
        release_memory(self.device)  # only now: the error held what the attempt had got
        return None

    def _pooled(self, samples: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Encode and pool, layer by layer where the encoder knows how to."""
        if isinstance(self.encoder, PoolingEncoder):
            return self.encoder.pooled(samples, self.recipe.pooling)
        return pool_frames(self.encoder.encode(samples), pooling=self.recipe.pooling)

    def _halve(self, batch: Sequence[Window]) -> None:
        """Lower the budget to half of what a batch held that was too large, with one warning a run."""
        held = sum(len(window.samples) for window in batch)
        self._budget = min(self._budget, held // 2)
        if self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"the device's memory does not hold {held / self.recipe.sample_rate:.0f} s of audio at a time: "
            f"going on with {self._budget / self.recipe.sample_rate:.0f} s, or less (--batch-seconds sets it)",
            EmbedxWarning,
            stacklevel=2,
        )


class SameThreadEncoder(ClipEncoder):
    """Computes each batch where it is given, with the threads that torch has there: one clip is done soonest so."""

    def submit(self, batch: Sequence[Window], *, turn: int, on_begin: OnBegin = _ignore) -> Future[list[Row]]:
        """Compute a batch before this returns."""
        future: Future[list[Row]] = Future()
        for window in batch:
            on_begin(window)
        future.set_result(self._compute(batch))
        return future


class Stream:
    """Windows on their way through the threads; get one from `ClipEncoder.stream`."""

    def __init__(self, encoder: ClipEncoder, turn: int, on_begin: OnBegin) -> None:
        self._encoder, self._turn, self._on_begin = encoder, turn, on_begin
        self._held: list[Window] = []
        self._n_samples = 0
        self.min_samples = encoder.encoder.min_samples
        self.pending: set[Future[list[Row]]] = set()

    @property
    def n_waiting(self) -> int:
        """Batches that are not computed yet."""
        return sum(not future.done() for future in self.pending)

    @property
    def has_room(self) -> bool:
        """Whether more should be put in: threads shall find a next batch, memory shall not fill up."""
        return self.n_waiting <= 2 * self._encoder.n_threads

    def put(self, window: Window) -> None:
        """Add a window: a batch of its own on a CPU; on a GPU several batches' worth are sorted by length."""
        self._held.append(window)
        self._n_samples += len(window.samples)
        if not self._encoder.on_gpu or self._n_samples >= _AHEAD * self._encoder.budget_samples:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held."""
        lengths = [len(window.samples) for window in self._held]
        budget = self._encoder.budget_samples if self._encoder.on_gpu else 0
        for batch in bucket_by_length(lengths, budget_samples=budget):
            windows = [self._held[i] for i in batch]
            self.pending.add(self._encoder.submit(windows, turn=self._turn, on_begin=self._on_begin))
        self._held, self._n_samples = [], 0

    def collect(self) -> Iterator[Row]:
        """Yield the rows that are computed, in any order, without waiting."""
        ready = {future for future in self.pending if future.done()}
        self.pending -= ready
        for future in ready:
            yield from future.result()


class _MemoryGate:
    """The device's memory, which threads share, or one has to itself for a moment."""

    def __init__(self, n_threads: int) -> None:
        self._n, self._places, self._clearing = n_threads, threading.Semaphore(n_threads), threading.Lock()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._places:
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._clearing, contextlib.ExitStack() as places:
            for _ in range(self._n):
                places.enter_context(self._places)
            yield
