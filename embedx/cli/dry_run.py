"""``embedx extract --dry-run``: what would be read and computed, without writing anything."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedx.cli.terminal import show
from embedx.text import as_size

if TYPE_CHECKING:
    from embedx.extract.planning import RecipePlan
    from embedx.manifest import Manifest, Source
    from embedx.recipe import Recipe

__all__ = ["print_preview"]

_MOST_HEADERS = 200
"""Files whose headers are read; of more, so many spread over the list stand for all."""

_MOST_NAMES = 12
_BYTES_BESIDE = 1_000
"""What a row takes beside its embedding: log-mel statistics, times, check sums."""


@dataclass(frozen=True, slots=True)
class _Audio:
    """What is known of the clips' length without decoding: seconds and windows of all of them."""

    seconds: float
    n_windows: float
    n_read: int
    n_known: int
    n_clips: int

    @property
    def basis(self) -> str:
        """Where the figures come from."""
        if self.n_read == self.n_clips:
            unread = self.n_read - self.n_known
            return "by headers and segments" + (f", {unread} of {self.n_read} cannot be read" if unread else "")
        return f"estimated from {self.n_known:,} of {self.n_clips:,} clips"


def print_preview(args: argparse.Namespace, manifest: Manifest, options: dict[str, object]) -> None:
    """Say what an extraction would do.

    Parameters
    ----------
    args : argparse.Namespace
        Of ``embedx extract``.
    manifest : Manifest
        The clips.
    options : dict
        Recipe fields that were given, by name.
    """
    plan = _recipe_plan(args, options)
    for line in (*_clips(manifest), *_costs(args, manifest, plan), *_done(args, manifest)):
        show(line)
    show("dry run: nothing was computed or written")


def _clips(manifest: Manifest) -> Iterator[str]:
    n_files = len({source.uri for source in manifest})
    n_segments = sum(source.start_seconds > 0 or source.stop_seconds is not None for source in manifest)
    yield f"clips: {len(manifest):,}; files: {n_files:,}; segments of files: {n_segments:,}"
    yield _counted("labels", list(_labels(manifest)), "none: no clip is labelled")
    nothing = "none: clips of one file stay together, what else belongs together is not known"
    groups = Counter(source.group for source in manifest)
    n_without = groups.pop(None, 0)
    without = f"; clips without one: {n_without:,}" if n_without else ""
    yield f"groups: {len(groups):,}{without}" if groups else f"groups: {nothing}"
    yield _counted("parts", [source.split for source in manifest], "none")


def _labels(manifest: Manifest) -> Iterator[str | None]:
    """Yield each clip's label; each of its classes where it may have several."""
    from embedx.manifest import split_classes

    for source in manifest:
        if source.label is None or manifest.label_separator is None:
            yield source.label
        else:
            yield from split_classes(source.label, manifest.label_separator) or ("(no class)",)


def _counted(what: str, values: Sequence[str | None], nothing: str) -> str:
    counts = Counter(values)
    n_without = counts.pop(None, 0)
    if not counts:
        return f"{what}: {nothing}"
    named = [f"{name} ({n:,})" for name, n in counts.most_common(_MOST_NAMES)]
    more = [f"{len(counts) - _MOST_NAMES:,} more"] if len(counts) > _MOST_NAMES else []
    without = [f"none ({n_without:,})"] if n_without else []
    return f"{what}: {len(counts):,}: {', '.join([*named, *more, *without])}"


def _costs(args: argparse.Namespace, manifest: Manifest, plan: RecipePlan | None) -> Iterator[str]:
    from embedx.encoders.resolve import DEFAULT_ENCODER
    from embedx.recipe import Recipe

    base = Recipe(encoder="", revision="", weights_sha256="", layers=(0,)) if plan is None else plan.recipe
    audio = _measure(manifest, base)
    if not audio.n_known:
        yield "audio: length not known, no header could be read"
    else:
        yield f"audio: {_time(audio.seconds)} ({audio.basis})"
    if plan is None:
        name = args.encoder or DEFAULT_ENCODER
        yield f"disk: not known, {name} has not been fetched yet (a dry run asks no network)"
    elif audio.n_known:
        size = audio.n_windows * (_row_bytes(plan) + _BYTES_BESIDE)
        layers = f"{len(base.layers)} layers of {plan.info.dim}, {base.store_dtype}"
        yield f"disk: about {as_size(size)} for {audio.n_windows:,.0f} windows of {base.window_seconds:g} s ({layers})"
    yield "time: not known before a run: it depends on the encoder and the device (the progress bar says it)"


