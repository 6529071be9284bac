"""The folder of a saved model: ``model.json``, ``arrays.safetensors``, ``booster.txt`` or ``head.skops``, a card."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from embedx.errors import ModelFormatError, ParameterError
from embedx.heads.calibration import Calibration
from embedx.heads.catalog import CATALOG, make_head
from embedx.heads.multi_label import make_multi_label_head
from embedx.heads.novelty import MOST_QUANTILES, ClassDistances, Novelty
from embedx.heads.safe_loading import check_estimator, refuse_unreadable
from embedx.heads.serialization import HeadState, dump_head, restore_head
from embedx.model.atomic_folder import draft_for, read_whole, require_place
from embedx.model.card_seal import CARD_NAME
from embedx.model.hub_models import push_folder, resolve_folder
from embedx.model.model_card import render_card
from embedx.model.model_json import (
    FORMAT,
    JSON_NAME,
    MULTI_LABEL_VERSION,
    VERSION,
    check_record,
    read_limited,
    read_record,
)
from embedx.store.rows import CONTROL_DIM
from embedx.text import first_line

__all__ = ["load", "push", "save"]

ARRAYS_NAME, BOOSTER_NAME, SKOPS_NAME = "arrays.safetensors", "booster.txt", "head.skops"
MAX_FILE_BYTES = 4 * 2**30
_CURVE, _NOVELTY = "calibration.", "novelty."
_OWN_TYPES = (
    "embedx.heads.layers.LayerSelector",
    "embedx.heads.mlp.MLPClassifier",
    "embedx.heads.neighbors.NeighborsClassifier",
    "embedx.heads.pipeline.HeadPipeline",
)
"""Types in a user's pipeline that need no trust of their own: they only store and compute."""
_LIBRARIES = ("embedx", "numpy", "scikit-learn", "lightgbm", "torch")


def save(model: Any, folder: Path, *, overwrite: bool = True) -> Path:
    """Write a model beside its place, read it back, and exchange it with what is there in one step."""
    require_place(folder, overwrite=overwrite)
    try:
        with draft_for(folder) as draft:
            _write_files(model, draft)
            require_place(folder, overwrite=overwrite)
    except OSError as error:
        raise ModelFormatError(f"{folder} cannot be written: {error.strerror or error}") from error
    if model.input_kind == "sources":
        model.estimator.clear_checkpoint()
    return folder


def _write_files(model: Any, folder: Path) -> None:
    """Write the files of a model to an empty folder, and read them back."""
    for name, content in _parts_of(model).items():
        (folder / name).write_bytes(content)
    if model.input_kind == "sources":
        _save_audio_head(model.estimator, folder)
    (folder / CARD_NAME).write_text(_card_of(model), encoding="utf-8")
    _require_same_answers(model, folder)


