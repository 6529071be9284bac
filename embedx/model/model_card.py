"""The card of a saved model, README.md: what it learned from, what to expect of it, and what it was not judged on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedx.encoders.licences import read_license, read_terms
from embedx.encoders.resolve import bundled_folder
from embedx.encoders.short_names import BUNDLED, KNOWN, KnownEncoder
from embedx.model.card_seal import sealed
from embedx.model.hub_models import render_front_matter
from embedx.recipe import Recipe, pinned_revision
from embedx.text import as_code, count

__all__ = ["render_card"]

_MOST_CLASSES_SHOWN = 50
_TITLES = {"valid": "this model", "majority": "the most frequent class, whatever is heard"}
_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "balanced_accuracy": "balanced_accuracy"}
"""Scores in the front matter, by the hub's name of the metric."""


def render_card(model: Any, versions: Mapping[str, str]) -> str:
    r"""Return the card of a model as Markdown with the Hugging Face hub's front matter.

    Its last line is a comment with a hash of the rest, by which a card that was changed is known.

    Parameters
    ----------
    model : Model
        Of any head; of a fine-tuned network the training is told, too.
    versions : mapping of str to str
        Libraries that trained it.

    Examples
    --------
    >>> from embedx import fit_model
    >>> from embedx.testing import make_dataset
    >>> dataset = make_dataset()
    >>> card = render_card(fit_model(dataset, valid=dataset), {})
    >>> print(*card.split("## Scores")[1].splitlines()[2:5], sep="\n")
    | on 60 clips that it was not trained on | accuracy | 95 % interval | macro F1 | log-loss |
    |---|---|---|---|---|
    | this model | 0.983 | 0.911 to 0.997 | 0.983 | 0.350 |
    """
    parts = [*(_finetuned_body(model) if model.input_kind == "sources" else _body(model, versions)), *_limits(model)]
    text = f"---\n{render_front_matter(**_facts(model))}---\n\n" + "\n".join(parts)
    text = text.encode("utf-8", "backslashreplace").decode()  # a folder's name may be no text
    return sealed(text)


def _facts(model: Any) -> dict[str, Any]:
    """Return what stands in the front matter."""
    recipe, is_network = model.recipe, model.input_kind == "sources"
    license_name = (_short_license(recipe) or None) if is_network else None
    valid = model.scores.get("valid", {})
    return {
        "library_name": "transformers" if is_network else "embedx",
        "license": license_name,
        "base_model": recipe.encoder if _is_on_hub(recipe) and model.input_kind != "control" else None,
        "model_name": f"{model.head} on {_shown_encoder(recipe)}",
        "scores": {metric: valid[name] for name, metric in _METRICS.items() if isinstance(valid.get(name), float)},
    }


def _is_on_hub(recipe: Recipe) -> bool:
    return pinned_revision(recipe.revision) is not None and recipe.encoder.count("/") == 1


def _shown_encoder(recipe: Recipe) -> str:
    """Name an encoder; of a folder only its own name, not where somebody keeps it."""
    return recipe.encoder if _is_on_hub(recipe) else os.path.basename(os.path.normpath(recipe.encoder))


def _body(model: Any, versions: Mapping[str, str]) -> Iterator[str]:
    recipe, parameters = model.recipe, model.parameters
    heard = (
        "log-mel statistics" if model.input_kind == "control" else f"embeddings of {as_code(_shown_encoder(recipe))}"
    )
    yield from (f"# {as_code(model.head)} on {heard}, {count(len(model.classes), 'class', 'classes')}", "")
    yield from ("A classifier of audio clips, trained and saved by embedx.", "")
    yield from ("    embedx predict MODEL clip.wav        # the folder of this file, or hf:OWNER/NAME", "")
    yield from ("## Data", "", _data(model.training), "", *_scores(model.scores))
    yield from ("## Recipe", "", "| | |", "|---|---|")
    rows = {"head": model.head, **parameters, "seed": model.seed, "calibration": _calibration(model), **_recipe(recipe)}
    yield from (f"| {_cell(name)} | {_cell(as_code(str(value)))} |" for name, value in rows.items())
    told = ", ".join(f"{name} {_cell(version)}" for name, version in versions.items())
    yield from ("", "## Licence", "", _licence(recipe), "", "## Versions", "", told, "")


def _finetuned_body(model: Any) -> Iterator[str]:
    """Tell what the head itself tells of its training, without its front matter."""
    from embedx.heads.finetune.saving import render_card as render_training

    yield render_training(model.estimator).split("---\n", 2)[2].strip("\n")
    yield from ("", *_confusions(model.scores.get("valid", {})))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _recipe(recipe: Recipe) -> dict[str, Any]:
    windows = f"{recipe.window_seconds:g} s every {recipe.hop_seconds:g} s"
    return {
        "encoder": _shown_encoder(recipe),
        "revision": recipe.revision,
        "weights sha256": recipe.weights_sha256,
        "layers": ", ".join(map(str, recipe.layers)),
        "pooling": recipe.pooling,
        "windows": windows,
        "sample rate": f"{recipe.sample_rate} Hz",
        "fingerprint": recipe.fingerprint(),
    }


