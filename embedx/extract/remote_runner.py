"""A unit runner that leaves home: finds its encoder where it is set up, and may write what it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedx.encoders.base import EncoderInfo
from embedx.encoders.resolve import resolve_encoder
from embedx.errors import EncoderError
from embedx.extract.unit_runner import Runner, Unit, UnitRunner
from embedx.manifest import Source
from embedx.recipe import Recipe, Resources, pinned_revision
from embedx.store.rows import ClipResult, Embedded

__all__ = ["RemoteRunner", "Written", "seconds_of"]


@dataclass(frozen=True, slots=True)
class Written:
    """A clip whose rows a worker has committed to the store by itself.

    Parameters
    ----------
    source : Source
        The clip.
    n_rows : int
        Windows.
    seconds : float
        Audio embedded, overlaps counted twice. Seconds.
    """

    source: Source
    n_rows: int
    seconds: float


class RemoteRunner(Runner):
    """Runs units on another machine just as `UnitRunner` does here, or says why it cannot.

    Parameters
    ----------
    runner : UnitRunner
        What to run.
    describe : callable
        ``describe(recipe, resources)`` gives the versions and the device of the machine that it is called on.
    store : Path, optional
        The store on shared storage that the worker itself adds its rows to.

    Raises
    ------
    EncoderError
        In `setup`: this machine has no such encoder, or one with other weights.
    """

    def __init__(
        self,
        runner: UnitRunner,
        *,
        describe: Callable[[Recipe, Resources], Mapping[str, str]],
        store: Path | None = None,
    ) -> None:
        self.runner, self._describe, self._store = runner, describe, store

    def setup(self) -> Mapping[str, str]:
        """Find the encoder on this machine and return the machine's versions and device."""
        self.runner.info = _find_again(self.runner.info)
        return self._describe(self.runner.recipe, self.runner.resources)

    def prefetch(self, unit: Unit) -> None:
        """Let the decoding of a unit begin while another one computes."""
        self.runner.prefetch(unit)

    def __call__(self, unit: Unit, *, on_progress: Callable[[Source, float], None] | None = None) -> list[ClipResult]:
        """Embed a unit."""
        return self.runner(unit, on_progress=on_progress)

    def keep(self, results: Sequence[ClipResult]) -> list[ClipResult | Written]:
        """Commit rows to the shared store, if there is one; what comes back is what is left to be written."""
        if self._store is None:
            return list(results)
        from embedx.store.store import EmbeddingStore

        embedded = [result for result in results if isinstance(result, Embedded)]
        environment = self._describe(self.runner.recipe, self.runner.resources)
        with EmbeddingStore(self._store, self.runner.recipe, root=self.runner.root) as store:
            store.append(embedded, environment=environment)
        return [_receipt(result) if isinstance(result, Embedded) else result for result in results]


def seconds_of(result: Embedded | Written) -> float:
    """Return the seconds of audio that were embedded, overlaps counted as often as they were computed."""
    if isinstance(result, Written):
        return result.seconds
    return float((result.end_seconds - result.start_seconds).sum())


def _receipt(result: Embedded) -> Written:
    return Written(result.source, len(result.embeddings), seconds_of(result))


def _find_again(info: EncoderInfo) -> EncoderInfo:
    name = info.location if info.revision == "local" else info.id
    here = resolve_encoder(name, revision=pinned_revision(info.revision))
    if here.weights_sha256 != info.weights_sha256:
        raise EncoderError(
            f"encoder {info.id!r} has other weights here ({here.weights_sha256[:12]}, in {here.location}) than where "
            f"the job was started ({info.weights_sha256[:12]}): give every machine the same files and embedx version"
        )
    if here.frontend != info.frontend:
        raise EncoderError(
            f"encoder {info.id!r} prepares audio otherwise here ({here.frontend}, in {here.location}) than where the "
            f"job was started ({info.frontend}): give every machine the same files and embedx version"
        )
    return here
