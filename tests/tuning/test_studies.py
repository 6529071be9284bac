"""Studies that outlive a process: resumed, shared, killed for real, repaired."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from embedx.errors import ParameterError
from embedx.tuning import tune
from embedx.tuning.studies import repair_journal, worker_name

PLACES = ["study.db", "study.journal"]

WORKER = """
import sys, time, pickle
import numpy as np
from embedx.testing import make_dataset
from embedx.heads.catalog import CATALOG, HeadSpec
from embedx.heads.search_space import Real
from sklearn.linear_model import LogisticRegression

class Slow(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        time.sleep({pause})
        return super().fit(X, y, sample_weight)

def slow(*, n_layers=1, random_state=0, C=0.1):
    return Slow(C=C)

space = {{"C": Real(1e-4, 1e2, log=True)}}
CATALOG["slow"] = HeadSpec(name="slow", title="slow", factory=slow, layered=False, space=space)
from embedx.tuning import tune
dataset = make_dataset()
def progress(done, total, best):
    print(done, best, flush=True)
tuned = tune(dataset, "slow", n_trials={n_trials}, study={place!r}, n_folds=3, pruner="none", progress=progress)
print("finished", tuned.n_trials, len(tuned.history), flush=True)
"""


def start(place, *, n_trials=12, pause=0.05):
    code = WORKER.format(place=str(place), n_trials=n_trials, pause=pause)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def trials_of(place):
    if str(place).endswith(".db"):
        storage = f"sqlite:///{place}"
    else:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(place)))
    (name,) = optuna.get_all_study_names(storage=storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.mark.parametrize("place", PLACES)
def test_a_study_goes_on_where_it_stopped(make_dataset, tmp_path, place):
    dataset, study = make_dataset(), str(tmp_path / place)
    first = tune(dataset, "logreg", n_trials=5, study=study)
    second = tune(dataset, "logreg", n_trials=12, study=study)
    unbroken = tune(dataset, "logreg", n_trials=12)
    assert second.history[:5] == first.history
    assert second.history == unbroken.history, "a study in pieces is the study in one piece"
    again = tune(dataset, "logreg", n_trials=12, study=study)
    assert again.history == second.history


def test_other_clips_heads_or_settings_are_another_study(make_dataset, tmp_path):
    dataset, study = make_dataset(), str(tmp_path / "study.db")
    for head, data, options in (
        ("logreg", dataset, {}),
        ("lgbm", dataset, {}),
        ("logreg", dataset.take(range(50)), {}),
        ("logreg", dataset, {"metric": "balanced_accuracy"}),
        ("logreg", dataset, {"seed": 1}),
        ("logreg", dataset, {"n_folds": 3}),
    ):
        assert tune(data, head, n_trials=2, study=study, **options).n_trials == 2
    assert len(optuna.get_all_study_names(storage=f"sqlite:///{study}")) == 6


@pytest.mark.kill
@pytest.mark.parametrize("place", PLACES)
def test_killed_in_a_trial_and_run_again(tmp_path, place):
    study = tmp_path / place
    process = start(study, n_trials=8, pause=0.3)
    for line in process.stdout:
        if line.startswith("2 "):
            break
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(t.state.name == "RUNNING" for t in trials_of(study))
    assert "finished 8" in finish(start(study, n_trials=8, pause=0.0))
    trials = trials_of(study)
    assert not any(t.state.name == "RUNNING" for t in trials), "a zombie is left"
    assert sum(t.state.name == "COMPLETE" for t in trials) == 8
    killed = [t for t in trials if t.state.name == "FAIL"]
    assert len(killed) == 1
    assert any(t.params == killed[0].params and t.state.name == "COMPLETE" for t in trials), "its parameters are lost"


@pytest.mark.parametrize("place", PLACES)
def test_two_processes_share_a_study(tmp_path, place):
    study = tmp_path / place
    outputs = [finish(process) for process in [start(study), start(study)]]
    trials = trials_of(study)
    assert all("finished 1" in output for output in outputs)
    assert 12 <= len(trials) <= 13
    assert sorted(t.number for t in trials) == list(range(len(trials)))
    values = [t.params["C"] for t in trials]
    assert len(set(values)) >= len(values) - 1, "the processes tried the same"
    workers = {t.user_attrs["worker"] for t in trials}
    assert len(workers) == 2


def test_a_torn_last_line_is_cut(make_dataset, tmp_path):
    place = tmp_path / "study.journal"
    dataset = make_dataset()
    whole = tune(dataset, "logreg", n_trials=3, study=str(place))
    content = place.read_bytes()
    place.write_bytes(content + b'{"op_code": 5, "worker_id": "x')
    assert tune(dataset, "logreg", n_trials=3, study=str(place)).history == whole.history
    assert place.read_bytes()[: len(content)] == content
    for text, cut in ((b"", 0), (b"torn", 4), (b"a\nb\n", 0), (b"a\n" + b"x" * 200_000, 200_000)):
        place.write_bytes(text)
        assert repair_journal(place) == cut
    assert repair_journal(tmp_path / "nowhere.journal") == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("study.db", b"this is no database at all" * 50), ("study.journal", b"no journal\nat all\n")],
)
def test_a_file_that_is_no_study(make_dataset, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ParameterError, match=f"{name}' cannot be opened") as caught:
        tune(make_dataset(), "logreg", n_trials=1, study=str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("place", ["nowhere/study.db", "nowhere/study.journal", "nonsense://x", "."])
def test_a_place_that_cannot_be(make_dataset, tmp_path, place, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match="cannot be opened"):
        tune(make_dataset(), "logreg", n_trials=1, study=place)


def test_workers_have_names_of_their_own():
    host, pid, started = worker_name().split(" ")
    assert int(pid) == os.getpid()
    assert host
    assert started == "" or int(started) > 0
    assert json.dumps(worker_name())


@pytest.mark.parametrize("name", ["pipe.db", "pipe.journal", "folder.db", "folder.journal"])
def test_what_is_no_file_is_refused_at_once(make_dataset, tmp_path, name):
    place = tmp_path / name
    os.mkfifo(place) if name.startswith("pipe") else place.mkdir()
    with pytest.raises(ParameterError, match=f"it is a {name.partition('.')[0]}, not a file") as caught:
        tune(make_dataset(), "logreg", n_trials=1, study=str(place))
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="not a file"):
        tune(make_dataset(), "logreg", n_trials=1, study=f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("name", ["x" * 252 + ".db", "x" * 247 + ".journal", "\0.db"])
def test_names_that_no_file_has(make_dataset, tmp_path, name):
    with pytest.raises(ParameterError, match="cannot be opened"):
        tune(make_dataset(), "logreg", n_trials=1, study=str(tmp_path / name))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["what?x=1.db", "a#b%20c.db", "{brace}.db", "what?.journal"])
def test_a_study_lies_where_it_was_said(make_dataset, tmp_path, name):
    for n_trials in (1, 2):
        assert tune(make_dataset(), "majority", n_trials=n_trials, study=str(tmp_path / name)).n_trials == 1
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("update trial_params set param_value=999999 where param_name='C'", "has C=999999"),
        ("update trial_params set param_name='gamma' where param_name='C'", "has gamma="),
        ("update trial_values set value=-1e308", "has a log_loss of -1e"),
        ("update trial_params set distribution_json='not json'", "it is damaged: what it holds cannot be read"),
        (
            "update trial_params set distribution_json="
            """'{"name": "CategoricalDistribution", "attributes": {"choices": ["os.system"]}}', param_value=9""",
            "it is damaged: a trial has a value that is not among the choices stored with it",
        ),
        ("update trials set state='STRANGE'", "cannot be opened"),
        ("delete from study_directions", r"it is damaged: what it holds cannot be read \(list index"),
        ("drop table trial_values", "cannot be opened"),
    ],
)
def test_trials_of_another_search_are_refused(make_dataset, tmp_path, change, message):
    place = tmp_path / "study.db"
    tune(make_dataset(), "logreg", n_trials=2, study=str(place))
    with sqlite3.connect(place) as database:
        database.execute(change)
    with pytest.raises(ParameterError, match=message) as caught:
        tune(make_dataset(), "logreg", n_trials=3, study=str(place))
    assert "\n" not in str(caught.value)


def test_a_lock_that_leads_nowhere_is_taken_away(make_dataset, tmp_path):
    (tmp_path / "study.journal.lock").symlink_to("gone/study.journal")
    assert tune(make_dataset(), "majority", n_trials=1, study=str(tmp_path / "study.journal")).n_trials == 1
    assert not os.path.lexists(tmp_path / "study.journal.lock")
