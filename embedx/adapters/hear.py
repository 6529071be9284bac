"""The HEAR 2021 API: ``hear-validator embedx.adapters.hear --model tiny``, and heareval in the same way.

The common API is a module with three functions (https://hearbenchmark.com/hear-api.html). A module of your own fixes
other choices::

    from embedx.adapters.hear import get_scene_embeddings, get_timestamp_embeddings
    from embedx.adapters.hear import load_model as load

    def load_model(model_file_path=""):
        return load(model_file_path or "wavlm", layer=9)
"""

from __future__ import annotations

from typing import Any

import torch

from embedx.adapters.waveforms import Waveforms
from embedx.encoders.resolve import DEFAULT_ENCODER

__all__ = ["HearModel", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]


class HearModel(torch.nn.Module):
    """An encoder with the attributes that HEAR asks for.

    Parameters
    ----------
    encoder : str
        Hub id, folder, short name or ``"tiny"``.
    **choices
        ``layer``, ``pooling``, ``padding``, ``device``, ``workers``, ``compute_dtype`` of `embedx.AudioEmbedder`.

    Attributes
    ----------
    sample_rate : int
        Hertz of the audio that it takes.
    scene_embedding_size, timestamp_embedding_size : int
        Columns of `get_scene_embeddings` and `get_timestamp_embeddings`.
    """

    def __init__(self, encoder: str = DEFAULT_ENCODER, **choices: Any) -> None:
        super().__init__()
        self.waveforms = Waveforms(encoder, **choices)
        self.sample_rate = self.waveforms.sample_rate
        self.scene_embedding_size = self.waveforms.width
        self.timestamp_embedding_size = self.waveforms.frame_width

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Return scene embeddings."""
        return get_scene_embeddings(audio, self)


def load_model(model_file_path: str = "", **choices: Any) -> HearModel:
    """Return an encoder; weights are read with the first sound.

    Parameters
    ----------
    model_file_path : str
        Hub id, folder, short name or ``"tiny"``; wav2vec2-base when it is empty.
    **choices
        As `HearModel`.

    Raises
    ------
    EncoderError
        There is no such encoder.

    Examples
    --------
    >>> model = load_model("tiny", layer=-1)
    >>> model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size
    (16000, 192, 192)
    """
    return HearModel(model_file_path or DEFAULT_ENCODER, **choices)


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Embed each sound as a whole.

    Parameters
    ----------
    audio : tensor of shape (n_sounds, n_samples), float
        Within -1 to 1, at the model's rate.
    model : HearModel
        Of `load_model`.

    Returns
    -------
    tensor of shape (n_sounds, scene_embedding_size), float32
        On the device of the audio.

    Raises
    ------
    ParameterError
        The audio has other axes.
    DecodeError
        A sound is shorter than a frame, or holds NaN.

    Examples
    --------
    >>> get_scene_embeddings(torch.rand(2, 8_000) - 0.5, load_model("tiny")).shape
    torch.Size([2, 192])
    """
    return torch.from_numpy(model.waveforms.whole(audio)).to(audio.device)


def get_timestamp_embeddings(audio: torch.Tensor, model: HearModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed every frame of each sound.

    A sound that is longer than a window (10 s) is encoded in windows; no frame reaches from one into the next, so there
    one step between frames is longer than the others.

    Parameters
    ----------
    audio : tensor of shape (n_sounds, n_samples), float
        Within -1 to 1, at the model's rate.
    model : HearModel
        Of `load_model`.

    Returns
    -------
    embeddings : tensor of shape (n_sounds, n_frames, timestamp_embedding_size), float32
        On the device of the audio.
    timestamps : tensor of shape (n_sounds, n_frames), float32
        The middle of what each frame is computed from, in milliseconds.

    Raises
    ------
    ParameterError, DecodeError, ClipTooShortError
        As `get_scene_embeddings`.

    Examples
    --------
    >>> embeddings, timestamps = get_timestamp_embeddings(torch.rand(2, 8_000) - 0.5, load_model("tiny"))
    >>> embeddings.shape, timestamps[0, :3].tolist()
    (torch.Size([2, 24, 192]), [12.5, 32.5, 52.5])
    """
    frames, seconds = model.waveforms.frames(audio)
    milliseconds = torch.from_numpy(1000 * seconds).float().repeat(len(frames), 1)
    return torch.from_numpy(frames).to(audio.device), milliseconds.to(audio.device)
