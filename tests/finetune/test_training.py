"""Training ends where it should: the same weights again, in any budget; best weights; nothing frozen moves."""

import numpy as np
import pytest
import torch

from embedx.errors import CollapsedTrainingWarning, RunnerError
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.heads.finetune.resources import MemoryBudget


def weights(classifier):
    return torch.cat([p.detach().flatten() for p in classifier.network_.model.parameters()])


@pytest.fixture(scope="module")
def fitted(plain, tones):
    return FineTuneClassifier(**plain).fit(*tones)


def test_it_learns(plain, tones):
    classifier = FineTuneClassifier(**{**plain, "epochs": 4, "freeze": "none"}).fit(*tones)
    assert (classifier.predict(tones[0]) == tones[1]).mean() > 0.8
    assert classifier.history_[-1]["train_loss"] < 0.7 * classifier.history_[0]["train_loss"]
    assert not classifier.collapsed_
    proba = classifier.predict_proba(tones[0])
    assert proba.shape == (24, 3)
    assert np.allclose(proba.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_weights(plain, tones):
    moving = {**plain, "dropout": 0.1, "layerdrop": 0.2, "augmentation": Augmentation(noise_snr_db=10, mixup_alpha=0.3)}
    first, second, other = (FineTuneClassifier(**moving, random_state=seed).fit(*tones) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(second))
    assert not torch.allclose(weights(first), weights(other), atol=1e-4)


def test_the_budget_changes_no_weights(fitted, plain, tones):
    small = FineTuneClassifier(**plain, batch_seconds=0.1).fit(*tones)
    start = FineTuneClassifier(**{**plain, "epochs": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9}).fit(*tones)
    assert (weights(small) - weights(fitted)).abs().max() < 1e-4
    assert (weights(fitted) - weights(start)).abs().max() > 1e-3


def test_memory_that_runs_out_halves_the_budget_and_changes_no_weights(fitted, plain, tones, monkeypatch):
    from embedx.heads.finetune.network import Network

    honest, asked = Network.logits, []

    def narrow(self, batch, masks=None):
        asked.append(sum(len(one) * (1 if isinstance(one, np.ndarray) else 320) for one in batch) / 16_000)
        if asked[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(self, batch, masks)

    monkeypatch.setattr(Network, "logits", narrow)
    classifier = FineTuneClassifier(**plain, batch_seconds=20.0).fit(*tones)
    assert max(asked) > 3
    assert asked[-1] <= 3
    assert (weights(classifier) - weights(fitted)).abs().max() < 1e-4


def test_memory_that_never_suffices_is_one_line():
    def never():
        raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(RunnerError, match="gradient-checkpointing"):
        MemoryBudget(100, sample_rate=16_000, device=torch.device("cpu")).spend(never)


def test_other_runtime_errors_pass():
    def broken():
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        MemoryBudget(100, sample_rate=16_000, device=torch.device("cpu")).spend(broken)


def test_best_weights_are_restored(plain, tones):
    """The last epochs are ruined on purpose: what is kept scores as the best epoch did."""
    ruined = {**plain, "epochs": 6, "validation_fraction": 0.25, "patience": 0, "warmup_fraction": 0.0}
    classifier = FineTuneClassifier(**ruined)
    seen = []

    def ruin(epoch, loss):
        seen.append(loss)
        if epoch >= 2:
            with torch.no_grad():
                classifier_of_training[0].classifier.weight.normal_(std=5)

    from embedx.heads.finetune import training

    classifier_of_training = []
    build = training.build_network

    def remember(*args, **options):
        network = build(*args, **options)
        classifier_of_training[:] = [network.model]
        return network

    training.build_network = remember
    try:
        classifier.fit(*tones, on_epoch=ruin)
    finally:
        training.build_network = build
    losses = [entry["valid_loss"] for entry in classifier.history_]
    assert classifier.best_epoch_ == int(np.argmin(losses)) < 5
    held_out = np.array(losses[classifier.best_epoch_])
    again = _held_out_loss(classifier, tones)
    assert again == pytest.approx(float(held_out), abs=1e-5)
    assert losses[-1] > 1.5 * held_out


def _held_out_loss(classifier, tones):
    from embedx.evaluation.splits import stratified_holdout

    codes = np.searchsorted(classifier.classes_, tones[1])
    _, held_out = stratified_holdout(codes, None, 0.25, 0)
    proba = classifier.predict_proba([tones[0][i] for i in held_out])
    return float(-np.log(proba[np.arange(len(held_out)), codes[held_out]]).mean())


def test_it_stops_early_and_keeps_groups_together(plain, tones):
    groups = np.array([f"g{i % 8}" for i in range(24)])
    still = {**plain, "epochs": 9, "learning_rate": 1e-9, "head_learning_rate": 1e-9, "validation_fraction": 0.25}
    losses = []
    classifier = FineTuneClassifier(**still, patience=2)
    classifier.fit(*tones, groups=groups, on_epoch=lambda epoch, loss: losses.append(loss))
    assert len(classifier.history_) == len(losses) < 9
    assert classifier.facts_["n_train"] == 18


def test_what_on_epoch_raises_ends_the_training(plain, tones):
    class Pruned(Exception):
        pass

    def prune(epoch, loss):
        raise Pruned

    with pytest.raises(Pruned):
        FineTuneClassifier(**plain).fit(*tones, on_epoch=prune)


def test_gradual_unfreezing_begins_with_the_head(plain, tones, small_encoder):
    from safetensors.torch import load_file

    start = load_file(f"{small_encoder}/model.safetensors")
    moved = []

    def compare(epoch, loss):
        now = dict(built[0].base.named_parameters())
        moved.append({n for n, tensor in start.items() if n in now and not torch.equal(tensor, now[n].detach())})

    from embedx.heads.finetune import training

    built, build = [], training.build_network

    def remember(*args, **options):
        built[:] = [build(*args, **options)]
        return built[0]

    training.build_network = remember
    try:
        FineTuneClassifier(**{**plain, "epochs": 4, "unfreeze_epochs": 3}).fit(*tones, on_epoch=compare)
    finally:
        training.build_network = build
    assert moved[0] == set()
    layers = [{name.split(".")[2] for name in names if "encoder.layers" in name} for names in moved]
    assert layers[1] < layers[2] <= layers[3] == {"0", "1", "2"}
    assert not any("feature_extractor" in name for name in moved[3])


def test_a_collapse_is_said_and_answered_once(plain, tones):
    hot = {**plain, "epochs": 6, "learning_rate": 5.0, "head_learning_rate": 5.0}
    with pytest.warns(CollapsedTrainingWarning) as said:
        classifier = FineTuneClassifier(**hot).fit(*tones)
    assert classifier.n_restarts_ == 1
    assert "repeated once at 1" in str(said[0].message)
    assert len(classifier.history_) <= 12
    assert {entry["attempt"] for entry in classifier.history_} == {0, 1}
    assert classifier.history_[0]["collapsed"] or classifier.history_[1]["collapsed"]


def test_weights_of_clips_count(plain, tones):
    weight = np.where(tones[1] == "high", 1.0, 1e-6)
    with pytest.warns(CollapsedTrainingWarning):  # one class by weight is one class
        classifier = FineTuneClassifier(**plain).fit(*tones, sample_weight=weight)
    assert set(classifier.predict(tones[0])) == {"high"}


def test_progress_is_told_every_step(plain, tones):
    calls = []
    FineTuneClassifier(**plain).fit(*tones, progress=lambda done, total, **facts: calls.append((done, total, facts)))
    assert [done for done, _, _ in calls] == list(range(1, 13))
    assert calls[0][1] == 12
    assert set(calls[-1][2]) == {"epoch", "loss", "accuracy"}


def test_frozen_convolutions_are_computed_once_a_clip(plain, tones, monkeypatch):
    """And where there is no room to keep what they make of it, the weights are the same."""
    from embedx.heads.finetune import training
    from embedx.heads.finetune.network import Network

    honest, calls = Network.features, []
    monkeypatch.setattr(Network, "features", lambda self, samples: calls.append(1) or honest(self, samples))
    masked = {**plain, "validation_fraction": 0.25, "augmentation": Augmentation(), "epochs": 3}
    kept = FineTuneClassifier(**masked).fit(*tones)
    assert len(calls) == len(tones[0])
    monkeypatch.setattr(training, "_FEATURE_BYTES", 0)
    bare = FineTuneClassifier(**masked).fit(*tones)
    assert len(calls) == 4 * len(tones[0])
    assert torch.equal(weights(kept), weights(bare))
    FineTuneClassifier(**{**masked, "freeze": "none"}).fit(*tones)
    FineTuneClassifier(**{**masked, "augmentation": Augmentation(speed_percent=10)}).fit(*tones)
    held_out = len(tones[0]) - kept.facts_["n_train"]
    assert len(calls) == 4 * len(tones[0]) + 3 * held_out


def test_lora_learns(plain, tones):
    pytest.importorskip("peft")
    classifier = FineTuneClassifier(**plain, lora_rank=4).fit(*tones)
    assert classifier.history_[-1]["train_loss"] < classifier.history_[0]["train_loss"]
    assert classifier.network_.peft_model is None
