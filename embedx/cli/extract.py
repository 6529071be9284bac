"""``embedx extract``: a folder or a CSV of audio becomes one HDF5 file of embeddings."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import names
from embedx.cli.manifest_options import add_label_arguments, add_segment_arguments, named_columns, named_labels
from embedx.cli.parser import add_renamed
from embedx.cli.terminal import interrupted_means, show
from embedx.errors import ParameterError
from embedx.text import count

if TYPE_CHECKING:
    from embedx.extract.job import ExtractReport
    from embedx.extract.options import ClusterOptions
    from embedx.manifest import Manifest
    from embedx.recipe import Resources
    from embedx.store.rows import Failure

__all__ = [
    "add_arguments",
    "add_file_arguments",
    "add_machine_arguments",
    "add_recipe_arguments",
    "embed_into",
    "has_failures",
    "read_resources",
    "read_sources",
    "recipe_options",
    "run",
]

_MOST_NAMED = 5
"""Failures of one reason that are named before the rest is counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        help="folder of audio (first subfolder = label; train/dog is a part and a label), CSV with a path column, "
        "selection table of Raven, label file of Audacity, or tar archives (of WebDataset) and Parquet files of clips",
    )
    parser.add_argument("-o", "--output", help="HDF5 store; an existing one is resumed (needed but with --dry-run)")
    recipe = parser.add_argument_group("what is computed (recorded; a store keeps its own)")
    _add_encoder_arguments(recipe)
    add_recipe_arguments(recipe)
    _add_source_arguments(parser.add_argument_group("which clips"))
    add_machine_arguments(parser.add_argument_group("how fast (changes no number)"))
    _add_cluster_arguments(parser.add_argument_group("on how many machines (changes no number)"))


def _add_encoder_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoder",
        help="'tiny' (bundled), a folder, a hub id (default facebook/wav2vec2-base), or a name that `embedx encoders` "
        "lists, such as whisper-small (speech) or ast (other sounds)",
    )
    group.add_argument("--revision", help="branch, tag or commit of a hub id")
    group.add_argument("--layers", help="'all' (default) or numbers such as 0,6,12; -1 is the last")


def add_recipe_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare what is computed by whichever encoder."""
    group.add_argument("--pooling", help="mean (default), mean+std, max, mean+max, or cls: the class token, if any")
    group.add_argument("--padding", help="short windows: none (alone), masked (filled up, pooled without), or pooled")
    group.add_argument("--window-seconds", type=float, metavar="S", help="length of a window (default 10)")
    group.add_argument("--hop-seconds", type=float, metavar="S", help="distance of windows (default: the window)")
    group.add_argument("--min-tail-seconds", type=float, metavar="S", help="shortest last window (default 1)")
    for old in ("--window", "--hop", "--min-tail"):
        add_renamed(group, old, f"{old}-seconds", type=float)
    group.add_argument("--offset", help="start (default), middle, or seconds to skip")
    group.add_argument("--max-seconds", type=float, metavar="S", help="use at most S seconds of a clip")
    group.add_argument("--store-dtype", help="float16 (default) or float32")


def _add_source_arguments(group: argparse._ArgumentGroup) -> None:
    for name in ("path", "label", "group", "split"):
        group.add_argument(
            f"--{name}-column", metavar="NAME", help=f"column of the CSV that holds the {name}; '' reads none"
        )
    add_segment_arguments(group)
    add_label_arguments(group)
    group.add_argument(
        "--dry-run", action="store_true", help="only say what would be read and computed; nothing is written"
    )
    add_file_arguments(group)
    group.add_argument("--overwrite", action="store_true", help="begin anew instead of going on")
    group.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="compute part I of N only (I from 0), for job arrays; merge publishes",
    )


def add_file_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare which files are left out, and which are tried again."""
    group.add_argument("--skip-missing", action="store_true", help="leave files out that are not there")
    group.add_argument("--retry-failed", action="store_true", help="try clips again that failed in an earlier run")


