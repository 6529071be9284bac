"""Spectrograms as transformers' feature extractors make them, in torch: for many clips of one length, on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["ClapMel", "KaldiMel", "ParakeetMel", "WhisperMel"]

_KALDI_FLOOR = 1.192092955078125e-07


class WhisperMel:
    """Log-mel bands of Whisper: 80 dB below the loudest is the floor.

    Parameters
    ----------
    extractor : WhisperFeatureExtractor
        Holds the settings and the mel filters.
    device : torch.device
        Where it is computed.
    """

    def __init__(self, extractor: Any, device: torch.device) -> None:
        self.n_fft, self.hop, self.n_native = extractor.n_fft, extractor.hop_length, extractor.n_samples
        self._filters = torch.from_numpy(np.asarray(extractor.mel_filters, np.float32)).to(device)
        self._window = torch.hann_window(self.n_fft, device=device)

    def __call__(self, waves: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Turn waveforms (B, n) into the first frames of what the extractor gives for 30 s, (B, n_mels, n_frames).

        What lies behind the clips is silence; it is computed as far as it is asked for, and two frames further, since
        those still hear the clips' ends and may be the loudest.
        """
        seen = (n_frames + 2) * self.hop + self.n_fft // 2
        waves = F.pad(waves, (0, max(0, min(seen, self.n_native) - waves.shape[1])))
        spectrum = torch.stft(waves, self.n_fft, self.hop, window=self._window, return_complex=True)[..., :-1]
        bands = (self._filters.T @ spectrum.abs().square().contiguous()).clamp(min=1e-10).log10()
        bands = torch.maximum(bands, bands.amax((1, 2), keepdim=True) - 8.0)
        return (bands[..., :n_frames] + 4.0) / 4.0


class KaldiMel:
    """Log-mel bands as Kaldi computes them.

    Parameters
    ----------
    window, filters : array
        Of shape (n,) and (n_fft // 2 + 1, n_mels).
    hop : int
        Distance of two frames in samples.
    device : torch.device
        Where it is computed.
    dtype : torch.dtype
        What it is computed in.
    scale : float
        What the waveform is multiplied by: 32768 where 16-bit numbers are expected.
    """

    def __init__(
        self, window: Any, filters: Any, *, hop: int, device: torch.device, dtype: torch.dtype, scale: float = 1.0
    ) -> None:
        self._window, self._filters = (torch.as_tensor(x).to(device, dtype) for x in (window, filters))
        self.n, self.hop, self.scale, self.dtype = len(self._window), hop, scale, dtype
        self.n_fft = 2 * (len(self._filters) - 1)

    def n_frames(self, n_samples: int) -> int:
        """Return the frames that so many samples give."""
        return 1 + (n_samples - self.n) // self.hop

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        """Turn waveforms (B, n) into (B, T, n_mels)."""
        frames = (waves.to(self.dtype) * self.scale).unfold(-1, self.n, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        frames = frames - 0.97 * F.pad(frames, (1, 0), mode="replicate")[..., :-1]
        power = torch.fft.rfft(frames * self._window, self.n_fft).abs().square()
        return (power @ self._filters).clamp(min=_KALDI_FLOOR).log()


class ParakeetMel:
    """Log-mel bands of NeMo, each of zero mean and unit variance over the clip.

    Parameters
    ----------
    extractor : ParakeetFeatureExtractor
        Holds the settings and the mel filters.
    device : torch.device
        Where it is computed.
    """

    def __init__(self, extractor: Any, device: torch.device) -> None:
        self.n_fft, self.hop, self._preemphasis = extractor.n_fft, extractor.hop_length, extractor.preemphasis
        self._filters = extractor.mel_filters.to(device)
        self._window = torch.hann_window(extractor.win_length, periodic=False, device=device)

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        """Turn waveforms (B, n) into (B, T, n_mels)."""
        waves = torch.cat([waves[:, :1], waves[:, 1:] - self._preemphasis * waves[:, :-1]], dim=1)
        spectrum = torch.stft(
            waves,
            self.n_fft,
            self.hop,
            win_length=len(self._window),
            window=self._window,
            return_complex=True,
            pad_mode="constant",
        )
        power = torch.view_as_real(spectrum).square().sum(-1).sqrt().square()
        bands = (self._filters @ power + 2**-24).log().mT[:, : waves.shape[1] // self.hop]
        mean, deviation = bands.mean(1, keepdim=True), bands.std(1, keepdim=True)
        return (bands - mean) / (deviation + 1e-5)


class ClapMel:
    """Decibels of CLAP's mel bands over its native length, which short clips are repeated to fill.

    Parameters
    ----------
    extractor : ClapFeatureExtractor
        Holds the settings and the mel filters.
    device : torch.device
        Where it is computed.
    """

    def __init__(self, extractor: Any, device: torch.device) -> None:
        self.n_fft, self.hop = extractor.fft_window_size, extractor.hop_length
        self.n_native, self.padding = int(extractor.nb_max_samples), extractor.padding
        filters = extractor.mel_filters if extractor.truncation == "fusion" else extractor.mel_filters_slaney
        self._filters = torch.from_numpy(np.asarray(filters)).to(device, torch.float64)
        self._window = torch.hann_window(self.n_fft, device=device, dtype=torch.float64)

    def n_filled(self, n_samples: int) -> int:
        """Return the samples of the native length that a clip of so many fills, repeats included."""
        if self.padding == "pad":
            return n_samples
        return self.n_native if self.padding == "repeat" else self.n_native // n_samples * n_samples

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        """Turn waveforms (B, n) into (B, T, n_mels)."""
        n_filled = self.n_filled(waves.shape[1])
        waves = waves.repeat(1, -(-n_filled // waves.shape[1]))[:, :n_filled].double()
        waves = F.pad(waves, (0, self.n_native - n_filled))
        spectrum = torch.stft(waves, self.n_fft, self.hop, window=self._window, return_complex=True)
        bands = spectrum.abs().square().mT @ self._filters
        return (10 * bands.clamp(min=1e-10).log10()).float()
