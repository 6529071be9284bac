"""Studies that outlive a process: opened, repaired, shared, resumed."""

from __future__ import annotations

import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from embedx.errors import EmbedxError, MissingExtraError, ParameterError
from embedx.files import kind_of_no_file
from embedx.heads.search_space import Dimension, holds
from embedx.text import first_line

__all__ = [
    "WORKER",
    "NumberedSampler",
    "check_trials",
    "open_study",
    "repair_journal",
    "study_errors",
    "worker_name",
]

WORKER = "worker"
"""Attribute of a trial that says which process runs it."""

_RACES = ("already exists", "UNIQUE constraint failed", "database is locked", "duplicate key")
"""What databases say when two processes create the same table or row."""

_JOURNAL_SUFFIXES = (".journal", ".jsonl", ".log")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    _RETRY = RetryHeartbeatStaleTrialCallback(max_retry=2)


class NumberedSampler(BaseSampler):
    """TPE whose random numbers follow from the seed and the number of the trial.

    So processes that share a study do not repeat each other, and a study that is resumed
    goes on with the numbers that it would have had.

    Parameters
    ----------
    seed : int
        Seed of the study.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tpe = TPESampler(seed=seed, multivariate=True)

    def before_trial(self, study: Any, trial: Any) -> None:
        """Seed for this trial."""
        self._tpe = TPESampler(seed=(self._seed * 1_000_003 + trial.number) % 2**32, multivariate=True)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        """As TPE does."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        """As TPE does."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """As TPE does."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """As TPE does."""
        self._tpe.after_trial(study, trial, state, values)


def open_study(
    place: str | None, *, name: str, direction: Literal["minimize", "maximize"], seed: int, pruner: Any
) -> optuna.Study:
    """Create a study, or go on with the one of this name.

    Parameters
    ----------
    place : str or None
        sqlite file, journal file (``.journal``, ``.jsonl``, ``.log``) or database URL; None keeps it in memory.
    name : str
        What tells studies in one place apart.
    direction : {'minimize', 'maximize'}
        Of the score.
    seed : int
        Seed of the sampler.
    pruner : optuna pruner
        When to give a trial up.

    Raises
    ------
    ParameterError
        The place cannot be opened, or is no study.
    MissingExtraError
        The driver of the database is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def create() -> optuna.Study:
        return optuna.create_study(
            storage=_storage(place),
            study_name=name,
            direction=direction,
            sampler=NumberedSampler(seed),
            pruner=pruner,
            load_if_exists=True,
        )

    if place is None:
        return create()
    _require_file(place)
    with study_errors(place):
        study = _retried(create)
        _revive(study)
    return study


def _retried(create: Callable[[], optuna.Study]) -> optuna.Study:
    """Open with a few tries: two processes may create one database at once."""
    for _ in range(8):
        try:
            return create()
        except Exception as error:  # sqlalchemy and its drivers each raise their own
            if not any(sign in str(error) for sign in _RACES):
                raise
            time.sleep(0.3)
    return create()


