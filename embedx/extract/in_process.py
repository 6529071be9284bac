"""Encoding in this process, for arrays and few clips: weights and decoding processes stay from call to call.

Files are decoded in processes that may die, as everywhere; only what they give is encoded here. What is kept is
bounded, shared by all threads, and forgotten by a process that is forked from this one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from embedx.audio.decode_pool import DecodePool
from embedx.containers.clip_files import stat_clip
from embedx.encoders.base import Encoder, EncoderInfo
from embedx.encoders.device import choose_device, count_decoders, count_encode_threads, torch_threads
from embedx.errors import RunnerError
from embedx.extract.compute import ClipEncoder, SameThreadEncoder
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import Unit, UnitRunner
from embedx.extract.work_queue import UnitDone
from embedx.manifest import Manifest
from embedx.recipe import Recipe, Resources

__all__ = ["are_few", "decoders", "forget", "loaded_encoder", "n_threads_here", "plan_again", "run_units_here"]

MOST_CLIPS, MOST_BYTES = 16, 1 << 25
"""So many files, of so many bytes, are encoded here at most unless told: more are worth a process that may die."""

_MOST_ENCODERS, _MOST_INFOS, _MOST_POOLS = 2, 16, 2

Stamp = tuple[tuple[str, int, int, int], ...]


class _Kept:
    """What is kept from call to call."""

    def __init__(self, *, is_forked: bool = False) -> None:
        self.guard, self.is_forked = threading.RLock(), is_forked
        self.encoders: OrderedDict[Any, Encoder] = OrderedDict()
        self.infos: OrderedDict[Any, tuple[Stamp, EncoderInfo]] = OrderedDict()
        self.pools: dict[int, list[DecodePool]] = {}


_kept = _Kept()


def _forget_in_child() -> None:
    """Begin anew after a fork: decoding processes are the parent's, and so may be the locks that threads held.

    OpenMP waits for ever for threads that it had in the parent, so torch computes with one from here on.
    """
    global _kept
    had_used_torch = bool(_kept.encoders)
    _kept = _Kept(is_forked=_kept.is_forked or had_used_torch)
    if had_used_torch:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def forget() -> None:
    """Let all weights and decoding processes go; the next call loads what it needs."""
    global _kept
    old, _kept = _kept, _Kept(is_forked=_kept.is_forked)
    for pools in old.pools.values():
        for pool in pools:
            pool.close()


def are_few(manifest: Manifest, resources: Resources) -> bool:
    """Say whether files are so few and small, and nothing asks for processes, that they are encoded here.

    Several devices, or a limit on silence, ask for processes: only they can be ended.
    """
    if len(manifest) > MOST_CLIPS or resources.devices or resources.silence_timeout_seconds is not None:
        return False
    if _kept.is_forked and _is_gpu(resources):
        return False
    return sum(_size_of(manifest.path_of(source)) for source in manifest) <= MOST_BYTES


def _size_of(path: Path) -> int:
    try:
        return stat_clip(path).size or 0
    except (OSError, ValueError):
        return 0


def _is_gpu(resources: Resources) -> bool:
    return choose_device(resources.device).startswith("cuda")


def plan_again(options: Any, **choices: Any) -> RecipePlan:
    """Return what `RecipePlan` makes of its arguments; an encoder whose files are as before is not looked up again.

    A checkpoint is looked up and its weights are hashed once, then its files' sizes and times tell whether they
    changed. A hub's branch is not asked for again.
    """
    key = (choices.get("encoder"), choices.get("revision"), choices.get("recorded"))
    with _kept.guard:
        stamp, info = _kept.infos.get(key, ((), None))
    if info is not None and stamp != _stamp_of(info):
        info = None
    plan = RecipePlan(options, info=info, **choices)
    if info is None:
        info = plan.info
        with _kept.guard:
            _remember(_kept.infos, key, (_stamp_of(info), info), _MOST_INFOS)
    return plan


def _stamp_of(info: EncoderInfo) -> Stamp:
    """Return what tells the files of a checkpoint from later states of them."""
    try:
        with os.scandir(info.location) as entries:
            facts = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, one.st_size, one.st_mtime_ns, one.st_ino) for name, one in facts))


def _remember(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def loaded_encoder(recipe: Recipe, info: EncoderInfo, resources: Resources) -> Encoder:
    """Return the encoder of a recipe with its weights, loaded once for all threads of this process.

    Raises
    ------
    EncoderError
        The weights cannot be read.
    RunnerError
        This process was forked from one that used its GPU, which cannot be used in both.
    """
    device = choose_device(resources.device)
    if _kept.is_forked and device.startswith("cuda"):
        raise RunnerError(
            "a process that was forked cannot use the GPU of the one that it was forked from: start it with the method "
            "'spawn' or 'forkserver', or choose device='cpu'"
        )
    key = (recipe, info.location, _stamp_of(info), device, resources.compile)
    with _kept.guard:
        encoder = _kept.encoders.get(key)
        if encoder is None:
            encoder = ClipEncoder(recipe, info, resources).encoder
        _remember(_kept.encoders, key, encoder, _MOST_ENCODERS)
    return encoder


@contextlib.contextmanager
def decoders(resources: Resources) -> Iterator[DecodePool]:
    """Lend decoding processes that wait for work; those of a call that did not end well are ended with it."""
    n = max(1, count_decoders(choose_device(resources.device), resources.workers))
    kept = _kept
    with kept.guard:
        idle = kept.pools.setdefault(n, [])
        pool = idle.pop() if idle else DecodePool(n)
    try:
        yield pool
    except BaseException:
        pool.close()
        raise
    with kept.guard:
        is_kept = kept is _kept and sum(map(len, kept.pools.values())) < _MOST_POOLS
        if is_kept:
            idle.append(pool)
    if not is_kept:
        pool.close()


def n_threads_here(resources: Resources) -> int:
    """Return how many threads torch may use: one after a fork, which OpenMP's threads do not survive; 0 for its own."""
    return 1 if _kept.is_forked else resources.threads


