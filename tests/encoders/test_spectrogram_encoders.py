"""Encoders with a front end of their own: frames are those of transformers on the clip alone, in any batch."""

import json

import numpy as np
import pytest
import torch

from embedx.audio.decode import decode
from embedx.encoders.families import FAMILIES
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.networks import NETWORKS
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.encoders.spectrogram import SpectrogramEncoder
from embedx.errors import ClipTooShortError, EncoderError, ParameterError
from embedx.testing import check_encoder
from tests.encoders.by_transformers import extractor_of, features_of, layers_alone
from tests.encoders.checkpoints import write_other

TOLERANCE = 1e-5


def clips_for(info, seconds, seed=0):
    rng = np.random.default_rng(seed)
    lengths = [max(info.min_samples, round(n * info.sample_rate)) for n in seconds]
    return [(rng.normal(0, rng.uniform(0.01, 0.3), n) + rng.uniform(-0.1, 0.1)).astype(np.float32) for n in lengths]


def decaying_tone(seconds, rate):
    times = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 440 * times) * np.exp(-3 * times)).astype(np.float32)


@pytest.fixture
def poison(monkeypatch):
    """Let padding hold NaN wherever clips are put beside each other."""
    pad = torch.nn.utils.rnn.pad_sequence

    def poisoned(parts, **options):
        whole = pad(parts, **options)
        for row, part in enumerate(parts):
            whole[row, len(part) :] = float("nan")
        return whole

    monkeypatch.setattr(torch.nn.utils.rnn, "pad_sequence", poisoned)


def load(folder, padding=None, **options):
    info = resolve_encoder(str(folder))
    return info, SpectrogramEncoder(info, layers=tuple(range(info.n_layers)), padding=padding, **options)


def hold_to_alone(frames, expected):
    for row, (states, tokens) in enumerate(expected):
        assert len(frames.layers) == len(states)
        for number, (layer, state) in enumerate(zip(frames.layers, states, strict=True)):
            assert frames.n_frames[row] == len(state)
            error = float((layer[row, : len(state)].float() - state).norm() / state.norm())
            assert error <= TOLERANCE, (row, number)
            if tokens is not None:
                found = frames.class_tokens[number][row]
                assert float((found - tokens[number]).norm() / tokens[number].norm()) <= TOLERANCE


