"""A study of several machines: heartbeats say who is gone, and what a killed worker was at is tried again."""

from __future__ import annotations

import datetime
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from embedx.errors import MissingExtraError, ParameterError
from embedx.tuning import tune

ROOT = Path(__file__).resolve().parents[2]

KILLED = """
import os, signal, sys
from embedx.testing import make_dataset
from embedx.tuning import objective, studies, tune

studies.socket.gethostname = lambda: "elsewhere"  # so nobody here can know whether this process lives
score, n_scored = objective.Task.score, 0

def score_or_die(*words, **options):
    global n_scored
    n_scored += 1
    if n_scored == 11:  # the second fold of the fourth trial
        os.kill(os.getpid(), signal.SIGKILL)
    return score(*words, **options)

objective.Task.score = score_or_die
tune(make_dataset(), "logreg", n_trials=9, n_folds=3, pruner="none", study={place!r})
"""

SHARING = """
import sys
from embedx.testing import make_dataset
from embedx.tuning import tune
print(tune(make_dataset(), "logreg", n_trials=12, n_folds=3, pruner="none", study={place!r}).n_trials)
"""


def start(code, place):
    """A worker in a process of its own."""
    words = [sys.executable, "-c", code.format(place=place)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def url_of(place):
    return place.replace("://", "+psycopg://") if "://" in place else f"sqlite:///{place}"


def trials_of(place):
    storage = optuna.storages.RDBStorage(url_of(place))
    (name,) = optuna.get_all_study_names(storage=storage)
    found = optuna.load_study(study_name=name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return found


def age_heartbeats(place, seconds):
    """Let time pass for those that have given a sign of life: what nobody wants to wait for."""
    engine = sqlalchemy.create_engine(url_of(place))
    table = sqlalchemy.Table("trial_heartbeats", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        for row in connection.execute(sqlalchemy.select(table)).all():
            older = row.heartbeat - datetime.timedelta(seconds=seconds)
            connection.execute(table.update().where(table.c.trial_id == row.trial_id).values(heartbeat=older))
    engine.dispose()


def tools_of_postgresql():
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, places[::-1]), os.environ.get("PATH", "")]))
    return Path(found).resolve().parent if found else None


@pytest.fixture(scope="module")
def postgresql():
    """The URL of a PostgreSQL server of its own, on a socket in a folder of its own."""
    pytest.importorskip("psycopg", reason="needs embedx[postgres]")
    tools = tools_of_postgresql()
    if tools is None or not (tools / "postgres").exists():
        pytest.skip("needs a PostgreSQL server (apt install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="ep", dir="/tmp"))
    user = {}
    if os.geteuid() == 0:  # the server refuses to be root
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        shutil.chown(folder, "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": ()}
    data = folder / "data"
    words = [tools / "initdb", "-D", data, "-U", "embedx", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True, cwd=folder, **user)
    words = [tools / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True, cwd=folder, **user)
    said = []
    for line in server.stderr:
        said.append(line)
        if "ready to accept connections" in line:
            break
    assert server.poll() is None, "".join(said)
    yield f"postgresql://embedx@/postgres?host={folder}"
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where the study is kept; empty."""
    if request.param == "sqlite":
        return str(tmp_path / "study.db")
    url = request.getfixturevalue("postgresql")
    engine = sqlalchemy.create_engine(url_of(url))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
        connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.mark.kill
def test_a_zombie_of_another_machine_is_recovered_by_who_is_at_work(make_dataset, place):
    worker = start(KILLED, place)
    _, err = worker.communicate(timeout=400)
    assert worker.returncode == -signal.SIGKILL, err
    assert [t.state.name for t in trials_of(place)] == ["COMPLETE"] * 3 + ["RUNNING"]
    killed = trials_of(place)[3]
    states = []

    def progress(done, total, best):
        states.append(trials_of(place)[3].state.name)
        if done == 5:
            age_heartbeats(place, 200)

    options = {"n_trials": 8, "n_folds": 3, "pruner": "none", "study": place}
    tuned = tune(make_dataset(), "logreg", progress=progress, **options)
    assert states[:3] == ["RUNNING"] * 3, "its heartbeat was fresh: it might have been alive"
    assert states[-1] == "FAIL"
    assert sum(t["state"] == "complete" for t in tuned.history) == 8
    retried = [t for t in tuned.history[4:] if t["params"] == killed.params]
    assert [t["state"] for t in retried] == ["complete"], "its parameters are lost"
    numbers = [t["number"] for t in tuned.history]
    assert numbers == list(range(9))


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_two_processes_share_a_server(place):
    """Those that share a file stand in test_studies.py."""
    workers = [start(SHARING, place) for _ in range(2)]
    for worker in workers:
        out, err = worker.communicate(timeout=400)
        assert worker.returncode == 0, err
        assert int(out) >= 12
    trials = trials_of(place)
    assert [t.number for t in trials] == list(range(len(trials)))
    assert 12 <= len(trials) <= 13
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert len({t.user_attrs["worker"] for t in trials}) == 2


def test_the_driver_of_the_database_is_named_when_it_is_missing(make_dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"embedx\[postgres\]"):
        tune(make_dataset(), "logreg", n_trials=1, study="postgresql://me@127.0.0.1:1/studies")


def test_a_password_is_not_shown(make_dataset):
    pytest.importorskip("psycopg", reason="needs embedx[postgres]")
    with pytest.raises(ParameterError, match=r"postgresql://me:\*\*\*@127\.0\.0\.1:1/studies") as caught:
        tune(make_dataset(), "logreg", n_trials=1, study="postgresql://me:s3cr:et@127.0.0.1:1/studies")
    assert "s3cr" not in str(caught.value)
    assert "\n" not in str(caught.value)
