"""``model.json``: what a saved model says of itself, read as an untrusted file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embedx.errors import ModelFormatError, ParameterError
from embedx.files import special_kind
from embedx.manifest import require_separator
from embedx.model.hub_models import resolve_folder
from embedx.recipe import Recipe

__all__ = [
    "FORMAT",
    "JSON_NAME",
    "MULTI_LABEL_VERSION",
    "VERSION",
    "check_record",
    "describe",
    "read_limited",
    "read_record",
]

FORMAT = "embedx.model"
VERSION = (1, 2)
"""Major and minor: a reader takes every minor of its major (older ones are migrated), and no other major."""

MULTI_LABEL_VERSION = (2, VERSION[1] - 1)
"""Of a model whose clips may have several labels: 2.m is 1.(m + 1) and two fields more. A reader of 1.x alone must not
take it for a model of one label a clip, which its arrays look like; models of one label stay what they were."""

JSON_NAME = "model.json"
MAX_JSON_BYTES = 16 * 2**20

_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    0: lambda record: {**record, "calibration": None},  # 1.1 added calibration
    1: lambda record: {**record, "novelty": None},  # 1.2 added novelty
}
"""By minor version: how a record of it becomes one of the next."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a model, migrated to this version; refuse what is none."""
    if not (folder / JSON_NAME).is_file():
        kind = special_kind(folder)
        what = "is no folder" if kind is None else f"is {kind}"
        what = "has no model.json" if folder.is_dir() else what if folder.exists() else "does not exist"
        hint = f", or hf:{folder} for a model of the hub" if not folder.exists() and len(folder.parts) == 2 else ""
        raise ModelFormatError(f"{folder} is no saved model: it {what}. Give the folder that embedx fit -o wrote{hint}")
    try:
        record = json.loads(read_limited(folder / JSON_NAME, MAX_JSON_BYTES), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{folder / JSON_NAME} cannot be read as JSON: {str(error)[:200]}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ModelFormatError(f"{folder / JSON_NAME} does not describe an embedx model (no format {FORMAT!r})")
    return _migrated(folder, record)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def read_limited(path: Path, limit: int) -> bytes:
    """Return a regular file's bytes, unless there are more than ``limit``."""
    if not path.is_file():
        raise ModelFormatError(f"{path} is missing or no regular file: save the model again")
    size = path.stat().st_size
    if size > limit:
        raise ModelFormatError(f"{path} has {size} bytes, more than the {limit} that a model may have")
    return path.read_bytes()


def _migrated(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    text = record.get("version")
    parts = str(text).split(".") if isinstance(text, str) else []
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 5 for part in parts):
        raise ModelFormatError(f"{folder / JSON_NAME} has no version such as '1.0'")
    major, minor = map(int, parts)
    if major == MULTI_LABEL_VERSION[0]:
        minor += 1  # what it has beside its own fields
    elif major != VERSION[0]:
        raise ModelFormatError(
            f"{folder} was saved in model format {major}.{minor}, this embedx reads {VERSION[0]}.x and "
            f"{MULTI_LABEL_VERSION[0]}.x: "
            "use the embedx that saved it, or train the model again"
        )
    for step in range(minor, VERSION[1]):
        record = _MIGRATIONS[step](record)
    return record


def check_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Model` that a record holds; ValueError, TypeError or KeyError when one is unusable."""
    classes = record["classes"]
    if not (isinstance(classes, list) and len(set(classes)) == len(classes) >= 2 and _all(classes, str)):
        raise ValueError("classes are no list of two or more different texts")
    if record["eats"] not in ("embeddings", "control", "sources") or not isinstance(record["head"], str):
        raise ValueError("head or eats is not known")
    for name in ("n_features", "seed"):
        if type(record[name]) is not int or not 0 <= record[name] < 2**32:
            raise ValueError(f"{name} is no whole number")
    if not 0 < record["n_features"] <= 10_000_000:
        raise ValueError(f"n_features is {record['n_features']}")
    for name in ("parameters", "scores", "training", "versions"):
        if not isinstance(record[name], dict):
            raise ValueError(f"{name} is no JSON object")
    kept = ("head", "n_features", "seed", "parameters", "scores", "training", "versions")
    return {
        **{name: record[name] for name in kept},
        "input_kind": record["eats"],  # its name in format 1
        "classes": tuple(classes),
        **_check_sets(record),
        "recipe": Recipe.from_json(json.dumps(record["recipe"])),
    }


def _check_sets(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model of several labels a clip has beside the others."""
    is_several = str(record["version"]).startswith(f"{MULTI_LABEL_VERSION[0]}.")
    if is_several != ("label_separator" in record):
        raise ValueError("version and label_separator belong to different formats")
    if not is_several:
        return {}
    thresholds = record["thresholds"]
    good = isinstance(thresholds, list) and len(thresholds) == len(record["classes"]) and _all(thresholds, float)
    if not good or not all(0 <= value <= 1 for value in thresholds):
        raise ValueError("thresholds are no list of a number from 0 to 1 for each class")
    try:
        separator = require_separator(record["label_separator"])
    except ParameterError as error:
        raise ValueError(str(error)) from error
    if record["calibration"] is not None or record["eats"] == "sources":
        raise ValueError("a model of several labels a clip has no calibration and learns from embeddings")
    return {"label_separator": separator, "thresholds": tuple(thresholds)}


def _all(values: list[Any], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def describe(folder: str | os.PathLike[str]) -> list[str]:
    """Say in a few lines what a saved model is, without loading its weights.

    Parameters
    ----------
    folder : path-like
        What `Model.save` wrote, or ``hf:OWNER/NAME[@REVISION]``.

    Raises
    ------
    ModelFormatError
        No model, or one that cannot be read.
    """
    place = resolve_folder(folder)
    try:
        record = read_record(place)
        facts = check_record(record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(f"{place} is no usable model: {str(error)[:300]}") from error
    recipe: Recipe = facts["recipe"]
    shown = ", ".join(facts["classes"][:10]) + (", ..." if len(facts["classes"]) > 10 else "")
    parameters = ", ".join(f"{name}={value}" for name, value in facts["parameters"].items()) or "defaults"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        f"model: {facts['head']} ({parameters}), seed {facts['seed']}",
        f"classes: {len(facts['classes'])} ({shown}){_several(facts)}",
        f"encoder: {recipe.encoder} (revision {recipe.revision}), layers {', '.join(map(str, recipe.layers))}",
        f"windows: {recipe.window_seconds:g} s every {recipe.hop_seconds:g} s, pooled by {recipe.pooling}",
        f"trained on: {facts['training'].get('n_clips', '?')} clips",
        *_score_lines(facts["scores"]),
        *([] if record["novelty"] else [_no_novelty(facts["input_kind"])]),
        f"made with: {versions}",
    ]


def _several(facts: Mapping[str, Any]) -> str:
    separator = facts.get("label_separator")
    return "" if separator is None else f", several a clip, joined by {separator!r}"


def _no_novelty(input_kind: str) -> str:
    if input_kind == "sources":
        return "novelty: none, a fine-tuned network does not tell unknown sounds"
    return "novelty: none, it was saved by an embedx before it or learned from clips of which none can be held out"


def _score_lines(scores: Mapping[str, Any]) -> list[str]:
    lines = []
    for part, values in scores.items():
        if isinstance(values, Mapping):
            numbers = [f"{name} {value:.3f}" for name, value in values.items() if isinstance(value, float)]
            lines.append(f"{part}: {', '.join(numbers)}")
    return lines
