"""A fine-tuned model on disk: Hugging Face's own format with a model card, and what scikit-learn and embedx need."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from embedx.encoders.base import EncoderInfo
from embedx.encoders.licences import read_license, read_terms
from embedx.errors import ModelFormatError
from embedx.heads.finetune.dataset import Targets
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.settings import Augmentation
from embedx.recipe import Recipe
from embedx.text import as_code
from embedx.versions import installed_versions

__all__ = ["RECORD", "gather_facts", "load_classifier", "render_card", "save_classifier"]

RECORD = "finetune.json"
_FORMAT = 1
_LEARNED = ("history_", "best_epoch_", "collapsed_", "n_restarts_", "n_processes_", "fit_seconds_", "facts_")
_PACKAGES = ("embedx", "torch", "transformers", "accelerate", "peft", "torchaudio", "av")


def save_classifier(classifier: Any, folder: str | os.PathLike[str]) -> None:
    """Write a fitted `FineTuneClassifier`."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    network: Network = classifier.network_
    network.save(place)
    if network.info is None:
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
        kept["augmentation"] = asdict(augmentation)
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


def gather_facts(targets: Targets, info: EncoderInfo) -> dict[str, Any]:
    """Return what a card says that is not in the classifier's parameters; JSON can hold it.

    Parameters
    ----------
    targets : Targets
        What was learned from.
    info : EncoderInfo
        Where training began.
    """
    counts = (targets.shares > 0).sum(axis=0)
    return {
        "clips": {name: int(n) for name, n in zip(targets.labels, counts, strict=True)},
        "n_train": len(targets.train),
        "n_held_out": len(targets.held_out),
        "n_groups": len({source.group for source in targets.sources if source.group is not None}),
        "data_sha256": targets.hash,
        "versions": installed_versions(_PACKAGES),
        "base_license": read_license(Path(info.location)),
        "base_terms": read_terms(Path(info.location)),
        "base_note": info.note,
    }


def render_card(classifier: Any) -> str:
    """Return the card of a fitted `FineTuneClassifier` as Markdown with Hugging Face's front matter."""
    facts, recipe = classifier.facts_, classifier.recipe_
    lines = [
        *_front_matter(facts, recipe.encoder),
        f"# {as_code(recipe.encoder)}, fine-tuned to tell {len(classifier.classes_)} classes apart",
        "",
        *_warnings(classifier),
        "## Data",
        "",
        f"{sum(facts['clips'].values())} clips: "
        + ", ".join(f"{n} {as_code(name)}" for name, n in facts["clips"].items())
        + f". Trained on {facts['n_train']}, {facts['n_held_out']} held out to choose the best epoch"
        + (f", {facts['n_groups']} groups kept together." if facts["n_groups"] else ", no groups were given."),
        "",
        "## Scores",
        "",
        _scores(classifier),
        "",
        "## Training",
        "",
        f"{len(classifier.history_)} epochs, {classifier.fit_seconds_:.0f} s, {classifier.n_processes_} process(es).",
        "",
        *_table({**_parameters(classifier), "recipe": recipe.to_json()}),
        "",
        "## Base",
        "",
        f"{as_code(recipe.encoder)}, revision {recipe.revision}, weights {recipe.weights_sha256}. "
        f"Licence: {_licence(facts)} {facts['base_note']}",
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        "",
        "## Use",
        "",
        "    embedx predict MODEL clip.wav        # the folder that embedx fit wrote",
        *_without_embedx(classifier),
        "",
    ]
    return "\n".join(lines)


def _without_embedx(classifier: Any) -> list[str]:
    if classifier.pooling == "mean":
        return ['    transformers.pipeline("audio-classification", model=FOLDER)        # this folder, without embedx']
    return [
        "",
        "**transformers alone gives other answers**: it knows no learned attention and takes the plain mean of the "
        "frames. `embedx export MODEL --onnx FILE --whole` writes all of it.",
    ]


def _front_matter(facts: Mapping[str, Any], encoder: str) -> list[str]:
    license_line = [f"license: {facts['base_license']}"] if facts["base_license"] else []
    base_line = [f"base_model: {encoder}"] if encoder.count("/") == 1 and not encoder.startswith((".", "/")) else []
    return ["---", "library_name: transformers", "pipeline_tag: audio-classification", "tags:", "- embedx"] + [
        *license_line,
        *base_line,
        "---",
        "",
    ]


def _licence(facts: Mapping[str, Any]) -> str:
    name = f"{facts['base_license']}." if facts["base_license"] else ""
    return f"{name} {facts.get('base_terms', '')}".strip() or "its card names none, see where it came from."


def _warnings(classifier: Any) -> list[str]:
    if not classifier.collapsed_:
        return []
    return ["**The training collapsed: the model predicts (nearly) one class, whatever it hears.**", ""]


def _scores(classifier: Any) -> str:
    judged, n = classifier.facts_.get("judged"), classifier.facts_["n_held_out"]
    said = []
    if judged:
        said.append(
            f"{_accuracy(judged['accuracy'], judged['n_clips'])}, log-loss {judged['log_loss']:.3f} on clips that "
            "it was not trained on."
        )
    if n:
        kept = classifier.history_[classifier.best_epoch_]
        said.append(
            f"{_accuracy(kept['valid_accuracy'], n)}, log-loss {kept['valid_loss']:.3f} on the held-out part. The best "
            "epoch was chosen on the same part, so this is optimistic: an honest score comes from `embedx compare`."
        )
    return " ".join(said) or "Nothing was held out, so nothing was measured: judge it with `embedx compare`."


def _accuracy(accuracy: float, n: int) -> str:
    hits = round(accuracy * n)
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    return f"Accuracy {hits / n:.3f} (95 % interval {low:.3f} to {high:.3f}, Wilson, {n} clips)"


def _parameters(classifier: Any) -> dict[str, Any]:
    skipped = ("recipe", "checkpoint_folder", "resume", "device", "encoder", "window_seconds")
    return {name: value for name, value in classifier.get_params(deep=False).items() if name not in skipped}


def _table(values: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {as_code(str(np.asarray(value).item() if isinstance(value, np.generic) else value))} |"
        for name, value in values.items()
    ]
    return ["| parameter | value |", "|---|---|", *rows]
