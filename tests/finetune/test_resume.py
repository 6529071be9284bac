"""Killed at any time, and gone on: the run ends where an unbroken one ends."""

import json
import resource
import signal

import pytest
import torch
from safetensors.torch import load_file

from embedx.errors import CheckpointWarning, Interrupted, ModelFormatError, ParameterError
from embedx.heads.finetune import Augmentation, FineTuneClassifier
from embedx.heads.finetune.resources import Checkpoints

VARIED = {"noise_snr_db": 10.0, "mixup_alpha": 0.2}


@pytest.fixture(scope="module")
def moving(plain):
    """A training in which everything that is drawn at random is switched on."""
    return {**plain, "dropout": 0.1, "layerdrop": 0.1, "validation_fraction": 0.25, "augmentation": VARIED}


def state(classifier):
    return dict(classifier.network_.model.state_dict())


def worst(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.kill
@pytest.mark.parametrize("kill_after", [3, 7])
def test_a_killed_training_ends_where_an_unbroken_one_ends(tmp_path, tones, moving, train_once, kill_after):
    folder, out = tmp_path / "checkpoints", tmp_path / "weights.safetensors"
    resumable = {**moving, "checkpoint_folder": str(folder), "resume": True}
    killed = train_once(tones, out, kill_after=kill_after, checkpoint_seconds=0.0, **resumable)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    assert list(folder.glob("step-*"))
    varied = Augmentation(**VARIED)
    steps = []
    resumed = FineTuneClassifier(**{**resumable, "augmentation": varied})
    resumed.fit(*tones, progress=lambda done, total, **facts: steps.append(done))
    unbroken = FineTuneClassifier(**{**moving, "augmentation": varied}).fit(*tones)
    assert steps[0] in (kill_after, kill_after + 1)
    assert worst(state(resumed), state(unbroken)) < 1e-6
    assert resumed.history_ == [pytest.approx(entry) for entry in unbroken.history_]
    assert list(folder.glob("step-*"))  # a disk that is full when the model is saved costs no training
    resumed.save(tmp_path / "model")
    assert not folder.exists()


def test_a_checkpoint_of_another_training_is_refused(tmp_path, tones, plain):
    class Stop(Exception):
        pass

    def stop(epoch, loss):
        raise Stop

    kept = {**plain, "checkpoint_folder": tmp_path, "resume": True}
    with pytest.raises(Stop):
        FineTuneClassifier(**kept).fit(*tones, on_epoch=stop)
    with pytest.raises(ParameterError, match=r"epochs 2 there, 3 here.*--resume"):
        FineTuneClassifier(**{**kept, "epochs": 3}).fit(*tones)
    with pytest.raises(ParameterError, match="data"):
        FineTuneClassifier(**kept).fit(tones[0][:-1], tones[1][:-1])
    with pytest.warns(CheckpointWarning, match="model was not saved: it is replaced"):
        afresh = FineTuneClassifier(**{**kept, "epochs": 3, "resume": False}).fit(*tones)
    assert len(afresh.history_) == 3


def test_a_saved_training_leaves_no_checkpoint_and_other_files_alone(tmp_path, tones, plain):
    place = tmp_path / "kept"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    FineTuneClassifier(**{**plain, "epochs": 1, "checkpoint_folder": place}).fit(*tones).save(tmp_path / "model")
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_a_finished_training_that_was_not_saved_is_not_repeated(tmp_path, tones, plain):
    kept = {**plain, "checkpoint_folder": tmp_path, "resume": True}
    first = FineTuneClassifier(**kept).fit(*tones)
    steps = []
    second = FineTuneClassifier(**kept).fit(*tones, progress=lambda done, total, **facts: steps.append(done))
    assert steps == []
    assert worst(state(first), state(second)) == 0


def test_ctrl_c_ends_after_the_step_and_keeps_it(tmp_path, tones, plain):
    kept = {**plain, "checkpoint_folder": tmp_path, "resume": True}

    def interrupt(done, total, **facts):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"state is kept in .*step-0-000000003: .*resume=True"):
        FineTuneClassifier(**kept).fit(*tones, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0-000000003"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = FineTuneClassifier(**kept).fit(*tones)
    assert worst(state(resumed), state(FineTuneClassifier(**plain).fit(*tones))) < 1e-6


def test_ctrl_c_while_the_last_epoch_is_judged_is_not_forgotten(tmp_path, tones, plain):
    kept = {**plain, "epochs": 1, "checkpoint_folder": tmp_path, "resume": True}
    with pytest.raises(Interrupted):
        FineTuneClassifier(**kept).fit(*tones, on_epoch=lambda epoch, loss: signal.raise_signal(signal.SIGINT))
    assert len(FineTuneClassifier(**kept).fit(*tones).history_) == 1


def test_a_disk_that_fills_up_costs_a_warning_and_no_training(tmp_path, tones, plain):
    """From the second checkpoint on no file may grow as large as one; the first one stays, the training ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(epoch, loss):
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))

    filled = FineTuneClassifier(**{**plain, "epochs": 3}, checkpoint_folder=tmp_path)
    try:
        with pytest.warns(CheckpointWarning, match="the training goes on, the one before is kept; make room") as said:
            filled.fit(*tones, on_epoch=fill)
        with pytest.raises(OSError, match="too large"):
            filled.save(tmp_path.parent / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-0-000000006"]
    assert worst(state(filled), state(FineTuneClassifier(**{**plain, "epochs": 3}).fit(*tones))) == 0


def test_only_the_newest_whole_checkpoint_counts(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"a": 1})
    for step in (1, 2):
        checkpoints.save({"attempt": 0, "step": step}, {"x": torch.full((2,), float(step))})
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "state.json").write_text("{")
    state_found, tensors = checkpoints.load()
    assert state_found["step"] == 2
    assert tensors["x"].tolist() == [2.0, 2.0]
    assert len(list(tmp_path.glob("step-*"))) == 1


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({"format": 9, "identity": {}, "state": {}})])
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path, {"a": 1})
    checkpoints.save({"attempt": 0, "step": 1}, {"x": torch.zeros(1)})
    next(tmp_path.glob("step-*/state.json")).write_text(damage)
    with pytest.raises(ModelFormatError, match="delete it"):
        checkpoints.load()


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path, tones, plain):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="no folder for checkpoints can be made"):
        FineTuneClassifier(**plain, checkpoint_folder=tmp_path / "file" / "checkpoints").fit(*tones)


def test_resume_needs_a_folder(tones, plain):
    with pytest.raises(ParameterError, match="checkpoint_folder"):
        FineTuneClassifier(**plain, resume=True).fit(*tones)


@pytest.mark.slow
def test_two_processes_one_process_and_accumulation_end_alike(tmp_path, tones, plain, train_once):
    """torchrun with gloo; 22 clips, so that the last step of an epoch is smaller than the others."""
    some = (tones[0][:22], tones[1][:22])
    quiet = {**plain, "epochs": 2, "learning_rate": 1e-3, "augmentation": {"mask_time_prob": 0.0, "crop": False}}
    out = tmp_path / "two.safetensors"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = train_once(some, out, launcher=launcher, **quiet)
    assert done.returncode == 0, done.stderr
    assert '"processes": 2' in done.stdout
    two = load_file(out)
    quiet["augmentation"] = Augmentation(**quiet["augmentation"])
    one = FineTuneClassifier(**quiet).fit(*some)
    accumulated = FineTuneClassifier(**quiet, batch_seconds=0.1).fit(*some)
    assert worst(two, state(one)) < 1e-4
    assert worst(state(accumulated), state(one)) < 1e-4
    still = FineTuneClassifier(**{**quiet, "learning_rate": 1e-9, "head_learning_rate": 1e-9}).fit(*some)
    assert worst(state(still), state(one)) > 1e-3


def test_missing_processes_are_noticed(tones, plain, monkeypatch):
    from embedx.errors import RunnerError
    from embedx.heads.finetune.resources import Processes

    Processes("cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunnerError, match="2 processes were started to train together, 1 found"):
        FineTuneClassifier(**plain).fit(*tones)
