"""``embedx compare``: judge heads on the same folds and write results/."""

from __future__ import annotations

import argparse
import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import MOST_BYTES, SEED, add_jobs_arguments, names, number, read_layers
from embedx.cli.encoder_stores import (
    add_encoder_arguments,
    embed_with_each,
    name_encoders,
    read_clips,
    refuse_options_of_encoders,
)
from embedx.cli.manifest_options import add_label_arguments, add_segment_arguments, asked_separator, read_labels
from embedx.cli.terminal import show, show_lines
from embedx.cli.tracking_options import add_tracking_argument, tracked
from embedx.errors import EmbedxWarning, Interrupted, ParameterError
from embedx.text import count

if TYPE_CHECKING:
    from embedx.comparison import Comparison, Cost
    from embedx.dataset import Dataset
    from embedx.tracking import Trackers

__all__ = ["add_arguments", "run", "write_results"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "stores",
        nargs="+",
        metavar="EMB.h5",
        help="store(s) that `embedx extract` wrote; with --encoders one folder or CSV of audio",
    )
    parser.add_argument("--heads", default="logreg,lgbm,mlp", help="names with commas (default: %(default)s)")
    parser.add_argument(
        "--folds",
        default="5",
        help="a number (default: 5), split (the parts or folds of the store), or a column of --labels",
    )
    parser.add_argument(
        "--repeats", type=number(1, whole=True), default=1, help="cut the folds anew so many times (default: 1)"
    )
    parser.add_argument("--labels", metavar="CSV", help="labels, groups and folds from this CSV, not from the store")
    parser.add_argument("--label-column", help="column of --labels (or of a CSV of audio) with the class")
    parser.add_argument("--group-column", help="the same, with what must not be cut apart")
    parser.add_argument("--split-column", help="the same, with predefined parts or folds")
    add_segment_arguments(parser, of="--labels")
    add_label_arguments(parser, of="--labels")
    parser.add_argument(
        "--per-class", type=number(1, whole=True), metavar="N", help="draw N clips of every class first"
    )
    parser.add_argument(
        "--valid-fraction",
        type=number(0, 1, open_low=True, open_high=True),
        metavar="SHARE",
        help="judge on one held-out part of this size, not on folds",
    )
    parser.add_argument("--layers", help="only these layers of the store, such as 0,4,8")
    parser.add_argument(
        "--trials", type=number(0, whole=True), default=0, help="tune inside every training part with so many trials"
    )
    parser.add_argument("--no-auto", action="store_true", help="leave out the row that chooses head and layer inside")
    parser.add_argument("--no-curves", action="store_true", help="leave out the learning curve and the layer curve")
    parser.add_argument("--seed", type=SEED, default=0, help="seed of everything (default: 0)")
    add_jobs_arguments(parser, least=-1)
    parser.add_argument("--root", metavar="FOLDER", help="where the stores' audio lies now (for the head finetune)")
    parser.add_argument("-o", "--output", default="results", help="folder for the results (default: %(default)s)")
    add_tracking_argument(parser)
    add_encoder_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, write the files and print the table."""
    with tracked(args, "compare") as trackers:
        return _run(args, trackers)


def _run(args: argparse.Namespace, trackers: Trackers) -> int:
    from embedx.cli.progress import ProgressBar
    from embedx.comparison import MultiLabelComparison, compare
    from embedx.heads.catalog import as_spec
    from embedx.heads.multi_label import require_multi_label_head
    from embedx.report.multi_label_tables import render_set_text
    from embedx.report.tables import render_text
    from embedx.tracking import log_comparison
    from embedx.tuning.parallel import require_jobs

    _require_folds(args)
    heads = names(args.heads)
    if not heads:
        raise ParameterError(f"--heads {args.heads!r} names no head: give names with commas, such as logreg,knn")
    for head in heads:  # what compare() would refuse, before hours of embedding
        as_spec(head)
        if asked_separator(args) is not None:
            require_multi_label_head(head)
    if args.encoders is not None:
        name_encoders(args.encoders)
    require_jobs(args.jobs, args.jobs_backend, args.address)
    require_folder(Path(args.output))
    stores, failed = _read(args)
    fits = Path(f"{Path(args.output)}.fits")
    with _telling_what_is_kept(fits), ProgressBar("compare", unit="fits") as progress:
        comparison = compare(
            stores if len(stores) > 1 else next(iter(stores.values())),
            heads,
            folds=int(args.folds) if _is_number(args.folds) else "split",
            repeats=args.repeats,
            valid_fraction=args.valid_fraction,
            n_trials=args.trials,
            auto=not args.no_auto,
            curves=not args.no_curves,
            seed=args.seed,
            n_jobs=args.jobs,
            jobs_backend=args.jobs_backend,
            address=args.address,
            keep=fits,
            progress=progress,
            on_cost=lambda cost: show(describe_cost(cost)),
        )
    several = isinstance(comparison, MultiLabelComparison)
    show_lines(render_set_text(comparison) if isinstance(comparison, MultiLabelComparison) else render_text(comparison))
    write_results(comparison, Path(args.output), None if several else next(iter(stores.values())))
    log_comparison(trackers, comparison, Path(args.output))
    _forget(fits)
    return 3 if failed else 0


_LEAVES_OUT = {"auto": "--no-auto", "curves": "--no-curves", "tuned": "--trials 0"}


def describe_cost(cost: Cost) -> str:
    """Say what a comparison will take at most, and which options leave the larger parts of that out.

    Parameters
    ----------
    cost : Cost
        From `embedx.comparison.compare`.

    Examples
    --------
    >>> from embedx.comparison import Cost
    >>> parts = {"table": 100.0, "auto": 400.0, "curves": 20.0, "tuned": 0.0}
    >>> describe_cost(Cost(n_fits=75, seconds=520.0, n_processes=2, parts=parts))
    '75 fits to do: at most about 4 min of fitting with 2 processes (--no-auto leaves out 3 min)'
    """
    shares = {option: cost.parts.get(part, 0.0) for part, option in _LEAVES_OUT.items()}
    large = [option for option in sorted(shares, key=lambda o: -shares[o]) if shares[option] > cost.seconds / 10]
    saved = ", ".join(f"{option} leaves out {_minutes(shares[option] / cost.n_processes)}" for option in large)
    shared = f" with {cost.n_processes} processes" if cost.n_processes > 1 else ""
    unknown = f", not counting {', '.join(cost.unknown)}" if cost.unknown else ""
    time = _minutes(cost.seconds / cost.n_processes)
    return f"{count(cost.n_fits, 'fit')} to do: at most about {time} of fitting{shared}{unknown}" + (
        f" ({saved})" if saved else ""
    )


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def _telling_what_is_kept(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        from embedx.comparison.saved_fits import list_fits

        n = len(list_fits(folder))
        told = f"{count(n, 'finished fit')} kept in {folder}: run the same command again to go on"
        raise Interrupted(told if n else "no fit was finished") from stop


def _forget(folder: Path) -> None:
    """Remove the fits that were kept, and nothing else that may lie there."""
    from embedx.comparison.saved_fits import list_fits

    with contextlib.suppress(OSError):
        for path in list_fits(folder):
            path.unlink()
        folder.rmdir()


def _require_folds(args: argparse.Namespace) -> None:
    """Refuse two ways to cut the clips at once."""
    column = not _is_number(args.folds) and args.folds != "split"
    if column and args.split_column:
        raise ParameterError("--folds COLUMN and --split-column both name a column: give one of them")
    if args.split_column:
        args.folds = "split" if args.folds == "5" else args.folds
        if args.folds != "split":
            raise ParameterError("--split-column has folds of its own: leave --folds out")
    if args.valid_fraction is not None and args.folds != "5":
        raise ParameterError("--valid-fraction holds one part out: leave --folds and --split-column out")


def _read(args: argparse.Namespace) -> tuple[dict[str, Dataset], bool]:
    """Return what is compared by name, embedded first where encoders are named, and whether clips failed at that."""
    from embedx.dataset import load_embeddings

    column = args.split_column or (None if _is_number(args.folds) or args.folds == "split" else args.folds)
    layers = read_layers(args.layers)
    failed = False
    if args.encoders is None:
        refuse_options_of_encoders(args)
        labels = read_labels(args, split_column=column)
        names = _names(args.stores)
    else:
        labels = None if args.labels is None else read_labels(args, split_column=column)
        clips = read_clips(args, split_column=column)
        names, failed = embed_with_each(args, clips)
        labels = clips if labels is None else labels
    given: dict[str, Any] = {"layers": layers, "labels": labels, "most_bytes": MOST_BYTES}
    given["label_separator"] = asked_separator(args)
    stores = {name: load_embeddings(path, **given) for name, path in names.items()}
    if args.root:
        stores = {name: one.located_at(args.root) for name, one in stores.items()}
    if args.per_class:
        stores = {name: one.balanced(args.per_class, seed=args.seed) for name, one in stores.items()}
    return stores, failed


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _names(paths: list[str]) -> dict[str, str]:
    if len(set(paths)) < len(paths):
        raise ParameterError("a store is named twice: name each store once")
    stems = [Path(path).stem for path in paths]
    unique = len(set(stems)) == len(stems)
    return dict(zip(stems if unique else paths, paths, strict=True))


def require_folder(folder: Path) -> None:
    """Refuse a place where results cannot be written, before anything is computed."""
    from embedx.report.results import require_results_folder

    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    require_results_folder(folder)
    if not place.is_dir():
        raise ParameterError(f"{place} is a file, not a folder for the results: give another with -o")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ParameterError(f"{place} cannot be written: give another folder for the results with -o")


def write_results(comparison: Comparison, folder: Path, dataset: Dataset | None = None) -> None:
    """Write the five files of a comparison: JSON, Markdown, two CSVs and the page.

    Parameters
    ----------
    comparison : Comparison
        What to write.
    folder : Path
        Made when it is not there.
    dataset : Dataset, optional
        The compared clips: with them the page has a map, players and a look at the data.
    """
    from embedx.report.results import save_results

    names = save_results(comparison, folder)  # first the numbers: what follows takes long and may end badly
    show(f"wrote {', '.join(names)} to {folder}")
    if dataset is None:
        return
    findings = _look_at_the_data(dataset, folder)
    try:
        save_results(comparison, folder, dataset, findings=findings, only=("report.html",))
    except ParameterError as error:  # a full disk, say
        raise ParameterError(f"{_without_pictures(folder)}, since {error}") from error


def _without_pictures(folder: Path) -> str:
    return f"the results are in {folder}; report.html is without the data, the map and the recordings"


def _look_at_the_data(dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Inspect for the report, whose numbers are on disk by then and stay there whatever happens here."""
    from embedx.inspection import inspect_data

    try:
        return list(inspect_data(dataset.labelled()).to_dict()["findings"])
    except KeyboardInterrupt as stop:
        raise Interrupted(_without_pictures(folder)) from stop
    except MemoryError:
        warnings.warn(
            f"too little memory to look at the data: {folder}/report.html is without it", EmbedxWarning, stacklevel=2
        )
        return []