@contextmanager
def study_errors(place: str | None) -> Iterator[None]:
    """Turn what a study's storage raises into one line; what embedx raises passes."""
    try:
        yield
    except EmbedxError:
        raise
    except Exception as error:  # sqlalchemy, its drivers, optuna and json each raise their own
        if isinstance(error, ImportError) and str(place).startswith("postgres"):
            raise MissingExtraError.for_extra("psycopg", "postgres", "a study on PostgreSQL") from error
        raise _refusal(place, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Say what is wrong with a study; what is no error of a database is one of reading what it holds."""
    text = first_line(getattr(error, "orig", None) or error)[:200]
    if isinstance(error, IndexError) and text.startswith("tuple"):
        return "it is damaged: a trial has a value that is not among the choices stored with it"
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError | AssertionError):
        return f"it is damaged: what it holds cannot be read ({text})"
    return f"{type(error).__name__}: {text}"


def _refusal(place: str | None, reason: str) -> ParameterError:
    shown = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", str(place))
    return ParameterError(
        f"study {shown[:300]!r} cannot be opened: {reason}. Give a new file (study.db or study.journal), "
        "or a database URL"
    )


def check_trials(study: optuna.Study, dimensions: Mapping[str, Dimension], metric: str, place: str | None) -> None:
    """Refuse a study whose trials cannot be of this search: other parameters, or values that no trial has.

    Raises
    ------
    ParameterError
        There is such a trial; its number is said.
    """
    most = 1.0 if metric == "balanced_accuracy" else float("inf")
    with study_errors(place):
        for trial in study.get_trials(deepcopy=False):
            for name, value in trial.params.items():
                if name not in dimensions or not holds(dimensions[name], value):
                    raise _refusal(place, f"trial {trial.number} has {name}={value!r:.60}, which is not tried here")
            scores = [*trial.intermediate_values.values(), *(trial.values or ())]
            if not all(0 <= score <= most for score in scores):
                raise _refusal(place, f"trial {trial.number} has a {metric} of {scores[-1]:.4g}, which cannot be")


def _require_file(place: str) -> None:
    """Refuse what is no file before anything waits for it: a pipe would never answer."""
    path = place if "://" not in place else place.removeprefix("sqlite:///").partition("?")[0]
    if "://" in path or path in ("", ":memory:"):
        return
    longest = 255 - len(".lock") - 36 - len(".rename") - 8
    if len(os.fsencode(os.path.basename(path))) > longest:
        raise _refusal(place, f"its name is longer than {longest} bytes, which leaves none for the files beside it")
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _refusal(place, getattr(error, "strerror", None) or str(error)) from error
    kind = kind_of_no_file(path)
    if kind is not None:
        raise _refusal(place, f"it is {kind}, not a file")


def _storage(place: str | None) -> Any:
    if place is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if "://" not in place and (place.endswith(_JOURNAL_SUFFIXES) or Path(place).name == "journal"):
            repair_journal(place)
            return JournalStorage(JournalFileBackend(os.path.abspath(place), _lock(place)))
        return RDBStorage(
            _url(place),
            engine_kwargs={"connect_args": {"timeout": 60}} if "://" not in place else None,
            heartbeat_interval=60,
            grace_period=180,
            heartbeat_stale_trial_callback=_RETRY,
        )


def _url(place: str) -> str:
    """Return the URL of a database; PostgreSQL by the driver of the extra, whatever SQLAlchemy would take."""
    if "://" in place:
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", place)
    url = f"sqlite:///{quote(os.path.abspath(place))}"  # ?, # and % mean something in a URL
    return url.replace("{", "{{").replace("}", "}}")  # optuna fills a template in


def _lock(place: str | os.PathLike[str]) -> JournalFileOpenLock:
    """Return the lock of a journal, once one that leads nowhere is gone: optuna would wait for that one for ever."""
    lock = f"{os.path.abspath(place)}.lock"
    for _ in range(20):
        if not os.path.islink(lock) or os.path.exists(lock):
            break
        time.sleep(0.1)
    else:
        Path(lock).unlink(missing_ok=True)
    return JournalFileOpenLock(os.path.abspath(place))


def repair_journal(place: str | os.PathLike[str]) -> int:
    """Cut a torn last line off a journal, which would make it unreadable for ever.

    Returns
    -------
    int
        Bytes that were cut.
    """
    path = Path(place)
    if not path.exists() or path.stat().st_size == 0:
        return 0
    lock = _lock(path)
    lock.acquire()
    try:
        with path.open("rb+") as file:
            return _cut_torn_end(file)
    finally:
        lock.release()


def _cut_torn_end(file: Any) -> int:
    end = position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    file.truncate(position)
    return int(end - position)


def worker_name() -> str:
    """Return what tells this process apart from every other: host, pid, and when it started."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where /proc is not there or it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _revive(study: optuna.Study) -> None:
    """Fail the trials of processes that are gone and queue their parameters again, twice at most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if _is_gone(trial.user_attrs.get(WORKER)):
            study.tell(trial.number, state=TrialState.FAIL)
            _RETRY(study, trial)


def _is_gone(worker: Any) -> bool:
    parts = worker.split(" ") if isinstance(worker, str) else []
    if len(parts) != 3 or parts[0] != socket.gethostname() or not parts[1].isdecimal():
        return False
    pid, started = int(parts[1]), parts[2]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(started) and _started(pid) != started
