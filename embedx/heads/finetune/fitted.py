"""What a fine-tuned classifier does once it is fitted: predict, be saved, be loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted

from embedx.heads.finetune.checkpoints import Checkpoints
from embedx.heads.finetune.clips import as_sources
from embedx.heads.finetune.prediction import clip_logits, judge_clips

__all__ = ["FittedNetwork"]


class FittedNetwork:
    """The half of `FineTuneClassifier` that needs a trained network."""

    classes_: NDArray[Any]
    facts_: dict[str, Any]
    checkpoint_folder: str | os.PathLike[str] | None

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Return the logits of clips, shape (n, n_classes): the mean of their windows'.

        Windows are weighted by the seconds that each adds, as extraction pools them.
        """
        check_is_fitted(self, "network_")
        return clip_logits(self, as_sources(X))

    def judge(
        self, X: Any, *, progress: Callable[..., None] | None = None
    ) -> tuple[NDArray[np.float64], tuple[str | None, ...]]:
        """Return probabilities, a row of NaN where a clip cannot be used, and why not, clip by clip.

        Parameters
        ----------
        X : array-like of shape (n,) of Source, str or path-like
            The clips.
        progress : callable, optional
            Called with clips done and clips in all.

        Returns
        -------
        proba : ndarray of shape (n, n_classes), float64
        errors : tuple of (str or None)
        """
        check_is_fitted(self, "network_")
        logits, errors = judge_clips(self, as_sources(X), progress=progress)
        return softmax(logits.astype(np.float64), axis=1), errors

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes), columns in the order of ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n,) of Source, str or path-like
            The clips.

        Raises
        ------
        DecodeError, ClipTooShortError
            A clip cannot be used; the error carries it.
        """
        return softmax(self.decision_function(X).astype(np.float64), axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each clip, shape (n,)."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def note_judged(self, scores: Mapping[str, Any]) -> None:
        """Take scores on clips that were not trained on into the model card.

        Parameters
        ----------
        scores : mapping
            ``accuracy``, ``log_loss`` and ``n_clips``.
        """
        self.facts_["judged"] = {name: scores[name] for name in ("accuracy", "log_loss", "n_clips")}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model in Hugging Face's own format, so that transformers loads it too.

        The training's checkpoint is removed then, and not before: a full disk costs no training.

        Parameters
        ----------
        folder : path-like
            Made if need be: ``config.json``, ``model.safetensors``, ``preprocessor_config.json``, a model
            card (``README.md``) and ``finetune.json`` with what scikit-learn and embedx need.

        Raises
        ------
        OSError
            It cannot be written.

        Examples
        --------
        Anybody with transformers can use it, without embedx::

            classifier.save("barks")
            transformers.pipeline("audio-classification", model="barks")
        """
        from embedx.heads.finetune.saving import save_classifier

        check_is_fitted(self, "network_")
        save_classifier(self, folder)
        self.clear_checkpoint()

    def clear_checkpoint(self) -> None:
        """Remove the training's checkpoint, once the model is where it shall be."""
        Checkpoints(self.checkpoint_folder, {}).clear()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ModelFormatError
            The folder holds no such model, or a damaged one.
        """
        from embedx.heads.finetune.saving import load_classifier

        return load_classifier(cls, folder)
