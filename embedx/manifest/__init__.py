"""A table, a folder or a data frame becomes an ordered list of checked, unique sources.

| module | what it knows |
|---|---|
| `source.py` | one clip, and what two rows of one clip may not say |
| `manifest.py` | the ordered clips below one root |
| `reading.py` | which kind of thing a location is |
| `folder.py`, `parts.py`, `endings.py` | a folder's files, its parts and labels, which file is audio |
| `label_sets.py` | several labels a clip, as one text |
| `table.py` | delimited text: the one reader, for manifests and for lists of links |
| `columns.py`, `timing.py` | which column is what; cells that hold times |
| `doubts.py` | warnings of what may have been meant otherwise |
| `audio_datasets.py` | datasets of Hugging Face with a column of audio |
| `annotations.py` | Raven selection tables and Audacity label files |
| `paths.py` | names of files, as they are on disk and as messages show them |
"""

from embedx.manifest.file_types import AUDIO_SUFFIXES
from embedx.manifest.label_sets import (
    DEFAULT_SEPARATOR,
    as_set,
    describe_sets,
    join_classes,
    require_separator,
    split_classes,
)
from embedx.manifest.manifest import Manifest
from embedx.manifest.paths import shorten, shorten_pair
from embedx.manifest.read import read_manifest
from embedx.manifest.source import ClipKey, Source, describe_alike, with_labels
from embedx.manifest.time_columns import parse_seconds

__all__ = [
    "AUDIO_SUFFIXES",
    "DEFAULT_SEPARATOR",
    "ClipKey",
    "Manifest",
    "Source",
    "as_set",
    "describe_alike",
    "describe_sets",
    "join_classes",
    "parse_seconds",
    "read_manifest",
    "require_separator",
    "shorten",
    "shorten_pair",
    "split_classes",
    "with_labels",
]