def push(model: Any, repo: str, **options: Any) -> str:
    """Write a model to a folder that is thrown away, and upload it; see `embedx.model.hub_models.push_folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            _write_files(model, Path(scratch))
        except OSError as error:
            raise ModelFormatError(f"{scratch} cannot be written: {error.strerror or error}") from error
        return push_folder(Path(scratch), repo, **options)


def _card_of(model: Any) -> str:
    try:
        return render_card(model, _versions_of(model))
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # a record of somebody else's making
        raise ModelFormatError(
            f"head {model.head!r} is not saved: scores or training are not as embedx writes them ({first_line(error)})"
        ) from error


def _save_audio_head(head: Any, draft: Path) -> None:
    """Write a head on audio, and leave its checkpoint until the model is where it shall be."""
    kept = head.checkpoint_folder
    try:
        head.set_params(checkpoint_folder=None).save(draft)
    finally:
        head.set_params(checkpoint_folder=kept)


def _require_same_answers(model: Any, draft: Path) -> None:
    """Refuse to call a model saved that cannot be read, or that answers otherwise when it is."""
    try:
        again = type(model)(**_load(draft, trusted=_types_in(draft)))
    except ModelFormatError as error:
        reason = first_line(error.__cause__ or error)
        raise ModelFormatError(
            f"head {model.head!r} is not saved: it could not be read back ({reason[:300]})"
        ) from error
    same = _same_network if model.input_kind == "sources" else _same_probabilities
    if not same(model, again):
        raise ModelFormatError(f"head {model.head!r} is not saved: read back, it gives other answers. Please report it")


def _types_in(folder: Path) -> tuple[str, ...]:
    """Return the types in a skops file of our own writing."""
    if not (folder / SKOPS_NAME).exists():
        return ()
    from skops.io import get_untrusted_types

    return tuple(get_untrusted_types(data=(folder / SKOPS_NAME).read_bytes()))


def _same_probabilities(model: Any, again: Any) -> bool:
    rows = np.random.default_rng(0).normal(size=(16, model.n_features)).astype(np.float16).astype(np.float32)
    try:
        expected = model.probabilities(rows)
    except ValueError:  # a head of a user's own that takes no negative numbers, say
        rows = np.abs(rows)
        expected = model.probabilities(rows)
    return bool(np.allclose(again.probabilities(rows), expected, rtol=1e-5, atol=1e-6, equal_nan=True))


def _same_network(model: Any, again: Any) -> bool:
    own, read = (one.estimator.network_.model.state_dict() for one in (model, again))
    return own.keys() == read.keys() and all(bool((own[name].cpu() == read[name].cpu()).all()) for name in own)


def _parts_of(model: Any) -> dict[str, bytes]:
    from safetensors.numpy import save as to_bytes

    parts: dict[str, bytes] = {}
    arrays = _calibration_arrays(model.calibration) | _novelty_arrays(model.novelty)
    own = model.head in CATALOG and model.input_kind != "sources"
    state = dump_head(model.estimator) if own else None
    if model.input_kind == "sources":
        pass  # a head on audio writes its own files beside these
    elif state is None:
        parts[SKOPS_NAME] = _dump_skops(model)
    else:
        arrays.update(state.arrays)
        if state.texts:
            parts[BOOSTER_NAME] = next(iter(state.texts.values())).encode()
    parts[ARRAYS_NAME] = to_bytes({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    parts[JSON_NAME] = _json_of(model)
    return parts


def _json_of(model: Any) -> bytes:
    try:
        return (json.dumps(_record_of(model), indent=1, allow_nan=False) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise ModelFormatError(
            f"head {model.head!r} cannot be saved: a parameter is nothing for JSON ({error})"
        ) from error


def _calibration_arrays(calibration: Calibration | None) -> dict[str, Any]:
    pairs = () if calibration is None else calibration.curves
    return {
        f"{_CURVE}{i}.{axis}": values for i, pair in enumerate(pairs) for axis, values in zip("xy", pair, strict=True)
    }


def _novelty_arrays(novelty: Novelty | None) -> dict[str, Any]:
    if novelty is None:
        return {}
    learned = {name: getattr(novelty.distances, name) for name in ("mean", "whitening", "centres")}
    return {f"{_NOVELTY}{name}": values for name, values in {**learned, "quantiles": novelty.quantiles}.items()}


def _record_of(model: Any) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    if model.label_separator is not None:
        sets = {"label_separator": model.label_separator, "thresholds": list(model.thresholds)}
    return {
        "format": FORMAT,
        "version": ".".join(map(str, MULTI_LABEL_VERSION if sets else VERSION)),
        "head": model.head,
        "parameters": dict(model.parameters),
        "seed": model.seed,
        "eats": model.input_kind,
        "n_features": model.n_features,
        "classes": list(model.classes),
        "recipe": dataclasses.asdict(model.recipe),
        "scores": model.scores,
        "training": model.training,
        "calibration": _calibration_record(model.calibration),
        "novelty": None if model.novelty is None else {"n_held_out": model.novelty.n_held_out},
        "versions": _versions_of(model),
        **sets,
    }


def _versions_of(model: Any) -> dict[str, str]:
    return dict(model.versions) or {name: _version(name) for name in _LIBRARIES}


def _calibration_record(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {name: getattr(calibration, name) for name in ("method", "temperature", "floor")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _dump_skops(model: Any) -> bytes:
    from skops.io import dumps, get_untrusted_types

    try:
        content = dumps(model.estimator)
        get_untrusted_types(data=content)
    except Exception as error:  # skops raises what the user's own class raises
        raise ModelFormatError(
            f"head {model.head!r} cannot be saved without pickle ({type(error).__name__}: {str(error)[:120]}). "
            "Use a head of the catalogue, or a classifier that skops can write"
        ) from error
    return content


def load(folder: Path, *, trusted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read what `save` wrote, trusting nothing in it; returns the fields of a `Model`."""
    folder = resolve_folder(folder)
    return read_whole(folder, lambda: _load(folder, trusted))


def _load(folder: Path, trusted: tuple[str, ...]) -> dict[str, Any]:
    record = read_record(folder)
    try:
        facts = check_record(record)
        arrays = _load_arrays(folder)
        curves = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_CURVE)}
        novelty = _load_novelty(
            record["novelty"],
            {name: arrays.pop(name) for name in list(arrays) if name.startswith(_NOVELTY)},
            facts,
        )
        calibration = _load_calibration(record["calibration"], curves, len(facts["classes"]))
        estimator = _load_head(folder, facts, arrays, trusted)
        return {**facts, "estimator": estimator, "calibration": calibration, "novelty": novelty}
    except ModelFormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, ParameterError, RecursionError, OSError) as error:
        reason = first_line(error)
        raise ModelFormatError(f"{folder} is no usable model: {reason[:300]}. Save the model again") from error