def _calibration(model: Any) -> str:
    calibration = model.calibration
    if calibration is None:
        return "none"
    return calibration.method + (f" {calibration.temperature:.3g}" if calibration.method == "temperature" else "")


def _data(training: Mapping[str, Any]) -> str:
    counts = dict(training.get("clips_a_class") or {})
    shown = [f"{n} {as_code(name)}" for name, n in list(counts.items())[:_MOST_CLASSES_SHOWN]]
    more = [f"{len(counts) - len(shown)} classes more"] if len(counts) > len(shown) else []
    told = f"{training.get('n_clips', 'Unknown many')} clips" + (f": {', '.join([*shown, *more])}" if shown else "")
    return f"{told}. {_groups(training)}"


def _groups(training: Mapping[str, Any]) -> str:
    if "n_groups" not in training:
        return "How many recordings or speakers they are of was not noted."
    n = training["n_groups"]
    if n:
        return f"They are of {count(n, 'group')} (recordings, speakers)."
    return "No groups (recordings, speakers) were named."


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Scores", "")
    measured = {part: of for part, of in scores.items() if isinstance(of, Mapping) and "accuracy" in of}
    if not measured:
        yield "Nothing was held out, so nothing was measured: judge it with `embedx compare`, or on clips of your own."
        yield ""
        return
    n = next(iter(measured.values())).get("n_clips", 0)
    yield f"| on {count(n, 'clip')} that it was not trained on | accuracy | 95 % interval | macro F1 | log-loss |"
    yield "|---|---|---|---|---|"
    for part, of in measured.items():
        yield f"| {_TITLES.get(part, _cell(as_code(part)))} | " + " | ".join(_numbers(of)) + " |"
    yield from ("", "Wilson's interval, which takes clips as independent: of few speakers, it is too narrow.", "")
    yield from _confusions(measured.get("valid", {}))


def _numbers(of: Mapping[str, Any]) -> Iterator[str]:
    from embedx.evaluation.statistics import wilson

    n = of.get("n_clips", 0)
    low, high = wilson(of["accuracy"] * n, n) if n else (0.0, 1.0)
    yield from (f"{of['accuracy']:.3f}", f"{low:.3f} to {high:.3f}")
    yield from (f"{of[name]:.3f}" if name in of else "" for name in ("macro_f1", "log_loss"))


def _confusions(valid: Mapping[str, Any]) -> Iterator[str]:
    if "confusions" not in valid:
        return
    yield from ("## Confusions", "")
    found = [
        f"- {as_code(true)} was taken for {as_code(guess)}: {count(n, 'clip')}"
        for true, guess, n in valid["confusions"]
    ]
    yield from (*(found or ["None on the held-out clips."]), "")


def _licence(recipe: Recipe) -> str:
    name, terms = _licence_of_encoder(recipe)
    told = " ".join([f"{name}."] * bool(name) + [terms] * bool(terms)) or "not known here, see where it came from."
    return (
        f"Of the encoder, which is not in this folder: {told}\n\n"
        "Of what is in this folder, whoever shares it decides: add `license:` to the lines at the top."
    )


def _short_license(recipe: Recipe) -> str:
    """Return the hub's short name of the encoder's licence."""
    return _licence_of_encoder(recipe)[0].lower().replace(" ", "-")


def _licence_of_encoder(recipe: Recipe) -> tuple[str, str]:
    """Return the name of the encoder's licence, and what its card says of it in words."""
    known = _known(recipe)
    if known is not None:
        return known.licence, ""
    folder = bundled_folder(recipe.encoder) if recipe.encoder in BUNDLED else Path(recipe.encoder)
    return (read_license(folder), read_terms(folder)) if not _is_on_hub(recipe) else ("", "")


def _known(recipe: Recipe) -> KnownEncoder | None:
    return next((one for one in KNOWN.values() if one.repo == recipe.encoder), None)


def _limits(model: Any) -> Iterator[str]:
    recipe, known = model.recipe, _known(model.recipe)
    classes = count(len(model.classes), "class", "classes")
    yield from ("## Limits", "")
    yield f"- It answers with one of its {classes}, whatever it hears: what is none of them gets such a name, too."
    yield "- Languages, speakers, microphones, rooms and sounds that are not in its data were not judged."
    if known is not None and model.input_kind != "control":
        yield f"- Its encoder learned from {known.sounds}; what it makes of other sounds is not told by that."
    yield (
        f"- A clip is cut into windows of {recipe.window_seconds:g} s every {recipe.hop_seconds:g} s, and gets one "
        "answer for all: what is only in a part of a long clip may be lost in the mean."
    )
    if model.input_kind == "sources":
        yield "- transformers' pipeline hears a long file in one piece: its answers there are others than embedx's."
    if model.calibration is None:
        yield "- Its probabilities are not calibrated: 0.9 need not be right nine times of ten."
    if not _is_on_hub(recipe) and recipe.encoder not in BUNDLED and model.input_kind == "embeddings":
        yield "- Its encoder is a folder of whoever trained it: it has to lie at the same place wherever this is used."
    yield ""
