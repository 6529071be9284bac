"""A model takes its place whole and in one step; what else lies there is never lost."""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from embedx.errors import ModelFormatError, ParameterError
from embedx.model import Model, fit_model
from embedx.model.atomic_folder import free_place


@pytest.fixture(scope="module")
def two(make_dataset):
    return fit_model(make_dataset(), "logreg"), fit_model(make_dataset(), "lgbm")


def test_a_model_is_replaced_only_when_that_is_said_and_the_message_names_it(two, tmp_path):
    two[0].save(tmp_path / "m", overwrite=False)
    with pytest.raises(ModelFormatError, match=r"logreg, 3 classes: class 0, .*saved 20\d\d-.*--overwrite"):
        two[1].save(tmp_path / "m", overwrite=False)
    assert Model.load(tmp_path / "m").head == "logreg"
    two[1].save(tmp_path / "m", overwrite=True)
    assert Model.load(tmp_path / "m").head == "lgbm"


def test_a_model_that_cannot_be_read_is_named_too(two, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{")
    with pytest.raises(ModelFormatError, match="one that cannot be read"):
        two[0].save(tmp_path / "m", overwrite=False)


def test_files_beside_a_model_are_never_lost(two, tmp_path):
    two[0].save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("years of work")
    with pytest.raises(ModelFormatError, match=r"holds notes\.txt beside its model"):
        two[1].save(tmp_path / "m")
    assert (tmp_path / "m" / "notes.txt").read_text() == "years of work"
    assert Model.load(tmp_path / "m").head == "logreg"


@pytest.mark.parametrize("name", ["x" * 250, "ü" * 125, "x" * 300])
def test_names_that_are_too_long(two, tmp_path, name):
    with pytest.raises(ModelFormatError, match="too long for the name of a model"):
        two[0].save(tmp_path / name)


def test_what_killed_runs_left_is_removed_and_what_a_living_one_writes_is_not(two, tmp_path):
    for name in (".m.0123abcd", ".m.0123abcf", ".m.0123abce.old", ".m.notes", ".other.0123abcd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text("{}")
    living = os.open(tmp_path / ".m.0123abcf", os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    two[0].save(tmp_path / "m")
    two[0].save(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.0123abcf", ".m.notes", ".other.0123abcd", "m"]
    os.close(living)


def test_a_model_between_two_renames_is_put_back(two, make_dataset, tmp_path):
    """Where the system cannot exchange two names, a kill between two renames leaves the old model under another."""
    two[0].save(tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / ".m.0123abcd.old")
    broken = replace(fit_model(make_dataset(n=12), "knn", params={"n_neighbors": 3}), parameters={"n_neighbors": 999})
    with pytest.raises(ModelFormatError, match="not saved"):
        broken.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").head == "logreg"


def test_readers_and_a_writer_that_is_killed(two, make_dataset, tmp_path):
    """A process saves two models in turn and is killed somewhere; every load finds one of them, whole."""
    dataset, place = make_dataset(), tmp_path / "m"
    two[0].save(place)
    expected = {model.head: model.predict_proba(dataset) for model in two}
    for pause in (0.15, 0.4):
        writer = os.fork()
        if writer == 0:
            try:
                for i in range(100_000):
                    two[i % 2].save(place)
                    time.sleep(0.1)  # else a reader of the larger model finds it gone again each time it has read it
            finally:
                os._exit(1)
        seen, until = set(), time.monotonic() + pause
        while time.monotonic() < until or len(seen) < 2:
            read = Model.load(place)
            np.testing.assert_array_equal(read.predict_proba(dataset), expected[read.head])
            seen.add(read.head)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        read = Model.load(place)
        np.testing.assert_array_equal(read.predict_proba(dataset), expected[read.head])
    two[1].save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_two_threads_save_at_the_same_time(two, tmp_path):
    errors = []

    def save(model):
        try:
            for _ in range(5):
                model.save(tmp_path / "m")
        except ModelFormatError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(model,)) for model in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Model.load(tmp_path / "m").head in ("logreg", "lgbm")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_full_disk_leaves_the_old_model(two, tmp_path):
    two[0].save(tmp_path / "m")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        try:
            two[1].save(tmp_path / "m")
        except ModelFormatError as error:
            os._exit(7 if "cannot be written" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert Model.load(tmp_path / "m").head == "logreg"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_cannot_be_read_back_is_not_called_saved(two, make_dataset, tmp_path):
    two[0].save(tmp_path / "m")
    broken = replace(fit_model(make_dataset(n=12), "knn", params={"n_neighbors": 3}), parameters={"n_neighbors": 999})
    with pytest.raises(ModelFormatError, match=r"'knn' is not saved: read back, it gives other answers"):
        broken.save(tmp_path / "m")
    other = replace(two[0], estimator=two[0].estimator, parameters={"layer": 0})
    with pytest.raises(ModelFormatError, match="not saved"):
        other.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").parameters == {}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "params",
    [{"C": np.float32(0.5)}, {"C": np.float64(2), "layer": np.int64(1)}, {"class_weight": np.str_("balanced")}],
)
def test_parameters_of_numpy_are_kept(make_dataset, tmp_path, params):
    model = fit_model(make_dataset(), "logreg", params=params, seed=np.int64(3))
    loaded = Model.load(model.save(tmp_path / "m"))
    assert loaded.parameters == {name: value.item() for name, value in params.items()}
    assert (loaded.seed, type(loaded.seed)) == (3, int)


@pytest.mark.parametrize("seed", [None, np.random.RandomState(1), np.random.default_rng(1)])
def test_a_generator_gives_one_seed_that_is_kept(make_dataset, tmp_path, seed):
    model = fit_model(make_dataset(), "mlp", params={"max_epochs": 2}, seed=seed)
    again = fit_model(make_dataset(), "mlp", params={"max_epochs": 2}, seed=model.seed)
    np.testing.assert_array_equal(again.predict_proba(make_dataset()), model.predict_proba(make_dataset()))
    assert Model.load(model.save(tmp_path / "m")).seed == model.seed


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "0", True])
def test_seeds_that_are_none(make_dataset, seed):
    with pytest.raises(ParameterError, match="seed="):
        fit_model(make_dataset(), "logreg", seed=seed)


@pytest.mark.parametrize("params", [{"C": [1]}, {"C": {"a": 1}}, {"class_weight": [1]}, {"C": "much"}])
def test_nonsense_of_a_parameter_is_one_line(make_dataset, params):
    with pytest.raises(ParameterError, match="parameter of LogisticRegression must be") as caught:
        fit_model(make_dataset(), "logreg", params=params)
    assert "\n" not in str(caught.value)


def test_a_number_that_json_lacks_is_refused_before_anything_is_learned(make_dataset):
    with pytest.raises(ParameterError, match="C=inf cannot be kept in a model"):
        fit_model(make_dataset(), "logreg", params={"C": float("inf")})


def test_weights_change_what_is_learned_and_must_fit(make_dataset):
    dataset = make_dataset(gap=0.5)
    weights = np.where(np.asarray(dataset.y) == "class 0", 10.0, 1.0)
    plain, weighted = fit_model(dataset, "logreg"), fit_model(dataset, "logreg", sample_weight=weights, calibrate=True)
    assert weighted.estimator.predict_proba(dataset.X)[:, 0].mean() > plain.predict_proba(dataset)[:, 0].mean() + 0.05
    for wrong in (weights[:-1], -weights, weights * np.nan):
        with pytest.raises(ParameterError, match="sample_weight"):
            fit_model(dataset, "logreg", sample_weight=wrong)
    with pytest.raises(ParameterError, match="takes no sample_weight"):
        fit_model(dataset, "knn", sample_weight=weights)


def test_a_place_that_another_run_took_meanwhile(two, tmp_path):
    two[0].save(tmp_path / "m")
    assert free_place(tmp_path / "m") == tmp_path / "m-2"
    assert free_place(tmp_path / "new") == tmp_path / "new"


@pytest.mark.parametrize("head", ["logreg", "lgbm", "mlp", "knn"])
def test_a_model_can_be_sent_to_another_process(make_dataset, head):
    model = fit_model(make_dataset(), head)
    sent = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(sent.predict_proba(make_dataset()), model.predict_proba(make_dataset()))
