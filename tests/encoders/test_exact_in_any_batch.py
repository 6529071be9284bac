"""A clip's frames are those of transformers' own model on the clip alone, in any batch, for every family."""

import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedx.encoders import waveform
from embedx.encoders.forward import ForwardPass
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.packed_linear import Linear, can_pack
from embedx.encoders.resolve import SUPPORTED, load_encoder, resolve_encoder
from embedx.encoders.waveform import WaveformEncoder, least_samples
from embedx.errors import EmbedxWarning, ParameterError

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
            float((mine[row, : len(state)].float().cpu() - state).norm() / state.norm())
            for mine, state in zip(frames.layers, states, strict=True)
        ]
    return max(errors)


def noise(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, rng.uniform(0.001, 0.5), n) + rng.uniform(-0.2, 0.2)).astype(np.float32) for n in lengths]


@pytest.fixture
def poison(monkeypatch):
    """Let padding hold NaN wherever clips are put beside each other: waveforms, normalised ones, frames."""
    pad, lay_out, normalize_each = torch.nn.utils.rnn.pad_sequence, waveform.lay_out, waveform.normalize_each

    def poisoned(parts, **options):
        whole = pad(parts, **options)
        for row, part in enumerate(parts):
            whole[row, len(part) :] = float("nan")
        return whole

    def spoilt(waves):
        waves.values[~waves.is_real] = float("nan")
        return waves

    monkeypatch.setattr(torch.nn.utils.rnn, "pad_sequence", poisoned)
    monkeypatch.setattr(waveform, "lay_out", lambda *args, **options: spoilt(lay_out(*args, **options)))
    monkeypatch.setattr(waveform, "normalize_each", lambda waves: spoilt(normalize_each(waves)))


def lengths_up_to(longest):
    """One to five clips, from one frame to ``longest`` samples; the ends of the range often."""
    edge = st.sampled_from([0, 1, 319, 320, longest])
    return st.lists(st.one_of(edge, st.integers(0, longest)), min_size=1, max_size=5)


def hold_to_alone(checkpoint, *, longest, n_examples, batched, device="cpu"):
    """Every layer of every clip of random batches is that of transformers' own model on the clip alone."""
    folder, model = checkpoint
    info = resolve_encoder(str(folder))
    encoder = WaveformEncoder(info, layers=tuple(range(info.n_layers)), batched=batched, device=device)

    @settings(max_examples=n_examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(lengths_up_to(longest - encoder.min_samples), st.integers(0, 100))
    def check(extra, seed):
        clips = noise([encoder.min_samples + n for n in extra], seed)
        frames = encoder.encode(clips)
        assert worst_error(frames, [alone(model, clip) for clip in clips]) <= TOLERANCE
        assert np.isfinite(pool_frames(frames, pooling="mean+std")).all()

    check()


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
def test_frames_are_those_of_the_clip_alone(checkpoint, poison, batched):
    hold_to_alone(checkpoint, longest=40_000, n_examples=6, batched=batched)


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
def test_pooling_layer_by_layer_gives_what_pooling_frames_gives(checkpoint, poison, batched):
    info = resolve_encoder(str(checkpoint[0]))
    encoder = WaveformEncoder(info, layers=tuple(range(info.n_layers)), batched=batched)
    for lengths in ([9_000], [8_000, 8_000], [9_000, encoder.min_samples, 12_345, 9_000]):
        clips = noise(lengths)
        for pooling in ("mean", "mean+std", "max", "mean+max"):
            expected = pool_frames(encoder.encode(clips), pooling=pooling)
            found = encoder.pooled(clips, pooling)
            assert found.dtype == np.float32
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ParameterError, match="'median'"):
        encoder.pooled(clips, "median")
    with pytest.raises(ParameterError, match="'cls': this encoder has no class token"):
        encoder.pooled(clips, "cls")


def test_the_pass_with_gradients_gives_the_last_layer_of_the_clip_alone(checkpoint, poison):
    model = checkpoint[1]
    forward = ForwardPass(model, normalized=True)
    clips = noise([9_000, least_samples(model.config), 12_345, 9_000])
    waves = [forward.wave(clip, torch.device("cpu")) for clip in clips]
    for found, wave in zip(forward.frames(forward.convolve(waves)), waves, strict=True):
        with torch.inference_mode():
            expected = model(wave[None]).last_hidden_state[0]
        assert found.shape == expected.shape
        assert found.requires_grad
        assert float((found.detach() - expected).norm() / expected.norm()) <= TOLERANCE


@pytest.mark.slow
def test_frames_are_those_of_the_clip_alone_up_to_30_seconds(checkpoint, poison):
    hold_to_alone(checkpoint, longest=480_000, n_examples=3, batched=True)


@pytest.mark.gpu
def test_frames_are_those_of_the_clip_alone_on_a_gpu(checkpoint, poison):
    assert not torch.backends.cuda.matmul.allow_tf32
    hold_to_alone(checkpoint, longest=480_000, n_examples=10, batched=True, device="cuda")


def test_every_supported_type_is_tested(checkpoint):
    assert checkpoint[1].config.model_type in SUPPORTED


