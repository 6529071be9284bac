"""The catalogue's way in: flat parameters, augmentation among them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from embedx.errors import ParameterError, unknown_name
from embedx.heads.finetune.classifier import FineTuneClassifier
from embedx.heads.finetune.settings import Augmentation

__all__ = ["make_finetune"]


def make_finetune(**parameters: Any) -> FineTuneClassifier:
    """Return an unfitted classifier from parameters of `FineTuneClassifier` and of `Augmentation`, all by name.

    Raises
    ------
    ParameterError
        A name that neither has.

    Examples
    --------
    >>> make_finetune(epochs=3, mixup_alpha=0.2).augmentation.mixup_alpha
    0.2
    """
    varied = {field.name: parameters.pop(field.name) for field in fields(Augmentation) if field.name in parameters}
    known = FineTuneClassifier._get_param_names()
    for name in parameters:
        if name not in known:
            allowed = [*known, *(field.name for field in fields(Augmentation))]
            raise ParameterError(unknown_name("parameter of head 'finetune'", name, allowed))
    if varied:
        parameters["augmentation"] = Augmentation(**varied)
    return FineTuneClassifier(**parameters)
