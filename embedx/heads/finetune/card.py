"""The model card: data, recipe, scores with intervals, versions, licence of the base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from embedx.encoders.base import EncoderInfo
from embedx.heads.finetune.targets import Targets
from embedx.versions import installed_versions

__all__ = ["gather_facts", "render_card"]

_PACKAGES = ("embedx", "torch", "transformers", "accelerate", "peft", "torchaudio", "av")


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


def read_license(folder: Path) -> str:
    """Return the licence that a checkpoint's own card names; empty when it names none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", text, flags=re.MULTILINE)
    return found.group(1) if found else ""


def read_terms(folder: Path) -> str:
    """Return what a checkpoint's own card says of its licence in words, in one line; empty when it says nothing."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^#+\s*Licen[cs]e\s*\n+(.+?)(?:\n\s*\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def render_card(classifier: Any) -> str:
    """Return the card of a fitted `FineTuneClassifier` as Markdown with Hugging Face's front matter."""
    facts, recipe = classifier.facts_, classifier.recipe_
    tick = "`"
    lines = [
        *_front_matter(facts, recipe.encoder),
        f"# {recipe.encoder}, fine-tuned to tell {len(classifier.classes_)} classes apart",
        "",
        *_warnings(classifier),
        "## Data",
        "",
        f"{sum(facts['clips'].values())} clips: "
        + ", ".join(f"{n} {tick}{name}{tick}" for name, n in facts["clips"].items())
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
        f"{recipe.encoder}, revision {recipe.revision}, weights {recipe.weights_sha256}. "
        f"Licence: {_licence(facts)} {facts['base_note']}",
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        "",
        "## Use",
        "",
        "    embedx predict MODEL clip.wav        # the folder that embedx fit wrote",
        '    transformers.pipeline("audio-classification", model=FOLDER)        # this folder, without embedx',
        "",
    ]
    return "\n".join(lines)


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
        f"| {name} | `{np.asarray(value).item() if isinstance(value, np.generic) else value}` |"
        for name, value in values.items()
    ]
    return ["| parameter | value |", "|---|---|", *rows]
