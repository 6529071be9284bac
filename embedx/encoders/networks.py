"""Encoders with a front end of their own, as transformers builds them: clips of one length in, layer after layer out.

Every network is called with clips that need no padding beside each other, so that none can hear another. The layers
are transformers' own modules, called in the order in which its models call them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model, quiet_transformers
from embedx.encoders.frontends import ClapMel, KaldiMel, ParakeetMel, WhisperMel
from embedx.encoders.waves import normalize
from embedx.errors import EncoderError

__all__ = ["NETWORKS", "Network", "make_extractor"]


def make_extractor(info: EncoderInfo) -> Any:
    """Return transformers' own feature extractor with the checkpoint's settings.

    Raises
    ------
    EncoderError
        It cannot be made of these settings.
    """
    import transformers

    try:
        with quiet_transformers():
            return getattr(transformers, info.extractor)(**dict(info.settings))
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EncoderError(f"encoder {info.id!r}: no {info.extractor} can be made of its settings: {said}") from error


class Network(Protocol):
    """An encoder whose first ``n_class_tokens`` places hold class tokens, and the others frames.

    Parameters
    ----------
    info : EncoderInfo
        What and where it is.
    padding : {'none', 'masked', 'pooled'}
        See `Recipe`.
    device : torch.device
        Where it computes.
    model : PreTrainedModel, optional
        transformers' own, where it is loaded already.
    """

    model: Any

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None: ...

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        """Return transformers' own model with the checkpoint's weights, some fields of its config replaced."""

    def prepared(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a clip as the front end takes it."""

    def n_frames(self, n_samples: int) -> int:
        """Return the frames that are pooled of a clip of so many samples."""

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        """Turn clips (B, n), float32, into what the layers take."""

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield what enters the first layer and what leaves each one, (B, T, D)."""


class _Network:
    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        self.info, self.padding, self.device = info, padding, device
        self.model = (self.load(info) if model is None else model).to(device)

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        return load_model(info, **config)

    def prepared(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return samples


class WhisperNetwork(_Network):
    """Whisper's encoder; without padding only the positions of the clip's own frames are computed."""

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        self._mel = WhisperMel(make_extractor(info), device)
        self._n_native: int = self.model.config.max_source_positions

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        renamed = {r"^(model\.)?encoder\.": ""}
        return load_model(info, kind=_class("whisper", "WhisperEncoder"), renamed=renamed, **config)

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


class AstNetwork(_Network):
    """The Audio Spectrogram Transformer; a frame is a column of patches, averaged over frequency.

    Behind the layers stands one more: the normed output, of whose two class tokens the model's own head reads the
    mean.
    """

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        from torchaudio.compliance.kaldi import get_mel_banks

        super().__init__(info, padding=padding, device=device, model=model)
        config, settings = self.model.config, dict(info.settings)
        n, n_fft = info.min_samples, 1 << (info.min_samples - 1).bit_length()
        rate, n_mels = settings["sampling_rate"], settings["num_mel_bins"]
        banks = get_mel_banks(n_mels, n_fft, float(rate), 20.0, 0.0, 100.0, -500.0, 1.0)[0]
        window = torch.hann_window(n, periodic=False)
        self._mel = KaldiMel(window, F.pad(banks, (0, 1)).T, hop=round(rate * 0.01), device=device, dtype=torch.float32)
        self._settings, self._stride, self._patch = settings, config.time_stride, config.patch_size
        self._n_native, self._n_rows = _ast_grid(config)

    def n_frames(self, n_samples: int) -> int:
        if self.padding == "pooled":
            return self._n_native
        return min(self._n_native, -(-self._mel.n_frames(n_samples) // self._stride))

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        length = self._settings["max_length"]
        if self.padding == "none":
            length = self._patch + self._stride * (self.n_frames(waves.shape[1]) - 1)
        bands = self._mel(waves)
        bands = F.pad(bands, (0, 0, 0, length - bands.shape[1]))  # cuts, too
        if self._settings["do_normalize"]:
            bands = (bands - self._settings["mean"]) / (2 * self._settings["std"])
        return bands

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        embed = self.model.embeddings
        patches = embed.patch_embeddings(features)
        n_columns = patches.shape[1] // self._n_rows
        tokens = torch.cat([embed.cls_token, embed.distillation_token], dim=1).expand(len(patches), -1, -1)
        places = embed.position_embeddings
        cut = places[:, 2:].unflatten(1, (self._n_rows, -1))[:, :, :n_columns].flatten(1, 2)
        x = torch.cat([tokens, patches], dim=1) + torch.cat([places[:, :2], cut], dim=1)
        x = embed.dropout(x)
        yield self._columns(x)
        for layer in self.model.layers:
            x = layer(x, None)
            yield self._columns(x)
        yield self._columns(self.model.layernorm(x))

    def _columns(self, x: torch.Tensor) -> torch.Tensor:
        columns = x[:, 2:].unflatten(1, (self._n_rows, -1)).mean(1, dtype=torch.float32)
        return torch.cat([x[:, :2].float(), columns], dim=1)


class ClapNetwork(_Network):
    """CLAP's audio tower (HTS-AT); a frame is a column of the last stage, averaged over frequency.

    Layers are the patches, the output of each stage, the tower's normed output and the projection into the space that
    text shares, which is one vector a clip. What is narrower than the widest ends in zeros.
    """

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        extractor = make_extractor(info)
        self._mel, self._is_fused = ClapMel(extractor, device), extractor.truncation == "fusion"
        self._tower = self.model.audio_model.audio_encoder
        self._n_native = round(info.native_seconds / info.hop_seconds)  # type: ignore[operator]

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        return load_model(info, kind=_class("clap", "ClapAudioModelWithProjection"), **config)

    def n_frames(self, n_samples: int) -> int:
        if self.padding == "pooled":
            return self._n_native
        filled = self._mel.n_filled(n_samples) / self._mel.n_native
        return min(self._n_native, max(1, int(np.ceil(filled * self._n_native - 1e-9))))

    def features(self, waves: torch.Tensor) -> torch.Tensor:
        bands = self._mel(waves)[:, None]
        return bands.expand(-1, 4, -1, -1) if self._is_fused else bands

    def states(self, features: torch.Tensor) -> Iterator[torch.Tensor]:
        is_longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        found = self._tower(features, is_longer=is_longer, output_hidden_states=True)
        for state in found.hidden_states:  # (B, C, chunks * frequency, time of a chunk)
            yield self._columns(state.unflatten(2, (self._tower.freq_ratio, -1)).transpose(2, 3).flatten(3))
        yield self._columns(found.last_hidden_state)
        projected = self.model.audio_projection(found.pooler_output)
        yield self._widened(projected)[:, None].expand(-1, self._n_native, -1)

    def _columns(self, state: torch.Tensor) -> torch.Tensor:
        """Turn (B, C, frequency, time) into (B, T, D)."""
        columns = state.mean(2, dtype=torch.float32).unflatten(2, (self._n_native, -1)).mean(3)
        return self._widened(columns.transpose(1, 2))

    def _widened(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x.float(), (0, self.info.dim - x.shape[-1]))


class _KaldiNetwork(_Network):
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
        kind = _class("seamless_m4t_v2", "SeamlessM4Tv2SpeechEncoder")
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


class MoonshineNetwork(_Network):
    """Moonshine's encoder, which reads the waveform; its first norm spans the whole clip."""

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        renamed = {r"^(model\.)?encoder\.": ""}
        return load_model(info, kind=_class("moonshine", "MoonshineEncoder"), renamed=renamed, **config)

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


class ParakeetNetwork(_Network):
    """Parakeet's encoder, a fast conformer: eight spectrogram frames become one."""

    def __init__(self, info: EncoderInfo, *, padding: str, device: torch.device, model: Any = None) -> None:
        super().__init__(info, padding=padding, device=device, model=model)
        self._mel = ParakeetMel(make_extractor(info), device)

    @classmethod
    def load(cls, info: EncoderInfo, **config: Any) -> Any:
        return load_model(info, kind=_class("parakeet", "ParakeetEncoder"), renamed={r"^encoder\.": ""}, **config)

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


def _ast_grid(config: Any) -> tuple[int, int]:
    """Return the columns and rows of patches."""
    n_columns = (config.max_length - config.patch_size) // config.time_stride + 1
    return n_columns, (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1


def _class(family: str, name: str) -> Any:
    """Return a model of transformers that it does not export."""
    return getattr(importlib.import_module(f"transformers.models.{family}.modeling_{family}"), name)


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
