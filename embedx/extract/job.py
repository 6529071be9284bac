"""An extraction from end to end: resume, compute, store, count."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedx.audio.decode import decoder_versions
from embedx.encoders.device import choose_device
from embedx.errors import ParameterError, unknown_name
from embedx.extract.dispatch import Progress as OnProgress
from embedx.extract.in_process import plan_again, run_units_here
from embedx.extract.options import ClusterOptions
from embedx.extract.planning import RecipePlan, require_places
from embedx.extract.remote_runner import RemoteRunner, Written, seconds_of
from embedx.extract.unit_runner import Unit, UnitRunner, plan_units
from embedx.extract.work_queue import UnitDone
from embedx.manifest import ClipKey, Manifest
from embedx.recipe import Recipe, Resources
from embedx.store.rows import ClipResult, Failure

__all__ = ["ENGINES", "ExtractReport", "embed", "embed_parts", "extract_embeddings"]

ENGINES = ("local", "ray")

Progress = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What an extraction did.

    Parameters
    ----------
    n_clips : int
        Clips of the manifest (of the shard, where one was asked for).
    n_computed : int
        Clips that got their rows in this run.
    n_done_before, n_failed_before : int
        Clips whose rows, or whose failure, were on record already.
    failures : tuple of Failure
        Clips that failed in this run.
    output : Path
        The store.
    recipe : Recipe
        What was computed.
    seconds, audio_seconds : float
        Time taken, and audio that was embedded in this run.
    note : str
        What a reader of the embeddings has to know of the encoder; usually empty.
    """

    n_clips: int
    n_computed: int
    n_done_before: int
    failures: tuple[Failure, ...]
    output: Path
    recipe: Recipe
    seconds: float
    audio_seconds: float
    n_failed_before: int = 0
    note: str = ""


