"""What a command labels: files, a folder, a table, a store, or paths from standard input."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import MOST_BYTES, is_store
from embedx.containers.clip_files import is_clip
from embedx.errors import ManifestError
from embedx.files import kind_of_no_file

if TYPE_CHECKING:
    from embedx.dataset import Dataset
    from embedx.manifest import Manifest, Source
    from embedx.model import Model

__all__ = ["Clips", "read_clips"]


@dataclass(frozen=True, slots=True)
class Clips:
    """What to label, the folder that paths are shown below, and clips of a store that have no embedding."""

    sources: Manifest | Dataset
    shown_below: Path | None = None
    failed: tuple[tuple[Source, str], ...] = ()

    def all_sources(self) -> Iterable[Source]:
        """Return all clips, those of a store without an embedding among them."""
        own = self.sources.sources  # of a manifest or a dataset
        return (*own, *(source for source, _ in self.failed))

    def path(self, source: Source) -> str:
        """Return what is shown of a clip."""
        return source.uri if self.shown_below is None else str(self.shown_below / source.uri)

    def full_path(self, source: Source) -> str:
        """Return where the audio of a manifest's clip is."""
        return str(self.sources.path_of(source))  # type: ignore[union-attr]


def read_clips(places: list[str], model: Model, columns: dict[str, Any]) -> Clips:
    """Find what the arguments of a command name.

    Raises
    ------
    ManifestError
        Something that does not exist, or a store among other things.
    """
    from embedx.manifest import Manifest, read_manifest
    from embedx.manifest.shards import is_shard_name

    if places == ["-"]:
        listed = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        if not listed:
            raise ManifestError("standard input holds no path: give one path a line")
        return Clips(Manifest.from_paths(listed))
    if len(places) == 1 and Path(places[0]).is_dir():
        return Clips(read_manifest(places[0], **columns), Path(places[0]))
    nothing: dict[str, Any] = dict.fromkeys(("label_column", "group_column", "split_column"), "")
    if is_shard_name(places[0]) and not is_store(places[0]):
        manifest = read_manifest(places, **columns, **nothing)
        return Clips(manifest, Path(os.path.relpath(manifest.root)))
    if len(places) == 1 and Path(places[0]).suffix.lower() in (".csv", ".tsv", ".txt"):
        return Clips(read_manifest(places[0], **columns, **nothing, must_exist=False))
    missing = [place for place in places if not is_clip(place)]
    if missing:
        kind = kind_of_no_file(missing[0])
        way = "give one folder alone" if kind == "a folder" else "name files, or list them with -"
        what = "does not exist" if kind is None else f"is {kind}: {way}"
        raise ManifestError(f"{missing[0]} {what} ({len(missing)} of {len(places)} arguments are no files)")
    stores = [place for place in places if is_store(place)]
    if stores and len(places) > 1:
        raise ManifestError(f"{stores[0]} is a store: give one store alone")
    return _read_store(stores[0], model) if stores else Clips(Manifest.from_paths(places))


def _read_store(place: str, model: Model) -> Clips:
    """Read the embeddings of a store; a head that learned from audio hears the store's audio."""
    from embedx.dataset import load_embeddings
    from embedx.manifest import Manifest
    from embedx.store.hdf5_file import StoreFile

    with StoreFile(Path(os.path.realpath(place))) as file:
        held = file.recipe.layers
        failed = tuple((clip.source, str(clip.error)) for clip in file.clips() if clip.error is not None)
    layers = model.recipe.layers if set(model.recipe.layers) <= set(held) else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have no embedding and are left out")  # they are rows here
        separator = model.label_separator
        dataset = load_embeddings(place, layers=layers, label_separator=separator, most_bytes=MOST_BYTES)
    root = Path(dataset.root)
    return Clips(Manifest(dataset.sources, root) if model.input_kind == "sources" else dataset, root, failed)