def hold_batches(checkpoint, *, batched, more=(0.0, 0.61, 1.99, 0.1003)):
    folder, model = checkpoint
    for padding in resolve_encoder(str(folder)).paddings:
        info, encoder = load(folder, padding, batched=batched)
        native = min(info.native_seconds or 2.0, 2.0) - 0.003
        clips = clips_for(info, [native, *more])
        expected = [layers_alone(folder, model, clip, padding) for clip in clips]
        hold_to_alone(encoder.encode(clips), expected)
        for pooling in ("mean", "mean+std", "max", "mean+max", *(["cls"] if info.n_class_tokens else [])):
            rows = encoder.pooled(clips, pooling)
            assert rows.dtype == np.float32
            assert np.allclose(rows, pool_frames(encoder.encode(clips), pooling=pooling), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
def test_every_layer_is_that_of_the_clip_alone_in_any_batch(other_checkpoint, poison, batched):
    hold_batches(other_checkpoint, batched=batched)


@pytest.mark.slow
def test_every_layer_is_that_of_the_clip_alone_at_the_native_windows_of_real_checkpoints(long_checkpoint, poison):
    hold_batches(long_checkpoint, batched=True, more=[0.61])


def test_a_clip_of_the_native_length_is_that_of_transformers(other_checkpoint):
    folder, model = other_checkpoint
    info, encoder = load(folder)
    if info.native_seconds is None:
        return  # it takes clips of any length
    clips = clips_for(info, [info.native_seconds])
    hold_to_alone(encoder.encode(clips), [layers_alone(folder, model, clips[0], encoder.padding)])
    with pytest.raises(ParameterError, match=r"are more than .* takes"):
        encoder.encode([np.zeros(len(clips[0]) + 1, np.float32)])


def test_less_than_one_frame_is_too_short(other_checkpoint):
    info, encoder = load(other_checkpoint[0])
    assert next(iter(encoder.encode([np.zeros(info.min_samples, np.float32)]).n_frames)) >= 1
    with pytest.raises(ClipTooShortError):
        encoder.encode([np.zeros(info.min_samples - 1, np.float32)])


@pytest.mark.parametrize("seconds", [0.1, 1.7])
def test_the_front_end_is_transformers_own(other_checkpoint, seconds):
    folder = other_checkpoint[0]
    info, encoder = load(folder)
    for samples in (*clips_for(info, [seconds]), decaying_tone(seconds, info.sample_rate)):
        hold_to_extractor(folder, encoder, samples)


def hold_to_extractor(folder, encoder, samples):
    ready = features_of(extractor_of(folder), samples)
    theirs = torch.as_tensor(np.asarray(ready[next(iter(ready))]))[0].double()
    ours = encoder._network.features(torch.from_numpy(encoder._network.prepared(samples))[None])[0].double()
    theirs = theirs[tuple(map(slice, ours.shape))]  # Whisper's is of as many frames as are asked for
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= TOLERANCE


@pytest.mark.parametrize("place", ["esc10/audio", "fsdd/recordings"])
def test_the_front_end_is_transformers_own_on_recordings(other_checkpoint, shared_data, place):
    folder = other_checkpoint[0]
    info, encoder = load(folder)
    files = sorted((shared_data / place).rglob("*.*"))[:: 90 if place.startswith("esc") else 700][:4]
    recordings = [decode(file, sample_rate=info.sample_rate) for file in files]
    native = round(min(info.native_seconds or 30.0, 30.0) * info.sample_rate)
    for samples in (
        *recordings,
        np.resize(np.concatenate(recordings), native),
        recordings[0][: info.sample_rate // 10],
    ):
        hold_to_extractor(folder, encoder, samples[:native])


def test_silence_is_finite(other_checkpoint):
    info, encoder = load(other_checkpoint[0])
    assert np.isfinite(encoder.pooled([np.zeros(info.sample_rate, np.float32)], "mean+std")).all()


def test_it_keeps_the_contract_of_every_encoder(other_checkpoint):
    check_encoder(load(other_checkpoint[0])[1])


def test_every_family_is_tested(other_checkpoint):
    assert resolve_encoder(str(other_checkpoint[0])).model_type in FAMILIES
    assert FAMILIES.keys() == NETWORKS.keys()


def test_layers_are_picked_in_the_order_asked_for(other_checkpoint):
    info, encoder = load(other_checkpoint[0])
    clip = clips_for(info, [0.7])
    some = load_encoder(info, layers=(2, 0)).pooled(clip)
    assert np.array_equal(some, encoder.pooled(clip)[:, [2, 0]])


def test_bfloat16_stays_near(other_checkpoint):
    info, encoder = load(other_checkpoint[0])
    clips = clips_for(info, [1.3, 0.4])
    rows, near = encoder.pooled(clips), load(other_checkpoint[0], compute_dtype="bfloat16")[1].pooled(clips)
    cosines = (rows * near).sum(-1) / np.linalg.norm(rows, axis=-1) / np.linalg.norm(near, axis=-1)
    assert cosines.min() >= 0.99


@pytest.mark.parametrize(
    ("family", "file", "changes", "says"),
    [
        ("whisper-asr", "preprocessor_config.json", {"feature_size": 128}, "feature_size is '128'"),
        ("whisper-asr", "preprocessor_config.json", {"hop_length": 0}, "hop_length is '0'"),
        (
            "whisper-asr",
            "preprocessor_config.json",
            {"chunk_length": 30},
            "as max_source_positions of config.json has it",
        ),
        ("whisper-asr", "preprocessor_config.json", {"feature_extractor_type": "Other"}, "'WhisperFeatureExtractor'"),
        ("whisper-asr", "config.json", {"encoder_layers": "two"}, "encoder_layers is 'two'"),
        ("ast", "preprocessor_config.json", {"mean": "x"}, "mean is 'x'"),
        ("ast", "preprocessor_config.json", {"std": 0}, "std is '0'"),
        ("ast", "preprocessor_config.json", {"max_length": 1_024}, "max_length is '1024'"),
        ("ast", "config.json", {"patch_size": 0}, "patch_size is '0'"),
        ("clap", "preprocessor_config.json", {"truncation": "fusion"}, "'rand_trunc' is needed"),
        ("clap", "preprocessor_config.json", {"frequency_max": -1}, "no ClapFeatureExtractor can be made"),
        ("clap", "preprocessor_config.json", {"max_length_s": 100}, "spec_size"),
        ("clap", "config.json", {"audio_config": [1]}, "audio_config is"),
        ("w2v-bert", "preprocessor_config.json", {"num_mel_bins": 40}, "num_mel_bins is '40'"),
        ("parakeet", "preprocessor_config.json", {"win_length": 2_000}, "win_length is '2000'"),
        ("moonshine", "preprocessor_config.json", {"sampling_rate": None}, "sampling_rate is 'None'"),
    ],
)
def test_what_no_encoder_has_is_one_line(make_other_checkpoint, tmp_path, family, file, changes, says):
    make_other_checkpoint(tmp_path, family)
    path = tmp_path / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(EncoderError, match=says) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_spectrogram_that_nobody_describes_is_refused(make_other_checkpoint, tmp_path):
    make_other_checkpoint(tmp_path, "whisper-asr")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match="nobody knows which spectrogram it reads"):
        resolve_encoder(str(tmp_path))


@pytest.mark.parametrize("kind", ["dac", "qwen2_audio"])
def test_what_is_not_supported_says_why(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(EncoderError, match=f"of model_type '{kind}', which is a .* Supported: "):
        resolve_encoder(str(tmp_path))


def test_files_that_contradict_each_other_about_a_spectrogram_are_refused(tmp_path):
    write_other(tmp_path, "whisper-asr")
    path = tmp_path / "preprocessor_config.json"
    said = json.loads(path.read_text())
    nested = tmp_path / "processor_config.json"
    nested.write_text(json.dumps({"feature_extractor": said}))
    assert resolve_encoder(str(tmp_path)).model_type == "whisper"  # the same twice is no contradiction
    nested.write_text(json.dumps({"feature_extractor": {**said, "n_fft": said["n_fft"] * 2}}))
    wrong, right = said["n_fft"] * 2, said["n_fft"]
    with pytest.raises(EncoderError, match=rf"contradict each other: .*n_fft {wrong}.*; .*n_fft {right}"):
        resolve_encoder(str(tmp_path))