def _load_arrays(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(read_limited(folder / ARRAYS_NAME, MAX_FILE_BYTES))
    except SafetensorError as error:
        raise ValueError(f"{ARRAYS_NAME} is damaged ({error})") from error


def _load_calibration(record: Any, arrays: dict[str, Any], n_classes: int) -> Calibration | None:
    if record is None:
        return None
    numbers = {name: record[name] for name in ("temperature", "floor")}
    if not all(type(value) in (int, float) and 0 < value < 1e3 for value in numbers.values()):
        raise ValueError("calibration holds numbers out of range")
    if record["method"] not in ("temperature", "isotonic"):
        raise ValueError("calibration has an unknown method")
    n_curves = n_classes if record["method"] == "isotonic" else 0
    curves = tuple((arrays[f"{_CURVE}{i}.x"], arrays[f"{_CURVE}{i}.y"]) for i in range(n_curves))
    for x, y in curves:
        good = x.ndim == 1 and x.shape == y.shape and len(x) and x.dtype.kind == y.dtype.kind == "f"
        if not (good and np.isfinite([x, y]).all() and (np.diff(x) >= 0).all() and y.min() >= 0 and y.max() <= 1):
            raise ValueError("calibration holds a damaged curve")
    return Calibration(method=record["method"], curves=curves, **numbers)


def _novelty_width(facts: Mapping[str, Any]) -> int:
    """Return the columns that novelty is judged by."""
    n_layers = len(facts["recipe"].layers)
    return int(CONTROL_DIM + (facts["n_features"] // n_layers if facts["input_kind"] == "embeddings" else 0))


def _load_novelty(record: Any, arrays: dict[str, Any], facts: Mapping[str, Any]) -> Novelty | None:
    if record is None:
        return None
    mean, whitening, centres, quantiles = (
        arrays[f"{_NOVELTY}{name}"] for name in ("mean", "whitening", "centres", "quantiles")
    )
    width = _novelty_width(facts)
    fits = mean.shape == (width,) and whitening.shape == (width, width) and centres.shape[1:] == (width,)
    if not (
        fits
        and 0 < len(centres) <= len(facts["classes"])
        and quantiles.ndim == 1
        and 0 < len(quantiles) <= MOST_QUANTILES
    ):
        raise ValueError("novelty holds arrays of other shapes")
    if not all(part.dtype.kind == "f" and np.isfinite(part).all() for part in (mean, whitening, centres, quantiles)):
        raise ValueError("novelty holds values that are no finite numbers")
    n_held_out = record["n_held_out"]
    if type(n_held_out) is not int or n_held_out < len(quantiles) or (np.diff(quantiles) < 0).any():
        raise ValueError("novelty holds damaged quantiles")
    distances = ClassDistances(mean=mean, whitening=whitening, centres=centres)
    return Novelty(distances=distances, quantiles=quantiles, n_held_out=n_held_out)


def _load_head(folder: Path, facts: Mapping[str, Any], arrays: dict[str, Any], trusted: tuple[str, ...]) -> Any:
    if (folder / SKOPS_NAME).exists() and not facts.get("label_separator"):
        return _load_skops(folder, trusted)
    if facts["head"] not in CATALOG:
        raise ValueError(f"head {facts['head'][:60]!r} is not in the catalogue of this embedx")
    if facts["input_kind"] == "sources":
        return _load_audio_head(folder, facts)
    n_layers = len(facts["recipe"].layers)
    make = make_multi_label_head if facts.get("label_separator") else make_head
    head = make(facts["head"], n_layers=n_layers, random_state=facts["seed"], **facts["parameters"])
    texts = {}
    if (folder / BOOSTER_NAME).exists():
        texts["head"] = read_limited(folder / BOOSTER_NAME, MAX_FILE_BYTES).decode("ascii")
    classes = np.array(facts["classes"])
    return restore_head(head, HeadState(arrays, texts), classes=classes, n_features=facts["n_features"])


def _load_audio_head(folder: Path, facts: Mapping[str, Any]) -> Any:
    from embedx.heads.finetune import FineTuneClassifier

    head = FineTuneClassifier.load(folder)
    if tuple(map(str, head.classes_)) != facts["classes"] or head.recipe_ != facts["recipe"]:
        raise ValueError(f"{JSON_NAME} and the network beside it belong to different models")
    return head


def _load_skops(folder: Path, trusted: tuple[str, ...]) -> Any:
    from skops.io import get_untrusted_types, loads

    content = read_limited(folder / SKOPS_NAME, MAX_FILE_BYTES)
    allowed = [*_OWN_TYPES, *trusted]
    try:
        named = get_untrusted_types(data=content)
    except Exception as error:  # a hostile archive may raise anything
        raise ModelFormatError(f"{folder / SKOPS_NAME} is damaged: {str(error)[:200]}") from error
    refuse_unreadable(named)
    unknown = [name for name in named if name not in allowed]
    if unknown:
        options = " ".join(f"--trust {name}" for name in unknown)
        raise ModelFormatError(
            f"{folder} holds types that embedx does not know: {', '.join(unknown)}. If you trust who saved it, say so: "
            f"embedx predict {options}, or Model.load(folder, trusted={unknown})"
        )
    try:
        estimator = loads(content, trusted=allowed)
    except Exception as error:
        raise ModelFormatError(f"{folder / SKOPS_NAME} is damaged: {str(error)[:200]}") from error
    check_estimator(estimator)
    return estimator
