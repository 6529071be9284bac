"""The bundled encoder gives what transformers' own model gives for the clip alone."""

import numpy as np
import torch

from embedx.encoders.catalog import load_encoder, resolve_encoder


def test_frames_equal_those_of_transformers_for_each_clip_alone():
    from transformers import AutoModel

    info = resolve_encoder("tiny")
    encoder = load_encoder(info, layers=tuple(range(info.n_layers)))
    model = AutoModel.from_pretrained(info.location).eval()
    rng = np.random.default_rng(0)
    clips = [rng.normal(0, 0.1, n).astype(np.float32) for n in (400, 5000, 16000)]
    frames = encoder.encode(clips)
    for b, clip in enumerate(clips):
        values = torch.from_numpy((clip - clip.mean()) / np.sqrt(clip.var() + 1e-7))[None]
        with torch.inference_mode():
            states = model(values, output_hidden_states=True).hidden_states
        assert len(states) == info.n_layers
        for layer, state in zip(frames.layers, states, strict=True):
            mine = layer[b, : frames.n_frames[b]]
            assert (mine - state[0]).norm() <= 1e-5 * state[0].norm()