def _row_bytes(plan: RecipePlan) -> int:
    from embedx.recipe import POOLINGS

    recipe = plan.recipe
    return len(recipe.layers) * plan.info.dim * POOLINGS[recipe.pooling] * (2 if recipe.store_dtype == "float16" else 4)


def _measure(manifest: Manifest, recipe: Recipe) -> _Audio:
    """Read the headers of some files, and let them stand for all."""
    from embedx.audio.windows import plan_windows

    step = max(1, -(-len(manifest) // _MOST_HEADERS))
    some = manifest.sources[::step]
    lengths = [length for length in (_length(manifest, source, recipe) for source in some) if length is not None]
    share = len(manifest) / max(1, len(lengths))
    windows = sum(len(plan_windows(round(length * recipe.sample_rate), recipe)) for length in lengths)
    return _Audio(sum(lengths) * share, windows * share, len(some), len(lengths), len(manifest))


def _length(manifest: Manifest, source: Source, recipe: Recipe) -> float | None:
    from embedx.audio.headers import read_duration

    duration = source.stop_seconds
    if duration is None:
        duration = read_duration(manifest.path_of(source))
    if duration is None:
        return None
    skipped = 0.0 if recipe.offset in ("start", "middle") else float(recipe.offset)
    return min(max(0.0, duration - source.start_seconds - skipped), recipe.max_seconds or float("inf"))


def _recipe_plan(args: argparse.Namespace, options: dict[str, object]) -> RecipePlan | None:
    """Return what would be computed; None where the encoder would have to be fetched first."""
    from embedx.encoders.hub import cached_checkpoint
    from embedx.encoders.resolve import BUNDLED, DEFAULT_ENCODER
    from embedx.encoders.short_names import full_name
    from embedx.extract.planning import RecipePlan
    from embedx.recipe import Resources
    from embedx.store.store import read_recipe

    recorded = None if args.overwrite or not args.output else read_recipe(args.output)
    name = full_name(args.encoder or (DEFAULT_ENCODER if recorded is None else recorded.encoder))
    revision = args.revision
    if name.count("/") == 1 and name not in BUNDLED and not os.path.isdir(name):
        cached = cached_checkpoint(name, revision or (None if recorded is None else recorded.revision))
        if cached is None:
            return None
        revision = cached[1]
    resources = Resources(device=args.device, devices=args.devices)
    plan = RecipePlan(options, encoder=args.encoder, revision=revision, recorded=recorded, resources=resources)
    plan.require_recorded(
        str(args.output), "Leave these options out to go on with it, or give another --output, or --overwrite"
    )
    return plan


def _done(args: argparse.Namespace, manifest: Manifest) -> Iterator[str]:
    """Say how many of the clips a store has already."""
    if args.overwrite or not args.output or not os.path.exists(args.output):
        return
    from embedx.store.in_memory import open_store
    from embedx.store.publish import recorded_root

    with open_store(args.output) as file:
        root = recorded_root(file.path, file.root)
        kept = {(str(root / clip.source.uri), *clip.source.key[1:]) for clip in file.clips() if clip.error is None}
    n = sum((str(manifest.path_of(source)), *source.key[1:]) in kept for source in manifest)
    yield f"{args.output}: has {n:,} of these clips; they are computed again only where a file has changed"


def _time(seconds: float) -> str:
    hours, minutes = seconds / 3_600, seconds / 60
    return f"{hours:,.1f} hours" if hours >= 1 else f"{minutes:.1f} minutes" if minutes >= 1 else f"{seconds:.1f} s"
