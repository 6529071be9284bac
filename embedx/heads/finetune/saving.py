"""A fine-tuned model on disk: Hugging Face's own format, and beside it what scikit-learn and embedx need."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from embedx.errors import ModelFormatError
from embedx.heads.finetune.card import render_card
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.settings import Augmentation
from embedx.recipe import Recipe

__all__ = ["RECORD", "load_classifier", "save_classifier"]

RECORD = "finetune.json"
_FORMAT = 1
_LEARNED = ("history_", "best_epoch_", "collapsed_", "n_restarts_", "n_processes_", "fit_seconds_", "facts_")


def save_classifier(classifier: Any, folder: str | os.PathLike[str]) -> None:
    """Write a fitted `FineTuneClassifier`."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    network: Network = classifier.network_
    network.save(place)
    _write_preprocessor(place, classifier.recipe_)
    record = {
        "format": _FORMAT,
        "parameters": _as_json(classifier.get_params(deep=False)),
        "recipe": json.loads(classifier.recipe_.to_json()),
        "classes": classifier.classes_.tolist(),
        "dtype": classifier.classes_.dtype.str,
        "learned": {name: getattr(classifier, name) for name in _LEARNED},
    }
    (place / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    (place / "README.md").write_text(render_card(classifier), encoding="utf-8")


def _write_preprocessor(place: Path, recipe: Recipe) -> None:
    """Say to transformers how waveforms are prepared."""
    record = {
        "do_normalize": recipe.normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": recipe.sample_rate,
    }
    (place / "preprocessor_config.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _as_json(parameters: dict[str, Any]) -> dict[str, Any]:
    """Leave out what belongs to the machine, and write the rest as plain values."""
    machine = ("checkpoint_folder", "resume", "device", "recipe", "batch_seconds")
    kept = {name: value for name, value in parameters.items() if name not in machine}
    augmentation = kept.pop("augmentation")
    if augmentation is not None:
        kept["augmentation"] = {name: getattr(augmentation, name) for name in Augmentation.__dataclass_fields__}
    return kept


def load_classifier(kind: Any, folder: str | os.PathLike[str]) -> Any:
    """Read a `FineTuneClassifier`."""
    place = Path(folder)
    record = _read_record(place)
    try:
        recipe = Recipe.from_json(json.dumps(record["recipe"]))
        parameters = dict(record["parameters"])
        if "augmentation" in parameters:
            parameters["augmentation"] = Augmentation(**parameters["augmentation"])
        classifier = kind(**parameters, recipe=recipe)
        classifier.recipe_, classifier.classes_ = recipe, _classes(record)
        for name in _LEARNED:
            setattr(classifier, name, record["learned"][name])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{place / RECORD} is damaged or of another version: {error}") from error
    classifier.network_ = Network.load(place, normalized=recipe.normalize)
    n_logits = classifier.network_.model.config.num_labels
    if n_logits != len(classifier.classes_):
        raise ModelFormatError(f"{place}: {n_logits} logits but {len(classifier.classes_)} classes")
    return classifier


def _read_record(place: Path) -> dict[str, Any]:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{place} holds no fine-tuned model of embedx ({RECORD}: {error})") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ModelFormatError(f"{place / RECORD} is of another format than {_FORMAT}: update embedx")
    return record


def _classes(record: dict[str, Any]) -> Any:
    """Labels are text, whole numbers or truth values; nothing else is read."""
    if not re.fullmatch(r"[<>|=]?[Uifb]\d+", str(record["dtype"])):
        raise ValueError(f"labels of dtype {record['dtype']!r}")
    return np.array(record["classes"], dtype=record["dtype"])
