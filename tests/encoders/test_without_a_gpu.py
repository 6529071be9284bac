"""What can be seen of the GPU's path without one: torch's fake tensors lie on a device, and compute only shapes.

They refuse to mix devices, and refuse whatever would have to wait for the device to know a number. How many
operations a batch is says how often a GPU has to be told something, which is what short clips cost there.
"""

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from embedx.encoders import convolutions, transformer_layers, waveform
from embedx.encoders.device import exact_float32
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.logmel import log_mel_of_each
from embedx.encoders.resolve import resolve_encoder
from embedx.encoders.waveform import WaveformEncoder
from embedx.encoders.waveform_batch import Waves

GPU = "cuda:0"


class Counted(TorchDispatchMode):
    """Counts what is computed; views cost nothing."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not operation.is_view:
            self.found[str(operation)] += 1
        return result


@pytest.fixture
def fake_gpu(monkeypatch):
    """``fake_gpu(folder, dtype)`` -> an encoder whose weights lie on a GPU that is not there."""
    mode = FakeTensorMode()

    def to(module, where):
        """Do as ``module.to`` does, to a device that is not there."""
        is_dtype = isinstance(where, torch.dtype)
        for part in module.modules():
            for kind, wrap in ((part._parameters, torch.nn.Parameter), (part._buffers, lambda tensor: tensor)):
                for name, tensor in [(name, tensor) for name, tensor in kind.items() if tensor is not None]:
                    dtype = where if is_dtype and tensor.is_floating_point() else tensor.dtype
                    there = torch.empty(tensor.shape, dtype=dtype, device=tensor.device if is_dtype else where)
                    kind[name] = wrap(there) if tensor.is_floating_point() else there
        return module

    def lay_out(batch, *, device, multiple=1):
        n_samples = tuple(map(len, batch))
        width = -(-max(n_samples) // multiple) * multiple
        values = torch.empty(len(batch), width, device=device)
        return Waves(values, n_samples, torch.empty(len(batch), dtype=torch.int64, device=device))

    load_model = waveform.load_model
    monkeypatch.setattr(waveform, "lay_out", lay_out)
    for module in (convolutions, transformer_layers):  # it compares numbers, which fake tensors have not
        monkeypatch.setattr(module, "is_exact_gelu", lambda activation: True)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: tensor, raising=False)
    monkeypatch.setattr(torch.nn.Module, "to", to)

    def make(folder, dtype="bfloat16"):
        info = resolve_encoder(str(folder))
        model = load_model(info)
        for module in model.modules():
            if hasattr(module, "parametrizations"):
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        monkeypatch.setattr(waveform, "load_model", lambda info: model)
        with mode:
            encoder = WaveformEncoder(info, layers=tuple(range(info.n_layers)), device=GPU, compute_dtype=dtype)
        return encoder, mode

    return make


def clips(*lengths):
    return [np.zeros(n, np.float32) for n in lengths]


@pytest.mark.parametrize("lengths", [(16_000, 16_000), (16_000, 24_001, 400)], ids=["equal", "ragged"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_batch_stays_on_the_device_and_nothing_waits_for_it(checkpoint, fake_gpu, lengths, dtype):
    if checkpoint[1].config.model_type == "sew-d":
        pytest.skip("transformers' SEW-D computes relative positions on a device that is there")
    encoder, mode = fake_gpu(checkpoint[0], dtype)
    with mode:
        frames = encoder.encode(clips(*(max(n, encoder.min_samples) for n in lengths)))
        assert {layer.device for layer in frames.layers} == {torch.device(GPU)}
        assert pool_frames(frames, pooling="mean+std").shape == (len(lengths), encoder.n_layers, 2 * encoder.dim)
        pooled = encoder.pooled(clips(*(max(n, encoder.min_samples) for n in lengths)))
        assert pooled.shape == (len(lengths), encoder.n_layers, encoder.dim)


def operations(encoder, mode, batch):
    with mode, Counted() as counted:
        encoder.pooled(batch)
    return sum(counted.found.values())


@pytest.mark.parametrize("family", ["wav2vec2-group", "wav2vec2-layer-stable", "wavlm-group"])
def test_many_clips_cost_no_more_operations_than_few(make_checkpoint, tmp_path, fake_gpu, family):
    make_checkpoint(tmp_path, family)
    encoder, mode = fake_gpu(tmp_path)
    few = operations(encoder, mode, clips(16_000, 24_000))
    assert operations(encoder, mode, clips(*range(16_000, 48_000, 1_000))) == few
    assert few < 250  # three layers


def test_the_control_of_many_clips_costs_no_more_operations_than_that_of_few():
    def count(*lengths):
        with Counted() as counted:
            log_mel_of_each(clips(*lengths))
        return sum(counted.found.values())

    count(16_000)  # makes the transform
    assert count(*range(16_000, 48_000, 1_000)) == count(16_000, 24_000) < 80


def test_float32_stays_exact_for_one_thread_when_another_one_ends():
    before = torch.backends.cudnn.allow_tf32
    with exact_float32:
        with contextlib.ExitStack() as other, ThreadPoolExecutor(1) as lane:
            lane.submit(other.enter_context, exact_float32).result()
            lane.submit(other.close).result()
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
