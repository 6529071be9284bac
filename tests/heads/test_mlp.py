"""The small network: stops in time, keeps its best weights, respects groups, is the same again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from embedx.errors import ParameterError
from embedx.evaluation.splits import stratified_holdout
from embedx.heads.catalog import make_head
from embedx.heads.mlp import MLPClassifier, forward
from embedx.heads.mlp_training import _arrays, _batches, _Network


def blobs(n=90, n_classes=3, dim=6, gap=2.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return (rng.normal(size=(n, dim)) + rng.normal(size=(n_classes, dim))[y] * gap).astype(np.float32), y


def noise(n=80, dim=30):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, dim)).astype(np.float32), rng.integers(0, 2, n)


def held_out_loss(head, X, y, groups=None):
    seed = int(np.random.RandomState(head.random_state).randint(2**31 - 1))
    _, valid = stratified_holdout(y, groups, head.validation_fraction, seed)
    proba = head.predict_proba(X[valid])
    return -np.log(proba[np.arange(len(valid)), y[valid]]).mean()


def test_the_best_weights_are_kept_not_the_last_ones():
    X, y = noise()
    head = MLPClassifier(max_epochs=60, patience=60, dropout=0.0, learning_rate=1e-2).fit(X, y)
    losses = head.validation_losses_
    assert len(losses) == 60
    assert losses[-1] > losses.min() * 1.05, "the data must overfit for this test to say anything"
    assert head.best_epoch_ == losses.argmin()
    np.testing.assert_allclose(held_out_loss(head, X, y), losses.min(), rtol=1e-3)


def test_it_stops_after_so_many_epochs_without_gain():
    X, y = noise()
    head = MLPClassifier(max_epochs=200, patience=4, learning_rate=1e-2).fit(X, y)
    assert head.n_iter_ == head.best_epoch_ + 5 < 200


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_plain_numpy_gives_what_torch_gives(norm, n_layers):
    settings = MLPClassifier(n_layers=n_layers, n_hidden=2, width=7, dropout=0.5, norm=norm)
    torch.manual_seed(0)
    network = _Network(settings, 6, 4)
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    for _ in range(5):
        network(torch.as_tensor(X) * 2 + 1)  # moves the running statistics
    network.eval()
    with torch.no_grad():
        expected = network(torch.as_tensor(X)).numpy()
    np.testing.assert_allclose(forward(_arrays(network), X), expected, atol=2e-6)


def test_the_held_out_part_keeps_groups_whole():
    y = np.arange(120) % 2
    groups = np.repeat(np.arange(20), 6)
    for seed in range(10):
        train, valid = stratified_holdout(y, groups, 0.15, seed)
        assert len(valid) > 0
        assert not set(groups[train]) & set(groups[valid])
        assert sorted([*train, *valid]) == list(range(120))


def test_few_groups_cost_no_training_data(monkeypatch):
    """One of two speakers is held out to count epochs; then both are learned from, for as many."""
    from embedx.heads import mlp_training

    X, y = blobs(n_classes=2)
    calls, original = [], mlp_training.train_network

    def spy(*data, train, valid, max_epochs, **options):
        calls.append((max_epochs, len(train), len(valid)))
        return original(*data, train=train, valid=valid, max_epochs=max_epochs, **options)

    monkeypatch.setattr(mlp_training, "train_network", spy)
    head = MLPClassifier(max_epochs=30).fit(X, y, groups=np.arange(90) // 45)
    assert [(n_train, n_valid) for _, n_train, n_valid in calls] == [(45, 45), (90, 0)]
    assert calls[1][0] == head.best_epoch_ + 1
    calls.clear()
    MLPClassifier(max_epochs=30).fit(X, y, groups=np.arange(90) // 6)
    assert len(calls) == 1, "enough groups: the best weights are kept as they are"


def test_groups_change_what_is_held_out_through_fit():
    X, y = blobs()
    alone = MLPClassifier(max_epochs=3).fit(X, y)
    grouped = MLPClassifier(max_epochs=3).fit(X, y, groups=np.repeat(np.arange(15), 6))
    assert not np.array_equal(alone.validation_losses_, grouped.validation_losses_)
    np.testing.assert_allclose(held_out_loss(grouped, X, y, np.repeat(np.arange(15), 6)),
                               grouped.validation_losses_.min(), rtol=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("y", "groups"),
    [([0, 1], None), ([0, 0, 0, 1], None), ([0, 1] * 10, [0, 1] * 10), ([0, 1] * 10, [0] * 20)],
    ids=["two clips", "a class of one", "a group a class", "one group"],
)
def test_without_a_fair_split_it_trains_on_everything(y, groups):
    y = np.array(y)
    X = np.random.default_rng(0).normal(size=(len(y), 4))
    head = MLPClassifier(max_epochs=5).fit(X, y, groups=groups)
    assert head.n_iter_ == 5
    assert np.isfinite(head.predict_proba(X)).all()


def test_the_global_random_state_is_left_alone():
    X, y = blobs()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    MLPClassifier(max_epochs=2).fit(X, y)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_matter():
    X, y = blobs()
    a, b, c = (MLPClassifier(max_epochs=3, random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_learned_layers_find_the_one_that_knows():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 4, 6))
    X[:, 2] += y[:, None] * 1.5
    head = make_head("mlp", n_layers=4, layer="learned", learning_rate=1e-2).fit(X.reshape(200, -1), y)
    shares = head[-1].weights_["layers"]
    assert shares.argmax() == 2
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-5)
    assert make_head("mlp", n_layers=1, layer="learned").fit(X[:, 2], y).score(X[:, 2], y) > 0.8


def test_balanced_weights_find_the_rare_class():
    rng = np.random.default_rng(0)
    y = (np.arange(300) % 10 == 0).astype(int)
    X = rng.normal(size=(300, 4)) + y[:, None]
    recall = {
        weight: (MLPClassifier(class_weight=weight, max_epochs=40).fit(X, y).predict(X)[y == 1] == 1).mean()
        for weight in (None, "balanced")
    }
    assert recall["balanced"] > recall[None] + 0.1


def test_an_epoch_can_end_the_training():
    X, y = blobs()
    seen = []

    def stop(epoch, loss):
        seen.append((epoch, loss))
        if epoch == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        MLPClassifier().fit(X, y, on_epoch=stop)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_hidden", 4), ("width", 0), ("dropout", 1.0), ("norm", "group"), ("learning_rate", 0), ("weight_decay", -1)]
    + [("batch_size", 1), ("max_epochs", 0), ("patience", 0), ("validation_fraction", 1.0), ("n_layers", 0)]
    + [("device", "gpu"), ("n_layers", 4)],
)
def test_bad_parameters_are_one_sentence(name, value):
    X, y = blobs()
    with pytest.raises(ParameterError, match=name) as caught:
        MLPClassifier(**{name: value}).fit(X, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("n", "size", "factor"), [(20, 32, 1), (200, 32, 1), (680, 128, 2), (85_000, 512, 4)], ids=str)
def test_steps_grow_with_the_clips_and_the_learning_rate_with_their_root(n, size, factor):
    assert MLPClassifier(learning_rate=0.01).steps(n) == (size, pytest.approx(0.01 * factor))
    assert MLPClassifier(learning_rate=0.01, batch_size=48).steps(n) == (48, 0.01)


def test_a_forked_child_trains_too():
    """Threads do not survive a fork; a child of a process that has trained must not wait for them."""
    X, y = blobs(n=600, dim=64)
    torch.set_num_threads(2)
    expected = MLPClassifier(max_epochs=2, device="cpu").fit(X, y).predict_proba(X)
    torch.randn(800, 800) @ torch.randn(800, 800)  # the pool of the parent is awake
    out, into = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(120)
        with os.fdopen(into, "wb") as file:
            file.write(MLPClassifier(max_epochs=2, device="cpu").fit(X, y).predict_proba(X).tobytes())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        content = file.read()
    assert os.waitpid(child, 0)[1] == 0, "the child was killed by its alarm, or failed"
    np.testing.assert_allclose(np.frombuffer(content).reshape(expected.shape), expected, atol=1e-6)


def test_threads_are_left_as_they_were():
    X, y = blobs()
    torch.set_num_threads(2)
    MLPClassifier(max_epochs=1).fit(X, y)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("size", [4, 7, 32, 200])
def test_every_clip_is_in_one_batch_of_an_epoch(size):
    for n in (2, 8, 9, 29, 450):
        rows = torch.arange(n)
        batches = [batch[0] for batch in _batches([rows, rows], rows, size)]
        assert sorted(torch.cat(batches).tolist()) == list(range(n))
        assert all(1 < len(batch) <= size + 1 for batch in batches)


def test_a_training_that_diverges_says_so():
    X, y = blobs()
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30 is too high"):
        MLPClassifier(learning_rate=1e30, norm="none", validation_fraction=0).fit(X * 1e6, y)


@pytest.mark.gpu
def test_trained_on_the_gpu():
    X, y = blobs()
    head = MLPClassifier(device="cuda").fit(X, y)
    assert head.score(X, y) > 0.9
    np.testing.assert_allclose(
        MLPClassifier(device="cuda").fit(X, y).predict_proba(X), head.predict_proba(X), atol=1e-5
    )


def test_training_does_not_import_the_compiler_of_torch():
    code = (
        "import sys, numpy as np; from embedx.heads.mlp import MLPClassifier;"
        "MLPClassifier(max_epochs=2).fit(np.eye(20, dtype='float32'), ['a', 'b'] * 10);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