@contextlib.contextmanager
def _computing(
    plan: RecipePlan | UnitRunner, resources: Resources, n_clips: int
) -> Iterator[Callable[[], ClipEncoder]]:
    """Give a way to the loaded encoder: with a clip for each thread where there are enough, else all on one clip."""
    threads = n_threads_here(resources)
    with contextlib.ExitStack() as stack:

        def begin() -> ClipEncoder:
            encoder = loaded_encoder(plan.recipe, plan.info, resources)
            each = not _is_gpu(resources) and 1 < count_encode_threads("cpu", threads) <= n_clips
            if not each:
                stack.enter_context(torch_threads(threads))
            kind = ClipEncoder if each else SameThreadEncoder
            return stack.enter_context(kind(plan.recipe, plan.info, resources).adopt(encoder))

        yield begin


def run_units_here(units: Sequence[Unit], plan: RecipePlan | UnitRunner, root: Path) -> Iterator[UnitDone]:
    """Compute every unit in this process, one after the other: as `run_units` of the processes does.

    Parameters
    ----------
    units : sequence of Unit
        What is to be done.
    plan : RecipePlan or UnitRunner
        What to compute.
    root : Path
        Folder that relative uris are relative to.

    Yields
    ------
    UnitDone

    Raises
    ------
    EncoderError, RunnerError
        As `loaded_encoder` and `DecodePool.load`.
    """
    resources = plan.resources
    for unit in units:
        with decoders(resources) as pool, _computing(plan, resources, len(unit.sources)) as begin:
            runner = UnitRunner(plan.recipe, plan.info, resources, root).lend(begin, pool)
            results = runner(unit)
        yield UnitDone(unit, results, {})
