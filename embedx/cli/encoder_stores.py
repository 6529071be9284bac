"""``embedx compare CLIPS --encoders A,B``: a store for each encoder, made or gone on with, before they are compared."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from embedx.cli.argument_types import is_store, names
from embedx.cli.extract import (
    add_file_arguments,
    add_machine_arguments,
    add_recipe_arguments,
    embed_into,
    has_failures,
    read_resources,
    read_sources,
    recipe_options,
)
from embedx.cli.output_paths import require_output
from embedx.cli.terminal import interrupted_means, show
from embedx.errors import EmbedxError, ParameterError
from embedx.manifest.shards import is_shard_name

if TYPE_CHECKING:
    from embedx.manifest import Manifest

__all__ = [
    "add_encoder_arguments",
    "embed_with_each",
    "name_encoders",
    "read_clips",
    "refuse_options_of_encoders",
]

_ROLES = ("path", "label", "group", "split", "start", "stop", "duration")


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is embedded by which encoders, and how."""
    group = parser.add_argument_group("with --encoders: embed CLIPS by each first (a store that is there is resumed)")
    group.add_argument(
        "--encoders", type=names, metavar="A,B", help="names as `embedx extract --encoder` takes them, with commas"
    )
    group.add_argument(
        "--store-folder", metavar="FOLDER", help="where the stores lie, as NAME.h5 (default: the folder of the results)"
    )
    group.add_argument("--path-column", metavar="NAME", help="column of the CSV that holds the path")
    add_file_arguments(group)
    add_recipe_arguments(group)
    add_machine_arguments(group)


def refuse_options_of_encoders(args: argparse.Namespace) -> None:
    """Refuse, where stores are compared, the options of an extraction.

    Raises
    ------
    ParameterError
        Names them, and says when they are of use.
    """
    plain = argparse.ArgumentParser(add_help=False)
    add_encoder_arguments(plain)
    defaults = vars(plain.parse_args([]))
    given = [f"--{name.replace('_', '-')}" for name, default in defaults.items() if getattr(args, name) != default]
    if given:
        raise ParameterError(f"{', '.join(given)}: a store has its own recipe; of use with --encoders A,B only")
    audio = next((place for place in args.stores if _is_audio(place)), None)
    if audio is not None:
        raise ParameterError(f"{audio} is no store: name the encoders to embed it by, such as --encoders ast,clap")


def _is_audio(place: str) -> bool:
    is_table = place.lower().endswith((".csv", ".tsv")) and os.path.isfile(place)
    return os.path.isdir(place) or ((is_table or is_shard_name(place)) and not is_store(place))


def read_clips(args: argparse.Namespace, *, split_column: str | None) -> Manifest:
    """Return the clips to embed; their columns are those that were named, unless ``--labels`` has these.

    Raises
    ------
    ParameterError
        More than one source, or a store.
    ManifestError
        The source cannot be used, or has no label in it and no ``--labels`` stand beside it.
    """
    if len(args.stores) > 1:
        raise ParameterError(f"--encoders takes one folder or CSV of audio, not {len(args.stores)}: name one")
    source = args.stores[0]
    if is_store(source):
        raise ParameterError(
            f"{source} is a store, embedded already: give --encoders a folder or a CSV of audio, or leave it out to "
            "compare stores"
        )
    columns = {f"{role}_column": getattr(args, f"{role}_column") for role in _ROLES} | {"split_column": split_column}
    if args.labels is not None:
        columns = {**dict.fromkeys(columns), "path_column": args.path_column, "label_columns": None}
    manifest = read_sources(argparse.Namespace(**{**vars(args), **columns, "sources": source}))
    if args.labels is None:
        manifest.require_labels(source)
    return manifest


def embed_with_each(args: argparse.Namespace, manifest: Manifest) -> tuple[dict[str, str], bool]:
    """Embed the clips by each encoder; return the stores by name, and whether clips failed.

    Raises
    ------
    ParameterError, EncoderError, RecipeMismatchError
        Before any clip is embedded: an encoder cannot be had or used so, or its store has another recipe.
    """
    encoders = name_encoders(args.encoders)
    folder = Path(args.store_folder or args.output)
    require_output(folder, "folder", option="--store-folder" if args.store_folder else "-o")
    stores = {name: str(folder / f"{name}.h5") for name in encoders}
    for name, store in stores.items():
        require_output(store, "store", option=f"the store of {name}")
        _require_usable(args, encoders[name], store)
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for i, (name, store) in enumerate(stores.items()):
        show(f"encoder {i + 1} of {len(stores)}: {name}")
        with _keeping(name, folder):
            failed |= has_failures(embed_into(store, manifest, args, encoder=encoders[name]), manifest)
    return stores, failed


def _require_usable(args: argparse.Namespace, encoder: str, store: str) -> None:
    """Refuse what an extraction would refuse, before that of another encoder has taken hours."""
    from embedx.extract.planning import RecipePlan
    from embedx.store.store import read_recipe

    recorded = read_recipe(store)
    plan = RecipePlan(recipe_options(args), encoder=encoder, recorded=recorded, resources=read_resources(args))
    _ = plan.recipe  # looks the encoder up, and refuses what it cannot do
    plan.require_recorded(store, "Leave these options out to go on with it, or give another --store-folder")


@contextlib.contextmanager
def _keeping(name: str, folder: Path) -> Iterator[None]:
    """Say of whatever ends an extraction which encoder's it was, and that its rows are not lost."""
    kept = f"what was reported as done is kept in {folder}: run the same command again to go on"
    try:
        with interrupted_means(kept):
            yield
    except EmbedxError as error:
        raise ParameterError(f"encoder {name}: {error}; {kept}") from error


def name_encoders(encoders: tuple[str, ...]) -> dict[str, str]:
    """Return the encoders by the name that their store and their rows shall have.

    Examples
    --------
    >>> name_encoders(("openai/whisper-small", "a/last", "b/last"))
    {'whisper-small': 'openai/whisper-small', 'a-last': 'a/last', 'b-last': 'b/last'}

    Raises
    ------
    ParameterError
        None, one twice, or two that cannot be told apart by name.
    """
    from embedx.encoders.short_names import KNOWN, full_name

    if not encoders:
        raise ParameterError("--encoders names no encoder: give names with commas, such as wav2vec2-base,ast")
    places = [os.path.realpath(one) if os.path.isdir(one) else full_name(one) for one in encoders]
    twice = next((one for one, place in zip(encoders, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ParameterError(f"--encoders names {twice} twice: name each encoder once")
    short = {known.repo: name for name, known in KNOWN.items()}
    stems = [short.get(place, place.rstrip("/").rpartition("/")[2]) for place in places]
    long = [one.strip("/.").replace("/", "-") for one in encoders]
    chosen = [stem if stems.count(stem) == 1 else other for stem, other in zip(stems, long, strict=True)]
    if len(set(chosen)) < len(chosen) or not all(chosen):
        raise ParameterError(f"--encoders {','.join(encoders)}: names too alike for a store each; link the folders")
    return dict(zip(chosen, encoders, strict=True))
