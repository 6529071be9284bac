"""The module that other runtimes take gives what the encoder gives, whatever lies in the padding."""

import warnings

import numpy as np
import pytest
import torch

from embedx.encoders.checkpoint import load_model
from embedx.encoders.padded_encoder import PaddedEncoder
from embedx.encoders.resolve import resolve_encoder
from embedx.encoders.waveform import WaveformEncoder
from embedx.errors import EncoderError

KNOWN = {"wav2vec2", "hubert", "unispeech", "unispeech-sat"}


def clips_of(encoder):
    rng = np.random.default_rng(0)
    lengths = (encoder.min_samples, encoder.min_samples + 1, 5_000, 16_000)
    return [rng.normal(0.1, 0.2, n).astype(np.float32) for n in lengths]


def rows(module, clips, padding=0.0):
    wave = torch.full((len(clips), max(map(len, clips)) + 77), padding)
    for row, clip in zip(wave, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return module(wave, torch.tensor([len(clip) for clip in clips])).numpy()


def made(info, layers, pooling="mean", dtype=torch.float32):
    options = {"normalized": info.normalize, "layers": layers, "pooling": pooling, "store_dtype": dtype}
    return PaddedEncoder(load_model(info), **options)


@pytest.mark.parametrize("pooling", ["mean", "mean+std", "mean+max"])
def test_it_is_the_encoder_whatever_lies_in_the_padding(checkpoint, pooling):
    folder, model = checkpoint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = resolve_encoder(str(folder))
    layers = (1, 0, info.n_layers - 1)
    if model.config.model_type not in KNOWN or getattr(model.config, "conv_pos_batch_norm", False):
        with pytest.raises(EncoderError, match=r"^an encoder of the kind .* cannot be written as one graph: .* can$"):
            made(info, layers, pooling)
        return
    module = made(info, layers, pooling)
    own = WaveformEncoder(info, layers=layers)
    clips = clips_of(own)
    expected = own.pooled(clips, pooling).reshape(len(clips), -1)
    for padding in (0.0, 0.7, float("nan")):
        np.testing.assert_allclose(rows(module, clips, padding), expected, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(rows(module, clips[2:3]), expected[2:3], atol=2e-4, rtol=1e-4)


def test_it_rounds_as_a_store_does_and_leaves_the_model_alone():
    info = resolve_encoder("tiny")
    model = load_model(info)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module = PaddedEncoder(model, normalized=True, layers=(1,), pooling="mean", store_dtype=torch.float16)
    found = rows(module, [np.ones(8_000, np.float32)])
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.isfinite(model(torch.ones(1, 8_000)).last_hidden_state).all()  # parametrizations lie in shared classes
    assert len(module.model.encoder.layers) == 1 < len(model.encoder.layers)