def add_machine_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare what of this machine is used, and how."""
    group.add_argument("--device", default="auto", help="auto (default: all visible GPUs, or cpu), cpu, cuda or cuda:N")
    group.add_argument("--devices", type=names, default=(), metavar="A,B", help="these instead, a process each")
    group.add_argument(
        "--compute-dtype", help="auto (default), float32, bfloat16 or float16: what the encoder computes in"
    )
    add_renamed(group, "--dtype", "--compute-dtype")
    group.add_argument("--workers", type=int, metavar="N", help="decoding processes (default: by the cores)")
    group.add_argument("--batch-seconds", type=float, default=120.0, metavar="S", help="audio in a batch (GPU)")
    group.add_argument("--compile", action="store_true", help="let torch compile the layers first (for long jobs)")
    group.add_argument(
        "--silence-timeout-seconds",
        type=float,
        metavar="S",
        help="end an encoder process that is silent for S (default 600, and 20 a second of window; not on Ray)",
    )
    add_renamed(group, "--silence-timeout", "--silence-timeout-seconds", type=float)


def _add_cluster_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--engine", default="local", help="local (default), or ray: workers on a Ray cluster")
    group.add_argument("--address", metavar="HOST:PORT", help="the cluster, or auto; none starts one of this machine")
    group.add_argument("--gpus-per-worker", type=float, metavar="N", help="default 1 where the cluster has any")
    group.add_argument("--cpus-per-worker", type=int, metavar="N", help="default 1")
    group.add_argument("--max-workers", type=int, metavar="N", help="default: as many as there is room for")
    group.add_argument("--unit-timeout-seconds", type=float, metavar="S", help="limit for 64 clips (default 3600)")
    add_renamed(group, "--unit-timeout", "--unit-timeout-seconds", type=float)
    group.add_argument("--parts", help="driver (default), or worker: each writes, into a store on shared storage")


def _cluster_options(args: argparse.Namespace) -> ClusterOptions:
    """Read the options of a cluster, and refuse them where there is none."""
    from embedx.extract.options import ClusterOptions

    names = ("address", "gpus_per_worker", "cpus_per_worker", "max_workers", "unit_timeout_seconds", "parts")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if given and args.engine == "local":
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ParameterError(f"{words}: of use on a Ray cluster only: add --engine ray, or leave it out")
    return ClusterOptions(**given)


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise argparse.ArgumentTypeError(f"{text!r}: give I/N with I from 0 to N - 1, such as 0/4")
    return int(i), int(n)


@interrupted_means("what was reported as done is kept: run the same command again to resume")
def run(args: argparse.Namespace) -> int:
    """Extract, and say what was done; 3 when clips failed."""
    cluster = _cluster_options(args)
    if not args.dry_run and not args.output:
        raise ParameterError("no output was named: give the path of an HDF5 file with -o, such as emb.h5")
    manifest = read_sources(args)
    if args.dry_run:
        from embedx.cli.dry_run import print_preview

        print_preview(args, manifest, {"layers": args.layers, **recipe_options(args)})
        return 3 if manifest.n_bad_names else 0
    report = embed_into(
        args.output,
        manifest,
        args,
        encoder=args.encoder,
        revision=args.revision,
        layers=args.layers,
        overwrite=args.overwrite,
        engine=args.engine,
        cluster=cluster,
        shard=args.shard,
    )
    return 3 if has_failures(report, manifest) else 0


def embed_into(store: str, manifest: Manifest, args: argparse.Namespace, **choices: Any) -> ExtractReport:
    """Embed with a bar, and say what was done.

    Parameters
    ----------
    store : str
        Created, or resumed.
    manifest : Manifest
        The clips.
    args : argparse.Namespace
        With what `add_recipe_arguments`, `add_file_arguments` and `add_machine_arguments` declare.
    **choices
        Of `extract_embeddings`, beside those.
    """
    from embedx.cli.progress import ProgressBar
    from embedx.extract.job import extract_embeddings

    choices |= {"resources": read_resources(args), "retry_failed": args.retry_failed, **recipe_options(args)}
    with ProgressBar("extract", unit="clips") as bar:
        report = extract_embeddings(manifest, store, progress=bar, **choices)
    _print_report(report)
    return report


def has_failures(report: ExtractReport, manifest: Manifest) -> bool:
    """Say whether some clips have no embedding: done, but not all of it."""
    return bool(report.failures or report.n_failed_before or manifest.n_bad_names)


def read_resources(args: argparse.Namespace) -> Resources:
    """Return what `add_machine_arguments` declares."""
    from embedx.recipe import Resources

    names = ("device", "devices", "batch_seconds", "workers", "compile", "silence_timeout_seconds")
    return Resources(**{name: getattr(args, name) for name in names})


def recipe_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_recipe_arguments` and `add_machine_arguments` declare of a recipe; None is not given."""
    from embedx.extract.planning import OPTIONS

    return {name: getattr(args, name) for name in OPTIONS if name != "layers"}


