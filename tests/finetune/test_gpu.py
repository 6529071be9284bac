"""Mixed precision: the same code on CPUs, and on a GPU where there is one."""

import numpy as np
import pytest
import torch

from embedx.heads.finetune import Augmentation, FineTuneClassifier


@pytest.mark.parametrize("freeze", ["conv", "none"])
def test_mixed_precision_ends_near_float32(plain, tones, freeze):
    """With masks, clips of several lengths in a batch, and features that were kept: autocast's dtypes fit together."""
    some = {**plain, "epochs": 1, "freeze": freeze, "augmentation": Augmentation()}
    exact = FineTuneClassifier(**some).fit(*tones)
    mixed = FineTuneClassifier(**some, compute_dtype="bfloat16").fit(*tones)
    assert mixed.history_[0]["train_loss"] == pytest.approx(exact.history_[0]["train_loss"], rel=0.05)
    assert mixed.history_[0]["train_loss"] != exact.history_[0]["train_loss"]
    assert {p.dtype for p in mixed.network_.model.parameters()} == {torch.float32}
    assert np.allclose(mixed.predict_proba(tones[0][:6]), exact.predict_proba(tones[0][:6]), atol=0.1)


@pytest.mark.gpu
def test_a_network_trained_on_a_gpu_predicts_on_a_cpu(plain, tones, tmp_path):
    long = {**plain, "epochs": 4, "freeze": "none", "device": "cuda", "augmentation": Augmentation()}
    torch.cuda.reset_peak_memory_stats()
    classifier = FineTuneClassifier(**long).fit(*tones)
    assert torch.cuda.max_memory_allocated() > 0
    assert (classifier.predict(tones[0]) == tones[1]).mean() > 0.8
    classifier.save(tmp_path / "model")
    loaded = FineTuneClassifier.load(tmp_path / "model").set_params(device="cpu")
    assert np.allclose(loaded.predict_proba(tones[0]), classifier.predict_proba(tones[0]), atol=0.05)


@pytest.mark.gpu
def test_a_gpu_in_float32_ends_near_a_cpu(plain, tones):
    found = [
        FineTuneClassifier(**{**plain, "device": device}, compute_dtype="float32").fit(*tones)
        for device in ("cpu", "cuda")
    ]
    losses = [[entry["train_loss"] for entry in one.history_] for one in found]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
