"""mteb (MAEB): an audio encoder that ``mteb.evaluate`` takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.encoders.resolve import DEFAULT_ENCODER, resolve_encoder
from embedx.errors import MissingExtraError, ParameterError
from embedx.estimators import AudioEmbedder

__all__ = ["MtebEncoder"]


class MtebEncoder:
    """An encoder for ``mteb.evaluate(MtebEncoder("wavlm"), tasks)``.

    Parameters
    ----------
    encoder : str
        Hub id, folder, short name or ``"tiny"``; mteb calls it ``model_name``.
    revision : str, optional
        For mteb, which gives one: only None and the commit that ``encoder`` stands for are taken.
    **choices
        ``layer``, ``pooling``, ``padding``, ``device``, ``workers``, ``compute_dtype`` of `embedx.AudioEmbedder`.
        mteb's own wrappers of speech encoders take the last layer in float32, which is ``layer=-1,
        compute_dtype="float32"``; the default is the mean of all layers.

    Examples
    --------
    >>> from embedx.testing import make_tone
    >>> encoder = MtebEncoder("tiny", layer=-1)
    >>> batch = {"audio": [{"array": make_tone(440.0), "sampling_rate": 16_000}]}
    >>> encoder.encode([batch]).shape
    (1, 192)
    """

    def __init__(self, encoder: str = DEFAULT_ENCODER, revision: str | None = None, **choices: Any) -> None:
        self.info = resolve_encoder(encoder)
        if revision not in (None, self.info.revision):
            raise ParameterError(
                f"encoder {encoder!r} is here at revision {self.info.revision}, not {revision}: leave revision out"
            )
        self.choices = choices
        self.embedder = AudioEmbedder(encoder, **choices)

    def encode(self, inputs: Iterable[Mapping[str, Any]], **context: Any) -> NDArray[np.float32]:
        """Embed all that a loader of mteb gives.

        Parameters
        ----------
        inputs : iterable of mapping
            Batches; ``audio`` is a list of mappings with ``array`` and ``sampling_rate``.
        **context
            What mteb says of the task; an encoder of audio does the same for all.

        Returns
        -------
        ndarray of shape (n, D), float32

        Raises
        ------
        ParameterError
            The task is not one of audio.
        DecodeError
            A clip cannot be used.
        """
        parts = [self.embedder.transform(_clips_of(batch)) for batch in inputs]
        return np.concatenate(parts) if parts else np.empty((0, len(self.embedder.get_feature_names_out())), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Return cosines of every pair of rows, of shape (n, m)."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """Return cosines row by row, of shape (n,)."""
        cosines: NDArray[np.float32] = (_unit(embeddings1) * _unit(embeddings2)).sum(1)
        return cosines

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb files a result under: the encoder, its revision, and the choices that are not the defaults.

        Raises
        ------
        MissingExtraError
            mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise MissingExtraError("an entry of mteb needs the package 'mteb': pip install mteb") from error
        name = self.info.id if self.info.id.count("/") == 1 and not self.info.id.startswith(("/", ".")) else None
        facts = {
            "name": name or f"embedx/{self.info.id.rstrip('/').rpartition('/')[2]}",
            "revision": self.info.revision,
            "embed_dim": len(self.embedder.get_feature_names_out()),
            "modalities": ["audio"],
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
            "use_instructions": False,
            "experiment_kwargs": {key: str(value) for key, value in self.choices.items()} or None,
        }
        return ModelMeta.create_empty(overwrites=facts)


def _clips_of(batch: Mapping[str, Any]) -> list[tuple[Any, int]]:
    if "audio" not in batch:
        raise ParameterError(f"this encoder takes audio, and the task gives {', '.join(map(repr, batch))}")
    return [(np.asarray(one["array"], dtype=np.float32), int(one["sampling_rate"])) for one in batch["audio"]]


def _unit(embeddings: Any) -> NDArray[np.float32]:
    from sklearn.preprocessing import normalize

    unit: NDArray[np.float32] = normalize(np.atleast_2d(np.asarray(embeddings, dtype=np.float32)))
    return unit
