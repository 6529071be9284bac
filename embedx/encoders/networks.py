"""Encoders with a front end of their own, as transformers builds them: clips of one length in, layer after layer out.

Every network is called with clips that need no padding beside each other, so that none can hear another. The layers
are transformers' own modules, called in the order in which its models call them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model
from embedx.encoders.network import BaseNetwork, Network, find_class, make_extractor
from embedx.encoders.patches import AstNetwork, ClapNetwork
from embedx.encoders.spectrogram_frontends import KaldiMel, ParakeetMel, WhisperMel
from embedx.encoders.waveform_batch import normalize

__all__ = ["NETWORKS"]


class WhisperNetwork(BaseNetwork):
    """Whisper's encoder; without padding only the positions of the clip's own frames are computed."""

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        self._mel = WhisperMel(make_extractor(info), device)
        self._n_native: int = self.model.config.max_source_positions

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        renamed = {r"^(model\.)?encoder\.": ""}
        return load_model(info, kind=find_class("whisper", "WhisperEncoder"), renamed=renamed, **config)

    def n_frames(self, n_samples: int) -> int:
        return self._n_native if self.padding == "pooled" else -(-n_samples // self.info.min_samples)

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        n = self.n_frames(waves.shape[1]) if self.padding == "none" else self._n_native
        return self._mel(waves, 2 * n)

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        model = self.model
        x = F.gelu(model.conv2(F.gelu(model.conv1(features)))).transpose(1, 2)
        x = x + model.embed_positions.weight[: x.shape[1]]
        x = F.dropout(x, p=model.dropout, training=model.training)
        yield x
        for layer in model.layers[:-1]:
            x = layer(x, None)
            yield x
        yield model.layer_norm(model.layers[-1](x, None))


class _KaldiNetwork(BaseNetwork):
    """What reads 80 Kaldi bands, each of zero mean and unit variance over the clip, two frames at a step."""

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        extractor = make_extractor(info)
        self._stride = extractor.stride
        self._mel = KaldiMel(
            extractor.window, extractor.mel_filters, hop=160, device=device, dtype=torch.float64, scale=2.0**15
        )

    def n_frames(self, n_samples: int) -> int:
        return self._mel.n_frames(n_samples) // self._stride

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        bands = self._mel(waves).float()  # rounded where transformers rounds
        bands = (bands - bands.mean(1, keepdim=True)) / torch.sqrt(bands.var(1, keepdim=True) + 1e-7)
        n = bands.shape[1] // self._stride
        return bands[:, : n * self._stride].reshape(len(bands), n, -1)


class W2vBertNetwork(_KaldiNetwork):
    """w2v-BERT 2.0."""

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        model, encoder = self.model, self.model.encoder
        x = encoder.dropout(model.feature_projection(features)[0])
        yield x
        places = None if encoder.embed_positions is None else encoder.embed_positions(x)
        for layer in encoder.layers:
            x = layer(x, relative_position_embeddings=places)
            yield x


class SeamlessNetwork(_KaldiNetwork):
    """The speech encoder of SeamlessM4T v2; the adapter that shortens its output is not part of it."""

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        kind = find_class("seamless_m4t_v2", "SeamlessM4Tv2SpeechEncoder")
        return load_model(info, kind=kind, renamed={r"^speech_encoder\.": ""}, **config)

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        from transformers.masking_utils import create_bidirectional_mask

        encoder = self.model.encoder
        x = self.model.feature_projection(features)
        mask = None
        if encoder.config.speech_encoder_chunk_size is not None:
            mask = encoder._apply_chunk_attention(None, x)
        mask = create_bidirectional_mask(config=encoder.config, inputs_embeds=x, attention_mask=mask)
        x = encoder.dropout(x)
        yield x
        for layer in encoder.layers[:-1]:
            x = layer(x, attention_mask=mask)
            yield x
        yield encoder.layer_norm(encoder.layers[-1](x, attention_mask=mask))


class MoonshineNetwork(BaseNetwork):
    """Moonshine's encoder, which reads the waveform; its first norm spans the whole clip."""

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        renamed = {r"^(model\.)?encoder\.": ""}
        return load_model(info, kind=find_class("moonshine", "MoonshineEncoder"), renamed=renamed, **config)

    def prepared(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return normalize(samples) if self.info.normalize else samples

    def n_frames(self, n_samples: int) -> int:
        for kernel, stride in ((127, 64), (7, 3), (3, 2)):
            n_samples = (n_samples - kernel) // stride + 1
        return n_samples

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        return waves

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        model = self.model
        x = model.groupnorm(torch.tanh(model.conv1(features[:, None])))
        x = F.gelu(model.conv3(F.gelu(model.conv2(x)))).transpose(1, 2)
        numbers = torch.arange(x.shape[1], device=x.device)[None]
        places = model.rotary_emb(x, position_ids=numbers)
        yield x
        for number, layer in enumerate(model.layers, start=1):
            x = layer(x, attention_mask=None, position_ids=numbers, position_embeddings=places)
            yield model.layer_norm(x) if number == len(model.layers) else x


class ParakeetNetwork(BaseNetwork):
    """Parakeet's encoder, a fast conformer: eight spectrogram frames become one."""

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        self._mel = ParakeetMel(make_extractor(info), device)

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        return load_model(info, kind=find_class("parakeet", "ParakeetEncoder"), renamed={r"^encoder\.": ""}, **config)

    def n_frames(self, n_samples: int) -> int:
        return int(self.model._get_subsampling_output_length(torch.tensor(n_samples // self._mel.hop)))

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        return self._mel(waves)

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        model = self.model
        x = model.subsampling(features, None) * model.input_scale
        places = F.dropout(model.encode_positions(x), p=model.dropout_positions, training=model.training)
        x = F.dropout(x, p=model.dropout, training=model.training)
        yield x
        for layer in model.layers:
            x = layer(x, attention_mask=None, position_embeddings=places)
            yield x


NETWORKS: dict[str, type[Network]] = {
    "audio-spectrogram-transformer": AstNetwork,
    "clap": ClapNetwork,
    "clap_audio_model": ClapNetwork,
    "moonshine": MoonshineNetwork,
    "parakeet_ctc": ParakeetNetwork,
    "parakeet_encoder": ParakeetNetwork,
    "parakeet_rnnt": ParakeetNetwork,
    "parakeet_tdt": ParakeetNetwork,
    "seamless_m4t_v2": SeamlessNetwork,
    "wav2vec2-bert": W2vBertNetwork,
    "whisper": WhisperNetwork,
}