def extract_embeddings(
    manifest: Manifest,
    output: str | os.PathLike[str],
    *,
    encoder: str | None = None,
    revision: str | None = None,
    resources: Resources = Resources(),  # noqa: B008
    overwrite: bool = False,
    retry_failed: bool = False,
    engine: str = "local",
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ExtractReport:
    """Embed every clip of a manifest into one HDF5 store, going on where an earlier run stopped.

    Parameters
    ----------
    manifest : Manifest
        The clips.
    output : path-like
        The store; created, or resumed by its own recipe.
    encoder, revision : str, optional
        See `resolve_encoder`; by default what the store has recorded, else ``facebook/wav2vec2-base``.
    resources : Resources
        Device, batches, workers: changes speed only.
    overwrite : bool
        Begin anew.
    retry_failed : bool
        Try clips again that failed earlier.
    engine : {'local', 'ray'}
        This machine, or a Ray cluster.
    cluster : ClusterOptions
        Which cluster, and how much of it, when the engine is ``"ray"``.
    shard : (int, int), optional
        ``(i, n)`` computes units i, i + n, ... of the manifest only (i from 0), for job arrays. Rows are committed
        beside the store, which other shards may be writing too; a run without ``shard``, or `merge_stores`, publishes.
    progress : callable, optional
        Called as ``progress(done, total, **facts)``; ``done`` begins with what an earlier run did.
    **options
        Recipe fields by name (``layers``, ``pooling``, ``window_seconds``, ...); None stands for "not given".

    Returns
    -------
    ExtractReport

    Raises
    ------
    ParameterError, EncoderError, RecipeMismatchError, StoreError
        Before any model is loaded.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import load_embeddings, read_manifest
    >>> from embedx.testing import make_tone, write_wav
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for hertz in (220, 440):
    ...         write_wav(f"{folder}/{hertz}.wav", make_tone(hertz))
    ...     report = extract_embeddings(read_manifest(folder), f"{folder}/emb.h5", encoder="tiny")
    ...     report.n_computed, load_embeddings(f"{folder}/emb.h5").X.shape
    (2, (2, 960))
    """
    from embedx.store.store import EmbeddingStore, read_recipe

    started = time.monotonic()
    require_places(manifest, output)
    _require_engine(engine)
    if overwrite and (shard is not None or (engine == "ray" and cluster.parts == "worker")):
        raise ParameterError(
            f"several processes write {output} and cannot begin it anew: delete it, or leave --overwrite out"
        )
    recorded = None if overwrite else read_recipe(output)
    plan = RecipePlan(options, encoder=encoder, revision=revision, recorded=recorded, resources=resources)
    recipe = plan.recipe
    plan.require_recorded(
        str(output), "Leave these options out to go on with it, or give another --output, or --overwrite"
    )
    with EmbeddingStore(output, recipe, root=manifest.root, overwrite=overwrite) as store:
        state = store.plan(manifest, retry_failed=retry_failed)
        whole = _shard(plan_units(manifest), shard)
        units = _subtract(whole, state.todo)
        n_whole, n_todo = (sum(len(unit.sources) for unit in some) for some in (whole, units))
        tally = _Tally(n_whole, progress, n_before=n_whole - n_todo)
        if units:
            runner = UnitRunner(recipe, plan.info, resources, manifest.root)
            shared = store.path if cluster.parts == "worker" else None

            def on_progress(seconds: float) -> None:
                tally.on_progress(seconds)
                store.commit_if_due()  # what is shown as done must not wait for a unit of hours

            run = _run(units, runner, on_progress, engine=engine, cluster=cluster, shared=shared)
            with contextlib.closing(run) as done:
                for _, results, environment in done:
                    store.append([r for r in results if not isinstance(r, Written)], environment=environment)
                    tally.count(results)
        if shard is None:
            store.publish(wait_seconds=3600)
        else:
            store.commit()
    return ExtractReport(
        n_clips=len(manifest),
        n_computed=tally.n_computed,
        n_done_before=state.n_done,
        n_failed_before=state.n_failed,
        failures=tuple(tally.failures),
        output=Path(output),
        recipe=recipe,
        seconds=time.monotonic() - started,
        audio_seconds=tally.audio_seconds,
        note=plan.info.note if units else "",
    )


def embed(manifest: Manifest, **choices: Any) -> tuple[list[ClipResult], Recipe]:
    """Embed clips into memory, for scikit-learn pipelines: all that `embed_parts` gives, in the manifest's order."""
    parts, recipe = embed_parts(manifest, **choices)
    return [result for part in parts for result in part], recipe


def embed_parts(
    manifest: Manifest,
    *,
    recipe: Recipe | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    resources: Resources = Resources(),  # noqa: B008
    progress: Progress | None = None,
    in_process: bool = False,
    **options: Any,
) -> tuple[Iterator[list[ClipResult]], Recipe]:
    """Embed clips for prediction: a part is given while the next ones are computed.

    Parameters
    ----------
    manifest : Manifest
        The clips.
    recipe : Recipe, optional
        The recipe to follow, such as a saved model's; options that differ from it are refused.
    encoder, revision, resources, progress, **options
        As in `extract_embeddings`.
    in_process : bool
        Whether they are encoded in this process, where weights stay loaded, and not in one that may die.

    Returns
    -------
    parts : iterator of list of ClipResult
        Together one result a clip, in the manifest's order; failures among them.
    recipe : Recipe
        What is computed.
    """
    make = plan_again if in_process else RecipePlan
    plan = make(options, encoder=encoder, revision=revision, recorded=recipe, resources=resources)
    plan.require_recorded("the recipe", "Leave the options out, or embed with a recipe of your own")
    parts = _parts_here(manifest, plan, progress) if in_process else _parts(manifest, plan, progress)
    return parts, plan.recipe


def _parts_here(manifest: Manifest, plan: RecipePlan, progress: Progress | None) -> Iterator[list[ClipResult]]:
    tally = _Tally(len(manifest), progress)
    for _, results, _ in run_units_here(plan_units(manifest), plan, manifest.root):
        tally.count(results)
        yield results


def _parts(manifest: Manifest, plan: RecipePlan, progress: Progress | None) -> Iterator[list[ClipResult]]:
    tally, units = _Tally(len(manifest), progress), plan_units(manifest)
    runner = UnitRunner(plan.recipe, plan.info, plan.resources, manifest.root)
    order, found = iter([unit.number for unit in units]), dict[int, list[ClipResult]]()
    due = next(order, None)
    with contextlib.closing(_run(units, runner, tally.on_progress)) as done:
        for unit, results, _ in done:
            tally.count(results)
            found[unit.number] = [result for result in results if not isinstance(result, Written)]
            while due in found:
                yield found.pop(due)
                due = next(order, None)


def describe_environment(recipe: Recipe, resources: Resources) -> dict[str, str]:
    """Return versions, device and dtype, as a store records them beside the rows."""
    packages = ("embedx", "torch", "torchaudio", "transformers", "numpy", "h5py")
    versions = {name: importlib.metadata.version(name) for name in packages}
    machine = {"device": choose_device(resources.device), "compute_dtype": recipe.compute_dtype}
    compiled = {"compiled": "yes"} if resources.compile else {}
    return {**versions, **decoder_versions(), **machine, **compiled}


def _require_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ParameterError(unknown_name("engine", engine, ENGINES))


def _shard(units: Sequence[Unit], shard: tuple[int, int] | None) -> tuple[Unit, ...]:
    if shard is None:
        return tuple(units)
    i, n = shard
    if not 0 <= i < n:
        raise ParameterError(f"shard {i}/{n}: give I/N with I from 0 to N - 1")
    return tuple(units[i::n])


def _subtract(units: Sequence[Unit], todo: frozenset[ClipKey]) -> tuple[Unit, ...]:
    """Keep what is to be done, in the units that the whole manifest was cut into."""
    left = (Unit(unit.number, tuple(s for s in unit.sources if s.key in todo)) for unit in units)
    return tuple(unit for unit in left if unit.sources)


def _run(
    units: Sequence[Unit],
    runner: UnitRunner,
    on_progress: OnProgress,
    *,
    engine: str = "local",
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008
    shared: Path | None = None,
) -> Generator[UnitDone, None, None]:
    if engine == "ray":
        yield from _run_on_cluster(units, runner, cluster, shared)
        return
    if not hasattr(os, "fork"):  # Windows: no process that can be had again at once when a clip ends it
        environment = describe_environment(runner.recipe, runner.resources)
        for done in run_units_here(units, runner, runner.root):
            yield done._replace(environment=environment)
        return
    from embedx.extract.process_backend import run_units

    yield from run_units(units, runner, describe=describe_environment, on_progress=on_progress)


def _run_on_cluster(
    units: Sequence[Unit], runner: UnitRunner, cluster: ClusterOptions, shared: Path | None
) -> Iterator[UnitDone]:
    from embedx.extract.ray_backend import run_units_on_ray

    threads = runner.resources.threads or cluster.cpus_per_worker  # what Ray lent, not what the machine has
    runner.resources = replace(runner.resources, threads=threads)
    remote = RemoteRunner(runner, describe=describe_environment, store=shared)
    yield from run_units_on_ray(units, remote, options=cluster, root=runner.root)


class _Tally:
    """Counts clips, failures and seconds, and tells the progress bar."""

    def __init__(self, total: int, progress: Progress | None, *, n_before: int = 0) -> None:
        self.total, self.progress, self.n_before = total, progress, n_before
        self.failures: list[Failure] = []
        self.n_computed = 0
        self.audio_seconds = 0.0
        self._under_way_seconds = 0.0
        self._started = time.monotonic()

    def on_progress(self, seconds: float) -> None:
        """Note audio that is done of a unit under way, or, below 0, that a unit is no longer under way."""
        self._under_way_seconds += seconds
        if seconds > 0:
            self._tell()

    def count(self, results: Sequence[ClipResult | Written]) -> None:
        """Count a unit's results."""
        for result in results:
            if isinstance(result, Failure):
                self.failures.append(result)
            else:
                self.n_computed += 1
                self.audio_seconds += seconds_of(result)
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            seconds = self.audio_seconds + self._under_way_seconds
            speed = seconds / max(time.monotonic() - self._started, 1e-9)
            facts = {"speed": f"{speed:.1f}x real time", "failed": len(self.failures)}
            self.progress(self.n_before + self.n_computed + len(self.failures), self.total, **facts)
