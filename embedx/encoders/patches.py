"""Encoders whose frames are columns of patches of a spectrogram: AST, and the audio tower of CLAP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from embedx.encoders.base import EncoderInfo
from embedx.encoders.checkpoint import load_model
from embedx.encoders.network import BaseNetwork, find_class, make_extractor
from embedx.encoders.spectrogram_frontends import ClapMel, KaldiMel

__all__ = ["AstNetwork", "ClapNetwork"]


class AstNetwork(BaseNetwork):
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


class ClapNetwork(BaseNetwork):
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
        return load_model(info, kind=find_class("clap", "ClapAudioModelWithProjection"), **config)

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


def _ast_grid(config: Any) -> tuple[int, int]:
    """Return the columns and rows of patches."""
    n_columns = (config.max_length - config.patch_size) // config.time_stride + 1
    return n_columns, (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
