"""Checkpoints as they come: torch's own format, with a head on top, incomplete, hostile, absent."""

import json
import os

import numpy as np
import pytest
import torch

from embedx.encoders.device import choose_compute_dtype, choose_device
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.logmel import log_mel_of_each, log_mel_statistics
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.errors import ClipTooShortError, EncoderError, ParameterError, RunnerError

CLIP = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)


def rows(folder):
    info = resolve_encoder(str(folder))
    return pool_frames(load_encoder(info, layers=tuple(range(info.n_layers))).encode([CLIP]))


def to_torch_format(folder, change=lambda weights: weights):
    """Replace model.safetensors by pytorch_model.bin."""
    from safetensors.torch import load_file

    weights = change(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def test_torch_s_own_format_gives_the_same_rows(make_checkpoint, tmp_path):
    make_checkpoint(tmp_path, "wav2vec2-group")
    expected, info = rows(tmp_path), resolve_encoder(str(tmp_path))
    to_torch_format(tmp_path)
    assert np.array_equal(rows(tmp_path), expected)
    assert resolve_encoder(str(tmp_path)).weights_sha256 != info.weights_sha256


def test_a_checkpoint_with_a_pretraining_head_gives_the_encoder_s_rows(make_checkpoint, tmp_path):
    make_checkpoint(tmp_path, "wav2vec2-group")
    expected = rows(tmp_path)
    to_torch_format(
        tmp_path,
        lambda weights: {**{f"wav2vec2.{k}": v for k, v in weights.items()}, "project_q.weight": torch.zeros(2, 2)},
    )
    assert np.array_equal(rows(tmp_path), expected)


def test_missing_weights_are_refused_not_left_random(make_checkpoint, tmp_path):
    make_checkpoint(tmp_path, "wav2vec2-group")
    to_torch_format(tmp_path, lambda weights: {k: v for k, v in weights.items() if ".layers.1." not in k})
    with pytest.raises(EncoderError, match=r"lacks \d+ weights, such as .*layers\.1\..*stay random"):
        rows(tmp_path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_a_checkpoint_runs_no_code(make_checkpoint, tmp_path):
    mark = tmp_path / "was-run"
    make_checkpoint(tmp_path, "wav2vec2-group")
    to_torch_format(tmp_path, lambda weights: {**weights, "extra": Hostile(str(mark))})
    with pytest.raises(EncoderError, match="holds more than weights") as caught:
        rows(tmp_path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_preprocessor_decides_on_normalisation(make_checkpoint, tmp_path):
    make_checkpoint(tmp_path, "wav2vec2-layer-stable")
    with_it = rows(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 16000}))
    assert not resolve_encoder(str(tmp_path)).normalize
    assert not np.allclose(rows(tmp_path), with_it, atol=1e-3)


def test_less_than_one_frame_is_too_short():
    encoder = load_encoder(resolve_encoder("tiny"), layers=(0,))
    assert encoder.min_samples == 400
    assert encoder.encode([CLIP[:400]]).n_frames == [1]
    with pytest.raises(ClipTooShortError, match=r"399 samples \(24\.9 ms\)"):
        encoder.encode([CLIP[:399]])


def test_devices_and_dtypes():
    assert choose_device("cpu") == "cpu"
    assert choose_compute_dtype("float32", "cpu") == "float32"
    assert choose_compute_dtype("auto", "cpu") in ("float32", "bfloat16")
    with pytest.raises(ParameterError, match="did you mean 'cuda'"):
        choose_device("cuda0")
    with pytest.raises(ParameterError, match="not on this machine"):
        choose_device("cuda:99")


def test_log_mel_statistics_are_finite_and_tell_sounds_apart():
    silence, short = log_mel_statistics(np.zeros(16_000, np.float32)), log_mel_statistics(CLIP[:10])
    assert silence.shape == short.shape == (128,)
    assert np.isfinite(silence).all()
    assert np.isfinite(short).all()
    assert np.allclose(silence[:64], np.log(1e-6))
    assert log_mel_statistics(CLIP)[:64].min() > silence[:64].max()


@pytest.mark.parametrize(
    ("file", "field", "value", "says"),
    [
        ("config.json", "num_hidden_layers", 1_000_000_000, "num_hidden_layers is '1000000000'"),
        ("config.json", "num_hidden_layers", "four", "whole number from 1 to 1000"),
        ("config.json", "num_hidden_layers", -3, "whole number from 1 to 1000"),
        ("config.json", "hidden_size", None, "hidden_size is 'None'"),
        ("config.json", "conv_stride", [0] * 7, "conv_stride is"),
        ("config.json", "conv_kernel", [], "equally many numbers"),
        ("config.json", "conv_dim", [], "conv_dim"),
        ("preprocessor_config.json", "sampling_rate", 0, "sampling_rate is '0'"),
        ("preprocessor_config.json", "sampling_rate", "x", "from 1000 to 768000"),
    ],
)
def test_what_no_encoder_has_is_one_line(make_checkpoint, tmp_path, file, field, value, says):
    make_checkpoint(tmp_path, "wav2vec2-group")
    path = tmp_path / file
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(EncoderError, match=says) as caught:
        rows(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_refused_without_waiting(make_checkpoint, tmp_path, file, make):
    make_checkpoint(tmp_path, "wav2vec2-group")
    (tmp_path / file).unlink()
    make(tmp_path / file)
    with pytest.raises(EncoderError, match="no regular file"):
        resolve_encoder(str(tmp_path))


def test_more_layers_than_the_config_counts_are_refused(make_checkpoint, tmp_path):
    make_checkpoint(tmp_path, "wav2vec2-group")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 2}))
    with pytest.raises(EncoderError, match=r"holds 3 transformer layers, its config\.json says num_hidden_layers is 2"):
        rows(tmp_path)


def test_a_frame_by_the_config_is_a_frame_of_the_encoder(checkpoint):
    info = resolve_encoder(str(checkpoint[0]))
    assert info.min_samples == load_encoder(info, layers=(0,)).min_samples


def test_a_revision_is_for_the_hub(tmp_path):
    with pytest.raises(EncoderError, match="'tiny' is bundled and has no revision 'main'"):
        resolve_encoder("tiny", revision="main")


@pytest.mark.parametrize("lengths", [(10,), (1_024,), (16_000, 10, 1_023, 1_025, 40_321), (1_300_000, 5_000)])
def test_the_control_of_each_is_torchaudio_s_own(lengths):
    from torchaudio.transforms import MelSpectrogram

    transform = MelSpectrogram(16_000, n_fft=1024, hop_length=320, n_mels=64)
    clips = [np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32) for n in lengths]
    for clip, found in zip(clips, log_mel_of_each(clips), strict=True):
        bands = torch.log(transform(torch.from_numpy(np.pad(clip, (0, max(0, 1024 - len(clip)))))) + 1e-6)
        expected = torch.cat([bands.mean(1), bands.std(1, correction=0)]).numpy()
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_limit_on_threads_is_not_blamed_on_the_checkpoint(monkeypatch):
    import transformers

    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", refuse)  # root is under no limit
    with pytest.raises(RunnerError, match="allows no more processes and threads"):
        load_encoder(resolve_encoder("tiny"), layers=(0,))