def test_a_clip_of_30_seconds_beside_one_frame():
    info = resolve_encoder("tiny")
    encoder = load_encoder(info, layers=tuple(range(info.n_layers)))
    from transformers import AutoModel

    model = AutoModel.from_pretrained(info.location).eval()
    clips = noise([480_000, 400])
    assert worst_error(encoder.encode(clips), [alone(model, clip) for clip in clips]) <= TOLERANCE


def test_poison_is_there(make_checkpoint, tmp_path, poison):
    make_checkpoint(tmp_path, "wav2vec2-group")
    encoder = WaveformEncoder(resolve_encoder(str(tmp_path)), layers=(0, 3), batched=True)
    features, n_frames = encoder._features_of_batch(noise([16_000, 400]))
    assert n_frames == [49, 1]
    assert torch.isnan(features[1, 2:]).all()
    assert not torch.isnan(features[0]).any()


def hold_bfloat16(folder, model, *, longest, n_examples, device="cpu"):
    """Pooled rows in bfloat16 point where those of transformers' own model in float32 do."""
    info = resolve_encoder(str(folder))
    options = {"layers": tuple(range(info.n_layers)), "device": device, "compute_dtype": "bfloat16"}
    encoder = load_encoder(info, **options)

    @settings(max_examples=n_examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(lengths_up_to(longest - encoder.min_samples), st.integers(0, 100))
    def check(extra, seed):
        clips = noise([encoder.min_samples + n for n in extra], seed)
        for row, clip in zip(pool_frames(encoder.encode(clips)), clips, strict=True):
            expected = [state.mean(0).numpy() for state in alone(model, clip)]
            cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(row, expected, strict=True)]
            assert min(cosines) >= 0.999
            assert cosines[-1] >= 0.9995

    check()


def test_bfloat16_stays_near(wide_checkpoint, poison):
    hold_bfloat16(*wide_checkpoint, longest=40_000, n_examples=4)


@pytest.mark.gpu
def test_bfloat16_stays_near_on_a_gpu(wide_checkpoint, poison):
    hold_bfloat16(*wide_checkpoint, longest=480_000, n_examples=10, device="cuda")


@pytest.mark.slow
def test_compiled_layers_stay_within_the_tolerance(make_checkpoint, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "yt_dlp"]:
        monkeypatch.delitem(sys.modules, name)  # torch's compiler asks every module for its file; yt-dlp's have none
    model = make_checkpoint(tmp_path, "wav2vec2-group", num_hidden_layers=1)
    encoder = load_encoder(resolve_encoder(str(tmp_path)), layers=(0, 1), compiled=True)
    clips = noise([16_000, 24_001, 1_200])
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbedxWarning)  # what falls back proves nothing
        frames = encoder.encode(clips)
    assert worst_error(frames, [alone(model, clip) for clip in clips]) <= TOLERANCE


def test_where_compiling_fails_the_layers_go_on_with_one_warning(monkeypatch):
    def hopeless(function, **_):
        def fail(*_):
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", hopeless)
    info, clips = resolve_encoder("tiny"), noise([8_000, 16_000])
    encoder = load_encoder(info, layers=(0, 2), compiled=True)
    with pytest.warns(EmbedxWarning, match=r"does not work here \(RuntimeError: no C\+\+ compiler\)") as caught:
        rows = pool_frames(encoder.encode(clips))
    assert len(caught) == 1
    assert np.allclose(rows, pool_frames(load_encoder(info, layers=(0, 2)).encode(clips)), atol=1e-5)


@pytest.mark.parametrize("gelu", [False, True])
def test_packed_products_in_float32_are_those_of_torch(gelu):
    if not can_pack(torch.float32, torch.device("cpu")):
        pytest.skip("needs a CPU with AVX-512")
    torch.manual_seed(0)
    x, weight, bias = torch.randn(250, 96), torch.randn(192, 96), torch.randn(192)
    packed, plain = (Linear(weight, bias, gelu=gelu, dtype=torch.float32, pack=pack) for pack in (True, False))
    assert (packed.packed, plain.packed) == (True, False)
    for rows in (x[:1], x[:49], x, x[None]):
        torch.testing.assert_close(packed(rows), plain(rows), atol=1e-4, rtol=1e-5)


def test_packed_products_are_not_compiled_and_that_is_said():
    if not can_pack(torch.bfloat16, torch.device("cpu")):
        pytest.skip("needs a CPU whose oneDNN computes in bfloat16")
    with pytest.warns(EmbedxWarning, match="packed products"):
        load_encoder(resolve_encoder("tiny"), layers=(0,), compute_dtype="bfloat16", compiled=True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_layers_stay_within_the_tolerance_on_a_gpu(checkpoint, dtype):
    folder, model = checkpoint
    info = resolve_encoder(str(folder))
    options = {"layers": tuple(range(info.n_layers)), "device": "cuda", "compute_dtype": dtype}
    encoder = load_encoder(info, **options, compiled=True)
    clips = noise([16_000, 24_001, encoder.min_samples])
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmbedxWarning)
        frames = encoder.encode(clips)
    if dtype == "float32":
        assert worst_error(frames, [alone(model, clip) for clip in clips]) <= TOLERANCE


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
