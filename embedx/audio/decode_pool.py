"""Decoding in worker processes, ahead of the encoder and in bounded memory.

The workers are plain child processes that import numpy and PyAV only: they start in a fraction of a second,
beside whatever torch is doing, and a file that crashes its decoder takes none but its own worker along.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embedx.audio.decode_messages import READY, read_message
from embedx.audio.decoded_buffer import Load
from embedx.audio.loader import ClipEnd, ClipEvent, ClipRequest, load_clip
from embedx.child_process import as_limit, program_of, python_command
from embedx.errors import RunnerError

__all__ = ["DecodePool"]

_START = program_of("embedx.audio.decode_worker")
_PIPE_BYTES = 1 << 20
_ATTEMPTS = 2


class DecodePool:
    """Decodes clips ahead of their consumer.

    Parameters
    ----------
    n_workers : int
        Processes; 0 decodes in this one (and a file that crashes the decoder then ends it).
    timeout_seconds : float
        A worker that gives no sign of life for so long is killed; its clip becomes a failure.
    heartbeat : callable, optional
        Called by whoever iterates over events, at each event and, while there is none, at each sign of life.

    Examples
    --------
    >>> with DecodePool(0) as pool:
    ...     list(pool.load([]))
    []
    """

    def __init__(
        self, n_workers: int, *, timeout_seconds: float = 60.0, heartbeat: Callable[[], None] | None = None
    ) -> None:
        n_workers = n_workers if os.name == "posix" else 0  # elsewhere pipes cannot be waited for
        self.n_workers, self.timeout_seconds, self._heartbeat = n_workers, timeout_seconds, heartbeat or _ignore
        self._tasks: queue.SimpleQueue[tuple[Load, int, ClipRequest] | None] = queue.SimpleQueue()
        self._threads: list[_DecoderThread] = []
        self._loads: list[Load] = []

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def load(self, requests: Sequence[ClipRequest]) -> Iterator[tuple[int, ClipEvent]]:
        """Begin to decode clips, in their order.

        Parameters
        ----------
        requests : sequence of ClipRequest
            The clips.

        Returns
        -------
        iterator of (int, ClipEvent)
            Index of the clip and what came of it, as it comes; clips may be interleaved. At most 64 MB
            wait for the consumer.

        Raises
        ------
        RunnerError
            While iterating: workers cannot be started.
        """
        if self.n_workers <= 0:
            return self._load_here(requests)
        load = Load(len(requests), self._heartbeat)
        self._loads = [*(one for one in self._loads if not one.is_over), load]
        for index, request in enumerate(requests):
            self._tasks.put((load, index, request))
        while len(self._threads) < min(self.n_workers, max(len(requests), len(self._threads))):
            with as_limit("a thread for a decoding process"):
                self._threads.append(_DecoderThread(self._tasks, self.timeout_seconds))
        return load

    def close(self) -> None:
        """End the workers at once; what is still to be decoded is dropped."""
        for load in self._loads:
            load.drop()
        for thread in self._threads:
            thread.stop()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads, self._loads = [], []

    def _load_here(self, requests: Sequence[ClipRequest]) -> Iterator[tuple[int, ClipEvent]]:
        for index, request in enumerate(requests):
            for event in load_clip(request, heartbeat=self._heartbeat):
                self._heartbeat()
                yield index, event


def _ignore() -> None:
    pass


class _WorkerDiedError(Exception):
    """The worker process ended in the middle of a clip."""


class _StoppedError(Exception):
    """The pool was closed."""


class _DecoderThread:
    """A thread of this process that feeds one worker process, and replaces it when it dies."""

    def __init__(self, tasks: queue.SimpleQueue[Any], timeout_seconds: float) -> None:
        self._tasks, self._timeout_seconds = tasks, timeout_seconds
        self._worker: _Worker | None = None
        self._stopped = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="embedx-decode")
        self._thread.start()

    def stop(self) -> None:
        """Kill the worker; the thread ends by itself."""
        with self._guard:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()

    def join(self) -> None:
        """Wait for the thread, not for ever."""
        self._thread.join(timeout=2.0)

    def _serve(self) -> None:
        with contextlib.suppress(_StoppedError):
            while (task := self._tasks.get()) is not None:
                load, index, request = task
                if not load.dropped:
                    self._decode_or_fail(load, index, request)
        with contextlib.suppress(_StoppedError):
            self._retire()

    def _decode_or_fail(self, load: Load, index: int, request: ClipRequest) -> None:
        try:
            load.put(index, self._decode(load, index, request))
        except RunnerError as error:
            load.fail(error)

    def _decode(self, load: Load, index: int, request: ClipRequest) -> ClipEnd:
        """Let the worker decode one clip; a second worker gets a second chance, then it is a failure."""
        n_given = 0  # events that were passed on
        for _ in range(_ATTEMPTS):
            try:
                for n, event in enumerate(self._living_worker().decode(request, load.note_progress), start=1):
                    if isinstance(event, ClipEnd):
                        return event
                    if n > n_given:
                        load.put(index, event)
                        n_given = n
            except TimeoutError:
                self._retire()
                quiet = f"the decoder gave no sign of life for {self._timeout_seconds:g} s"
                return ClipEnd("decode", f"{request.path}: {quiet}")
            except _WorkerDiedError:
                status = self._retire()
        return ClipEnd(
            "worker_died", f"{request.path}: the decoding process died {_ATTEMPTS} times (exit status {status})"
        )

    def _living_worker(self) -> _Worker:
        if self._worker is None:
            with self._guard:
                if self._stopped:
                    raise _StoppedError
                with as_limit("a decoding process"):
                    self._worker = _Worker(self._timeout_seconds)
            try:
                self._worker.require_ready()
            except (_WorkerDiedError, TimeoutError):
                status = self._retire()
                raise RunnerError(
                    f"a decoding worker could not be started (exit status {status}): "
                    f"run {sys.executable} -m embedx.audio.decode_worker to see why, or decode with --workers 0"
                ) from None
        return self._worker

    def _retire(self) -> int | None:
        """End the worker; return its exit status."""
        with self._guard:
            worker, self._worker = self._worker, None
            status = worker.end() if worker is not None else None
            if self._stopped and worker is not None:
                raise _StoppedError
            return status


def _widen(pipe: Any) -> None:
    """Let a pipe hold more, where the system can."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class _Worker:
    """One worker process and its two pipes."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._process = subprocess.Popen(
            python_command(_START),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # numpy would start a thread a core, and none is used
            process_group=0,  # Ctrl-C goes to the parent alone
            bufsize=0,
        )
        _widen(self._process.stdout)

    def require_ready(self) -> None:
        """Wait until the process has imported what it needs."""
        if read_message(self.read) != READY:
            raise _WorkerDiedError

    def decode(self, request: ClipRequest, on_progress: Callable[[], None]) -> Iterator[ClipEvent]:
        """Send a request and yield its events; between them, call ``on_progress`` at every sign of life.

        Raises
        ------
        TimeoutError
            No sign of life.
        _WorkerDiedError
            The process is gone.
        """
        try:
            self._process.stdin.write(request.to_json().encode() + b"\n")  # type: ignore[union-attr]
        except OSError:
            raise _WorkerDiedError from None
        event: ClipEvent | bytes = b""
        while not isinstance(event, ClipEnd):
            event = read_message(self.read)
            if isinstance(event, bytes):
                on_progress()
            else:
                yield event

    def read(self, n_bytes: int) -> bytearray:
        """Read exactly so many bytes."""
        body, filled = bytearray(n_bytes), 0
        view = memoryview(body)
        pipe: Any = self._process.stdout
        while filled < n_bytes:
            if not select.select([pipe], [], [], self._timeout_seconds)[0]:
                raise TimeoutError
            n = pipe.readinto(view[filled:])
            if not n:
                raise _WorkerDiedError
            filled += n
        return body

    def kill(self) -> None:
        """Send SIGKILL; pipes stay open for whoever reads them."""
        self._process.kill()

    def end(self) -> int:
        """Kill, reap and close; return the exit status (negative: the signal)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)  # it may be dying: its own status says more than our SIGKILL
        self._process.kill()
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()  # type: ignore[union-attr]
        return status