def read_sources(args: argparse.Namespace) -> Manifest:
    """Return the clips, and say how they were read."""
    from embedx.manifest import read_manifest

    columns = {**named_columns(args, "path", "label", "group", "split"), **named_labels(args)}
    manifest = read_manifest(args.sources, **columns, must_exist=not args.skip_missing)
    if manifest.columns:
        unread = f" (not read: {', '.join(map(repr, manifest.unread))})" if manifest.unread else ""
        roles = ", ".join(f"{role} = {name!r}" for role, name in manifest.columns.items())
        show(f"columns: {roles}{unread}")
    for note in manifest.notes:
        show(note)
    if manifest.n_repeats:
        show(f"rows that repeat an earlier clip, left out: {manifest.n_repeats:,}")
    return _without_missing(manifest) if args.skip_missing else manifest


def _without_missing(manifest: Manifest) -> Manifest:
    from dataclasses import replace

    from embedx.containers.clip_files import is_clip
    from embedx.errors import ManifestError

    there = tuple(source for source in manifest if is_clip(manifest.path_of(source)))
    if not there:
        raise ManifestError(f"none of the {len(manifest)} files is there (looked in {manifest.root})")
    if len(there) < len(manifest):
        show(f"{len(manifest) - len(there)} of {len(manifest)} files are missing and were left out")
    return replace(manifest, sources=there)


def _print_report(report: ExtractReport) -> None:
    recipe, n_left = report.recipe, report.n_failed_before
    if report.n_computed or report.failures:
        speed = report.audio_seconds / max(report.seconds, 1e-9)
        show(
            f"{count(report.n_computed, 'clip')} ({report.audio_seconds:.0f} s of audio) embedded in "
            f"{report.seconds:.1f} s ({speed:.1f}x real time), {report.n_done_before} done before"
        )
    elif report.n_done_before or report.n_failed_before:
        show(f"nothing to compute: all {report.n_done_before} clips were done before")
    else:
        show("nothing to compute: no clips fall to this shard (work is cut into units of 64 clips)")
    layers = f"{len(recipe.layers)} layers" if len(recipe.layers) > 1 else f"layer {recipe.layers[0]}"
    show(f"{report.output}: {recipe.encoder} ({recipe.revision[:12]}), {layers}, {recipe.pooling}")
    if report.n_computed and not report.output.is_file():
        show(f"{report.output} is not published yet: when all shards are done, run this command without --shard")
    if report.note:
        show(f"note on {recipe.encoder}: {report.note}")
    _print_failures(report)
    if n_left:
        show(f"{count(n_left, 'clip')} failed in an earlier run (--retry-failed tries them again)")


def _told(failure: Failure) -> str:
    """Return one line that names the clip once."""
    clip, message = failure.source.id, failure.message
    text = message if message.startswith(clip) else f"{clip}: {message}"
    return text.replace("\n", "\\n")


def _print_failures(report: ExtractReport) -> None:
    if not report.failures:
        return
    n = len(report.failures)
    show(f"{count(n, 'clip')} failed and {'has' if n == 1 else 'have'} no rows:")
    for reason, n_of_it in Counter(failure.reason for failure in report.failures).most_common():
        named = [failure for failure in report.failures if failure.reason == reason][:_MOST_NAMED]
        for failure in named:
            show(f"  {reason:<12} {_told(failure)}")
        if n_of_it > len(named):
            show(f"  {reason:<12} and {n_of_it - len(named)} more: embedx info {report.output} --failures")
