"""Runners that really do what runners may do: give rows, die, hang, raise. Importable by the workers."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import embedx.audio.decode_pool
import embedx.extract.compute
from embedx.encoders.base import EncoderInfo
from embedx.errors import EncoderError
from embedx.extract.unit_runner import Runner, UnitRunner
from embedx.manifest import Source
from embedx.recipe import Recipe, Resources
from embedx.store.rows import Embedded, Failure, FileStamp
from embedx.testing import FakeEncoder


@dataclass(frozen=True)
class FakeUnit:
    """What a runner is given: a number and consecutive sources."""

    number: int
    sources: tuple[Source, ...]


def make_units(n_units, n_sources=4):
    """Units of sources named 0000.wav, 0001.wav, ..."""
    names = iter(range(n_units * n_sources))
    return [FakeUnit(i, tuple(Source(f"{next(names):04}.wav") for _ in range(n_sources))) for i in range(n_units)]


def rows_of(source):
    """Made-up rows that depend on the source alone."""
    rng = np.random.default_rng(int(source.uri[:4]))
    stamp = FileStamp(rng.bytes(32), 1, 2)
    embeddings, control = rng.standard_normal((1, 2, 8), np.float32), rng.standard_normal((1, 128), np.float32)
    return Embedded(source, stamp, embeddings, control, np.zeros(1), np.ones(1))


@dataclass
class FakeRunner(Runner):
    """Gives `rows_of` each source, unless the source is named for something worse.

    ``diary`` is a folder in which every call leaves a file, so that a test sees who worked on what, and when.
    """

    exits: tuple[str, ...] = ()
    crashes: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    exits_once: tuple[str, ...] = ()
    broken: bool = False
    dies: bool = False
    seconds: float = 0.0
    n_padding: int = 0
    diary: Path | None = None

    def __call__(self, unit, *, on_progress=None):
        if self.broken:
            raise EncoderError("the weights of 'tiny' have another hash than the recipe")
        if self.dies:
            os._exit(1)
        self._note(unit)
        time.sleep(self.seconds)
        results = [self._one(source) for source in unit.sources]
        return (
            [replace(result, embeddings=np.zeros((1, 1, self.n_padding), np.float32)) for result in results]
            if (self.n_padding)
            else results
        )

    def _note(self, unit):
        if self.diary is not None:
            name = f"{time.time_ns()}-{os.getpid()}-{unit.sources[0].uri}-{len(unit.sources)}"
            (self.diary / name).touch()

    def _one(self, source):
        if source.uri in self.exits:
            os._exit(7)
        if source.uri in self.crashes:
            ctypes.string_at(0)
        if source.uri in self.hangs:
            time.sleep(10_000)
        if source.uri in self.raises:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if source.uri in self.exits_once and not (self.diary / "once").exists():
            (self.diary / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if source.uri in self.fails:
            return Failure(source, rows_of(source).stamp, "decode", "no audio")
        return rows_of(source)


class ForesightedRunner(FakeRunner):
    """Notes when it hears of a unit, and when it begins with it."""

    def prefetch(self, unit):
        (self.diary / f"{time.time_ns()}-heard-{unit.number}").touch()

    def _note(self, unit):
        (self.diary / f"{time.time_ns()}-began-{unit.number}").touch()


class DeadlyEncoder(FakeEncoder):
    """Ends its process over silence."""

    def encode(self, batch):
        """Encode, or exit."""
        if any(not samples.any() for samples in batch):
            os._exit(9)
        return super().encode(batch)


DEADLY_DECODER = """
import json, sys, os
sys.path[:] = json.loads(sys.argv[1])
import embedx.audio.decode_worker as worker
whole = worker.load_clip
worker.load_clip = lambda request, **more: os._exit(5) if "dies" in request.path else whole(request, **more)
worker.main()
"""


class DeadlyRunner(UnitRunner):
    """The real pipeline around an encoder that dies over silence and a decoder that dies over ``dies.wav``."""

    @classmethod
    def over(cls, root):
        """A runner of the clips below a folder."""
        facts = {"encoder": "fake", "revision": "local", "weights_sha256": "0"}
        recipe = Recipe(**facts, layers=(0, 1, 2))
        info = EncoderInfo(
            id="fake", location=".", revision="local", weights_sha256="0", model_type="fake", n_layers=3, dim=8
        )
        return cls(recipe, info, Resources(device="cpu", workers=1), root)

    def load(self):
        """Load what computes, in a process whose decoder and encoder are the deadly ones."""
        self._become_deadly()
        super().load()

    def prefetch(self, unit):
        """Begin decoding there."""
        self._become_deadly()
        super().prefetch(unit)

    @staticmethod
    def _become_deadly():
        embedx.audio.decode_pool._START = DEADLY_DECODER
        embedx.extract.compute.load_encoder = lambda *_, **__: DeadlyEncoder()


@dataclass
class PlacedRunner(FakeRunner):
    """The same for a process of this machine: knows its device, and how long it may say nothing."""

    silence_seconds: float = 60.0
    modules = ()
    recipe = Recipe(encoder="fake", revision="local", weights_sha256="0", layers=(0, 1, 2))

    @property
    def resources(self):
        """One CPU."""
        return Resources(device="cpu", workers=1, silence_timeout_seconds=self.silence_seconds)
