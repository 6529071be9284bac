"""Models and the Hugging Face hub: the one door of saved models to huggingface_hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["render_front_matter"]

_TASK = "audio-classification"


def render_front_matter(
    *,
    library_name: str,
    license: str | None,
    base_model: str | None,
    model_name: str,
    scores: Mapping[str, float],
) -> str:
    """Return the YAML that the hub reads at the top of a card, without the lines that enclose it.

    Parameters
    ----------
    library_name : str
        What loads the folder.
    license : str, optional
        The hub's short name of a licence.
    base_model : str, optional
        Hub id of the encoder.
    model_name : str
        In the table of results.
    scores : mapping of str to float
        Measured on clips that were held out, by the hub's name of the metric.

    Examples
    --------
    >>> facts = {"license": "mit", "base_model": None, "model_name": "m", "scores": {}}
    >>> print(render_front_matter(library_name="embedx", **facts).rstrip())
    library_name: embedx
    license: mit
    pipeline_tag: audio-classification
    tags:
    - embedx
    """
    from huggingface_hub import EvalResult, ModelCardData

    where: dict[str, Any] = {"task_type": _TASK, "dataset_type": "held-out", "dataset_name": "clips that were held out"}
    results = [EvalResult(**where, metric_type=name, metric_value=round(value, 6)) for name, value in scores.items()]
    data = ModelCardData(
        license=license,
        library_name=library_name,
        pipeline_tag=_TASK,
        base_model=base_model,
        tags=["embedx"],
        model_name=model_name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml() + "\n"
