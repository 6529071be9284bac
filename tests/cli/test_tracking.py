"""``--log-to`` by the real libraries, each with a store on this disk, read back by the library itself."""

import json

import pytest

from embedx import load_embeddings
from embedx.cli import main
from embedx.comparison.provenance import data_hash
from embedx.errors import EmbedxWarning, ParameterError
from embedx.tracking import Trackers, open_trackers


@pytest.fixture
def store(tone_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(tone_model / "emb.h5")


COMPARE = ["--heads", "logreg", "--folds", "3", "--no-auto", "--no-curves", "-o", "results"]


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory):
    """The address of a store; to make one takes MLflow seconds."""
    pytest.importorskip("mlflow", reason="needs mlflow")
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db"


def newest_run(address):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("embedx").experiment_id
    return client, client.search_runs([experiment], order_by=["attributes.start_time DESC"])[0]


def test_a_comparison_in_mlflow(store, mlflow_store, tmp_path):
    assert main(["compare", store, *COMPARE, "--log-to", f"mlflow:{mlflow_store}"]) == 0
    client, run = newest_run(mlflow_store)
    rows = {row["name"]: row for row in json.loads((tmp_path / "results" / "comparison.json").read_text())["rows"]}
    assert {"majority", "logmel", "logreg"} == set(rows)
    for name, row in rows.items():
        assert run.data.metrics[f"{name}/accuracy"] == row["scores"]["accuracy"]
        for end, value in zip(("low", "high"), row["intervals"].get("accuracy", ()), strict=False):
            assert run.data.metrics[f"{name}/accuracy {end}"] == value
    dataset = load_embeddings(store)
    assert run.data.params["data_sha256"] == data_hash(dataset)
    assert run.data.params["recipe"] == dataset.recipe.fingerprint()
    assert run.data.params["option/heads"] == "logreg"
    assert "logreg/above majority p" in run.data.metrics
    assert run.info.status == "FINISHED"
    assert {one.path for one in client.list_artifacts(run.info.run_id)} >= {"report.html", "comparison.json"}


def test_a_study_in_mlflow_has_every_trial_and_a_failed_run_is_marked(store, mlflow_store, tmp_path):
    words = ["tune", store, "--head", "logreg", "--trials", "3", "--json", "tuned.json", "--pruner", "none"]
    assert main([*words, "--log-to", f"mlflow:{mlflow_store}"]) == 0
    client, run = newest_run(mlflow_store)
    record = json.loads((tmp_path / "tuned.json").read_text())
    logged = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "trial/log_loss")}
    assert logged == {trial["number"]: trial["value"] for trial in record["trials"]}
    regularisation = client.get_metric_history(run.info.run_id, "trial/C")
    assert [one.value for one in regularisation] == [trial["params"]["C"] for trial in record["trials"]]
    assert run.data.metrics["best log_loss"] == record["value"]
    assert main(["tune", "missing.h5", "--trials", "1", "--log-to", f"mlflow:{mlflow_store}"]) == 2
    assert newest_run(mlflow_store)[1].info.status == "FAILED"


@pytest.mark.finetune
def test_a_fine_tuning_in_tensorboard_has_every_step(tone_folder, tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    monkeypatch.chdir(tmp_path)
    words = ["fit", str(tone_folder), "--head", "finetune", "--encoder", "tiny", "--epochs", "2", "--device", "cpu"]
    words += ["--freeze", "encoder", "--valid-fraction", "0.4", "-o", "model", "--log-to", "tensorboard"]
    assert main(words) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    events = reader.EventAccumulator(str(folder)).Reload()
    steps = [one.step for one in events.Scalars("train/loss")]
    assert steps == list(range(1, len(steps) + 1))
    assert [one.step for one in events.Scalars("epoch/valid_loss")] == [0, 1]
    scores = json.loads((tmp_path / "model" / "model.json").read_text())["scores"]
    for part in ("valid", "majority"):
        (logged,) = events.Scalars(f"{part}/accuracy")
        assert logged.value == pytest.approx(scores[part]["accuracy"])
    assert {"README.md/text_summary", "run/text_summary"} <= set(events.Tags()["tensors"])


def test_a_study_in_wandb_offline(store, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert main(["tune", store, "--head", "logreg", "--trials", "2", "--log-to", "wandb:tones"]) == 0
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    for word in (b"trial/log_loss", b"best log_loss", b"option/head", b"data_sha256", b"tones"):
        assert word in content


@pytest.mark.parametrize(
    ("target", "told"),
    [("mlfow", "unknown tracker 'mlfow': did you mean 'mlflow'"), ("mlflow:odd://x", "--log-to mlflow:odd://x: ")],
)
def test_a_tracker_that_cannot_be_used_is_one_line_before_any_work(store, capsys, target, told):
    if "odd" in target:
        pytest.importorskip("mlflow", reason="needs mlflow")
    assert main(["compare", store, *COMPARE, "--log-to", target]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_tracker_that_fails_later_costs_a_warning_and_the_others_go_on():
    seen = []

    class Broken:
        def log_metrics(self, metrics, step):
            raise OSError("disk full")

        def close(self, *, failed):
            raise AssertionError("it was given up")

    class Kept(Broken):
        def log_metrics(self, metrics, step):
            seen.append((metrics, step))

        def close(self, *, failed):
            seen.append(failed)

    trackers = Trackers({"broken": Broken(), "kept": Kept()})
    with pytest.warns(EmbedxWarning, match="nothing more is logged to broken .*disk full"):
        trackers.log_metrics({"a": 1, "b": float("nan"), "c": None, "odd%name": 2.5, "d": True}, step=3)
    trackers.close()
    assert seen == [({"a": 1.0, "odd_name": 2.5}, 3), False]


def test_a_missing_library_names_the_extra(monkeypatch):
    import builtins

    real = builtins.__import__

    def importing(name, *rest, **options):
        if name.partition(".")[0] == "wandb":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(ImportError, match=r"pip install 'embedx\[wandb\]'"), open_trackers(["wandb"], name="x"):
        pass


def test_no_tracker_is_no_work():
    with open_trackers([], name="x") as trackers:
        trackers.log_facts({"a": 1})
    with pytest.raises(ParameterError), open_trackers(["nothing"], name="x"):
        pass
