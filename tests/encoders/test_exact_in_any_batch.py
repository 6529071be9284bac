"""A clip's frames are those of transformers' own model on the clip alone, in any batch, for every family."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedx.encoders.catalog import SUPPORTED, load_encoder, resolve_encoder
from embedx.encoders.pooling import pool_frames
from embedx.encoders.wav2vec2 import Wav2Vec2Encoder

TOLERANCE = 1e-5


@torch.inference_mode()
def alone(model, clip):
    """All layers of one clip as transformers computes them."""
    values = torch.from_numpy((clip - clip.mean()) / np.sqrt(clip.var() + 1e-7))[None]
    return [state[0] for state in model(values, output_hidden_states=True).hidden_states]


def worst_error(frames, expected):
    errors = []
    for row, states in enumerate(expected):
        assert frames.n_frames[row] == len(states[0])
        assert len(frames.layers) == len(states)
        errors += [
            float((mine[row, : len(state)] - state).norm() / state.norm())
            for mine, state in zip(frames.layers, states, strict=True)
        ]
    return max(errors)


def noise(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, rng.uniform(0.001, 0.5), n) + rng.uniform(-0.2, 0.2)).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
def test_frames_are_those_of_the_clip_alone(checkpoint, batched):
    folder, model = checkpoint
    info = resolve_encoder(str(folder))
    encoder = Wav2Vec2Encoder(info, layers=tuple(range(info.n_layers)), batched=batched)
    expected = {}

    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(st.integers(0, 40_000), min_size=1, max_size=5), st.randoms(use_true_random=False))
    def check(extra, random):
        clips = noise([encoder.min_samples + n for n in extra])
        for clip in clips:
            expected.setdefault(len(clip), None)
        random.shuffle(clips)
        assert worst_error(encoder.encode(clips), [alone(model, clip) for clip in clips]) <= TOLERANCE

    check()


def test_every_supported_type_is_tested(checkpoint):
    assert checkpoint[1].config.model_type in SUPPORTED


def test_a_clip_of_30_seconds_beside_one_frame():
    info = resolve_encoder("tiny")
    encoder = load_encoder(info, layers=tuple(range(info.n_layers)))
    from transformers import AutoModel

    model = AutoModel.from_pretrained(info.location).eval()
    clips = noise([480_000, 400])
    assert worst_error(encoder.encode(clips), [alone(model, clip) for clip in clips]) <= TOLERANCE


@pytest.mark.parametrize("family", ["wav2vec2-group", "wav2vec2-layer-stable", "wavlm-group", "hubert-batch-norm"])
def test_padding_that_holds_nan_reaches_no_frame(make_checkpoint, tmp_path, monkeypatch, family):
    model = make_checkpoint(tmp_path, family)
    encoder = Wav2Vec2Encoder(resolve_encoder(str(tmp_path)), layers=(0, 1, 2, 3), batched=True)
    pad = torch.nn.utils.rnn.pad_sequence

    def poisoned(parts, **options):
        whole = pad(parts, **options)
        for row, part in enumerate(parts):
            whole[row, len(part) :] = float("nan")
        return whole

    monkeypatch.setattr(torch.nn.utils.rnn, "pad_sequence", poisoned)
    clips = noise([16_000, 4_000, 400])
    frames = encoder.encode(clips)
    assert torch.isnan(frames.layers[0]).any()
    assert worst_error(frames, [alone(model, clip) for clip in clips]) <= TOLERANCE
    assert np.isfinite(pool_frames(frames, pooling="mean+std")).all()


@pytest.mark.parametrize("family", ["wav2vec2-group", "wav2vec2-layer-stable", "wavlm-group", "conformer-relative"])
def test_bfloat16_stays_near(make_checkpoint, tmp_path, family):
    model = make_checkpoint(tmp_path, family, hidden_size=128, conv_dim=(64,) * 7)
    info = resolve_encoder(str(tmp_path))
    encoder = load_encoder(info, layers=tuple(range(info.n_layers)), compute_dtype="bfloat16")
    clips = noise([16_000, 37_123])
    pooled = pool_frames(encoder.encode(clips))
    for row, clip in zip(pooled, clips, strict=True):
        expected = [state.mean(0).numpy() for state in alone(model, clip)]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(row, expected, strict=True)]
        assert min(cosines) >= 0.999
        assert cosines[-1] >= 0.9995


def test_bfloat16_rows_do_not_depend_on_neighbours():
    info = resolve_encoder("tiny")
    encoder = load_encoder(info, layers=(0, 2, info.n_layers - 1), compute_dtype="bfloat16")
    clips = noise([8_000, 30_000, 401])
    together = pool_frames(encoder.encode(clips))
    for row, clip in zip(together, clips, strict=True):
        assert np.array_equal(row, pool_frames(encoder.encode([clip]))[0])


def test_layers_are_picked_in_the_order_asked_for():
    info = resolve_encoder("tiny")
    clip = noise([16_000])
    everything = pool_frames(load_encoder(info, layers=tuple(range(info.n_layers))).encode(clip))
    some = pool_frames(load_encoder(info, layers=(3, 0)).encode(clip))
    assert np.array_equal(some, everything[:, [3, 0]])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu(checkpoint, dtype):
    folder, model = checkpoint
    info = resolve_encoder(str(folder))
    encoder = load_encoder(info, layers=tuple(range(info.n_layers)), device="cuda", compute_dtype=dtype)
    clips = noise([encoder.min_samples, 16_000, 16_000, 39_999])
    pooled = pool_frames(encoder.encode(clips))
    for row, clip in zip(pooled, clips, strict=True):
        for mine, state in zip(row, alone(model, clip), strict=True):
            theirs = state.mean(0).numpy()
            cosine = mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs)
            error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
            assert error <= TOLERANCE if dtype == "float32" else cosine >= 0.999
