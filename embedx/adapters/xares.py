"""X-ARES: a module whose frames its tasks learn from.

X-ARES takes the file of a class whose name ends with ``Encoder``; ``python -m xares.run embedx/adapters/xares.py`` runs
wav2vec2-base, and a file of your own another encoder or layer::

    import embedx.adapters

    class WavlmEncoder(embedx.adapters.XaresEncoder):
        def __init__(self):
            super().__init__("wavlm", layer=9)
"""

from __future__ import annotations

from typing import Any

import torch

from embedx.adapters.waveforms import Waveforms
from embedx.encoders.resolve import DEFAULT_ENCODER

__all__ = ["XaresEncoder"]


class XaresEncoder(torch.nn.Module):
    """An encoder that gives frames of waveforms.

    Parameters
    ----------
    encoder : str
        Hub id, folder, short name or ``"tiny"``.
    **choices
        ``layer``, ``padding``, ``device``, ``workers``, ``compute_dtype`` of `embedx.AudioEmbedder`.

    Attributes
    ----------
    sampling_rate : int
        Hertz of the audio that it takes.
    output_dim : int
        Columns of a frame.
    hop_size_in_ms : float
        Milliseconds from frame to frame.

    Examples
    --------
    >>> encoder = XaresEncoder("tiny", layer=-1)
    >>> encoder(torch.rand(2, 50_000) - 0.5).shape, encoder.output_dim, encoder.hop_size_in_ms
    (torch.Size([2, 156, 192]), 192, 20.0)
    """

    def __init__(self, encoder: str = DEFAULT_ENCODER, **choices: Any) -> None:
        super().__init__()
        self.waveforms = Waveforms(encoder, **choices)
        self.sampling_rate = self.waveforms.sample_rate
        self.output_dim = self.waveforms.frame_width
        self.hop_size_in_ms = 1000 * self.waveforms.info.hop_seconds

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Return frames.

        Parameters
        ----------
        audio : tensor of shape (B, n_samples), float
            Within -1 to 1; a batch is one length, and what fills a clip up is heard as silence.

        Returns
        -------
        tensor of shape (B, T, output_dim), float32
            On the device of the audio.
        """
        return torch.from_numpy(self.waveforms.frames(audio)[0]).to(audio.device)
