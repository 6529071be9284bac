"""Suites from the command line to their result: real steps on made-up speech, peers included, and bad usage."""

import csv
import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.options import Options
from benchmarks.peers.install import link_libraries
from benchmarks.peers.plan import PEERS, SCRIPTS, count_lines, peers_result
from benchmarks.quality import steps as quality_step
from benchmarks.quality.report import quality_result
from benchmarks.quality.tasks import read_tasks
from benchmarks.questions.answers import _by_share, _finetune_costs, questions_result
from benchmarks.suites import SUITES, plan_suite
from embedx.testing import make_tone, write_wav

SPEAKERS = ("george", "jackson", "nicolas")
SPENT = {"seconds": 1.5, "cpu_seconds": 1.2, "peak_mb": 99}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits as tones: three speakers, four digits, seven recordings each, in FSDD's layout."""
    folder = tmp_path_factory.mktemp("data")
    place = folder / "fsdd" / "recordings"
    place.mkdir(parents=True)
    rows = []
    for k, speaker in enumerate(SPEAKERS):
        for digit in range(4):
            for i in range(7):
                name = f"{digit}_{speaker}_{i}.wav"
                pitch = 200.0 * 1.6**digit * (1 + 0.03 * k)
                write_wav(str(place / name), make_tone(pitch, seconds=0.3, noise=0.05, seed=len(rows)))
                rows.append([f"recordings/{name}", str(digit), speaker])
    with (folder / "fsdd" / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "speaker"], *rows])
    return folder


def call(module, words, monkeypatch, out):
    monkeypatch.setattr(sys, "argv", ["it", *map(str, words), "--out", str(out)])
    status = module()
    return status, json.loads(Path(out).read_text())


@pytest.fixture(scope="module")
def records(data, tmp_path_factory):
    """Records of the quality suite on the made-up digits, with steps called in this process."""
    folder, found = tmp_path_factory.mktemp("steps"), []
    with pytest.MonkeyPatch.context() as patch:
        for step in ("embed", "ours", "maeb", "arch", "hear"):
            words = [step, "--task", "fsdd", "--encoder", "tiny", "--store", folder / "s.h5", "--data", data, "--quick"]
            status, result = call(quality_step.main, words, patch, folder / "out.json")
            assert status == 0
            found.append({"step": f"tiny/fsdd/{step}", "status": "done", **SPENT, "result": result})
    found.append(
        {"step": "tiny/gtzan", "status": "not run", "reason": "no folder", "seconds": 0, "cpu_seconds": 0, "peak_mb": 0}
    )
    return found


def test_every_protocol_finds_what_is_easy(records):
    for record in records[1:5]:
        head = next(row for row in record["result"]["rows"] if row["kind"] == "head")
        assert head["scores"]["accuracy"] > 0.5, record["step"]
        assert any(row["kind"] == "control" for row in record["result"]["rows"])


def test_maeb_tests_the_first_five_recordings_only(records):
    maeb = next(r["result"] for r in records if r["step"].endswith("maeb"))
    assert maeb["rows"][0]["settings"] == {"samples_per_label": 16, "n_experiments": 10}
    assert len(maeb["rows"][0]["runs"]) == 10


def test_heard_and_unheard_clips_are_scored_apart(records):
    head = next(row for row in records[1]["result"]["rows"] if row["kind"] == "head")
    parts = head["heard"]
    assert head["scores"]["accuracy"] == pytest.approx((2 * parts["heard"] + parts["unheard"]) / 3, abs=1e-9)


def test_the_result_has_every_row_and_says_what_was_not_run(records):
    result = quality_result(records, read_tasks(), quick=True)
    protocols = [row[1] for row in result["tables"]["summary"]["rows"]]
    assert protocols == ["ours", "MAEB", "ARCH", "HEAR"]
    published = {row[1]: row[-1] for row in result["tables"]["summary"]["rows"]}
    assert published == {"ours": "-", "MAEB": "54.8 (sd 1.7)", "ARCH": "-", "HEAR": "-"}
    states = {row[0]: row[-1] for row in result["tables"]["tasks"]["rows"]}
    assert states["FSDD, three speakers"] == "run with tiny"
    assert states["GTZAN"] == "not run: no folder"
    assert states["CREMA-D"] == "not asked for"
    assert ["tiny/fsdd/ours", "done", "1.5", "1.2", 99] in result["tables"]["steps"]["rows"]
    assert result["measures"]["tiny/fsdd/ours/logistic regression"]["keys"] == list(SPEAKERS)


def test_the_questions_are_answered_with_both_controls(records, data, tmp_path, monkeypatch):
    from benchmarks.questions import steps as questions

    store = tmp_path / "s.h5"
    words = ["embed", "--task", "fsdd", "--encoder", "tiny", "--store", store, "--data", data]
    call(quality_step.main, words, monkeypatch, tmp_path / "e.json")
    found = []
    for question, names in (("curves", ("tiny", "tiny-random")), ("tuning", ("tiny",))):
        stores = [f"{name}={store}" for name in names]
        monkeypatch.setattr(questions, "TUNED", "logreg,knn")
        words = [question, *stores, "--task", "fsdd", "--trials", "2"]
        status, result = call(questions.main, words, monkeypatch, tmp_path / "q.json")
        assert status == 0
        found.append({"step": f"fsdd/{question}", "status": "done", **SPENT, "result": result})
    monkeypatch.setattr("benchmarks.questions.answers.TUNED", "logreg,knn")
    result = questions_result(found, tmp_path)
    for name in ("data", "encoders", "tuning", "cost"):
        rows = result["tables"][name]["rows"]
        assert {"majority class", "log-mel + logistic regression"} <= {row[1] for row in rows}, name
        assert {len(row) for row in rows} == {len(result["tables"][name]["columns"])}, (name, rows)
    curve = next(row[2:7] for row in result["tables"]["data"]["rows"] if row[1] == "tiny")
    assert "-" not in curve  # three speakers: clip by clip
    assert float(curve[-1]) >= float(curve[0])
    assert float(curve[-1]) == pytest.approx(100 * found[0]["result"]["rows"][2]["accuracy"], abs=0.1)
    heard = {row[1]: row[-1] for row in result["tables"]["data"]["rows"]}
    assert heard["tiny"] == "67 %"
    assert heard["tiny-random"] == "nothing"
    assert result["measures"]["fsdd/tuning/logreg"]["keys"] == list(SPEAKERS)
    assert set(result["figures"]) == {"fsdd-data", "fsdd-layers", "fsdd-cost"}


def test_shares_stand_in_their_own_columns():
    points = [{"n_train": 500.0, "accuracy": 0.4}, {"n_train": 1000.0, "accuracy": 0.5}]
    assert _by_share(points) == ["-", "-", "40.0", "-", "50.0"]


def test_fine_tuned_rows_join_the_costs(tmp_path):
    columns = ["head", "accuracy", "95 % interval", "log-loss", "seconds to fit", "seconds to predict"]
    rows = [["logistic regression", 0.5, "-", 1.0, 0.1, 0.0], ["finetune, all weights", 0.75, "-", 0.5, 60.0, 1.0]]
    record = {"tables": {"heads": {"columns": columns, "rows": rows}}}
    (tmp_path / "finetune-fsdd.json").write_text(json.dumps(record))
    found = _finetune_costs("fsdd", tmp_path)
    assert found[1] == ["finetune, all weights *", "75.0", "0.500", "60.0", "1.00", "-", "finetune-fsdd.json"]


@pytest.mark.parametrize("key", ["embedx", "loop", "pipeline"])
def test_the_peers_code_runs(key, data, tmp_path, monkeypatch):
    from embedx.encoders.resolve import resolve_encoder

    clips = sorted((data / "fsdd" / "recordings").iterdir())
    for name, keep in (("train", lambda p: "george" not in p.name), ("test", lambda p: "george" in p.name)):
        rows = [[str(p), p.name[0], p.name.split("_")[1] + p.stem[-1]] for p in clips if keep(p)]
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file", "label", "group"], *rows])
    out = tmp_path / "out.json"
    words = ["it", str(tmp_path / "train.csv"), str(tmp_path / "test.csv"), resolve_encoder("tiny").location, str(out)]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(SCRIPTS / PEERS[key].code), run_name="__main__")
    guess = np.array(json.loads(out.read_text()))
    truth = np.array([p.name[0] for p in clips if "george" in p.name])
    assert (guess == truth).mean() > 0.5


def test_the_peers_table_has_a_row_for_those_that_failed():
    def record(key, **facts):
        return {"step": f"tiny/sample/{key}", **SPENT, "status": "done", **facts}

    clips = {"n_train": 3, "n_test": 2, "audio_seconds": 9.0, "truth": ["a", "b"]}
    found = peers_result(
        [
            record("clips", result=clips),
            record("embedx", result=["a", "b"]),
            record("nkululeko-svm", result={"accuracy": 0.5, "balanced_accuracy": 0.5}),
            record("nkululeko-mlp", status="failed", reason="exit 1: said so"),
            record("loop", status="not run", reason="the peers are not installed"),
        ]
    )
    rows = {row[2]: row for row in found["tables"]["peers"]["rows"]}
    assert rows["embedx, AudioClassifier"][3:5] == ["100.0", "100.0"]
    assert rows["nkululeko, svm"][3] == "50.0"
    assert rows["nkululeko, mlp"][-1] == "failed: exit 1: said so"
    assert "not installed" in rows["transformers loop, LogisticRegression"][-1]


def test_only_lines_that_a_user_writes_are_counted(tmp_path):
    (tmp_path / "a.py").write_text('"""Docstring."""\n\nimport os\n# a comment\nprint(os.name)\n')
    assert count_lines(tmp_path / "a.py") == 2
    assert count_lines(SCRIPTS / "embedx_classifier.py") < count_lines(SCRIPTS / "transformers_loop.py")


def test_bundled_ffmpeg_is_linked_under_plain_names(tmp_path):
    libraries = tmp_path / "lib" / "python3.11" / "site-packages" / "av.libs"
    libraries.mkdir(parents=True)
    (libraries / "libavcodec-5e6b81c2.so.62.28.102").touch()
    (libraries / "libx264-d6533a8d.so.165").touch()
    assert link_libraries(tmp_path) == [str(tmp_path / "ffmpeg"), str(libraries)]
    assert [link.name for link in (tmp_path / "ffmpeg").iterdir()] == ["libavcodec.so.62"]
    assert link_libraries(tmp_path / "none") == []


def make_options(tmp_path, **changes):
    facts = {"encoders": ["tiny"], "data": None, "work": tmp_path, "output": tmp_path, "quick": True, "tasks": []}
    return Options(**(facts | changes))


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_can_be_planned_without_data(name, tmp_path):
    steps = plan_suite(name, make_options(tmp_path))
    assert steps
    assert len({step.name for step in steps}) == len(steps)
    assert len(plan_suite(name, make_options(tmp_path, quick=False))) >= len(steps) - 8


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
def test_every_step_calls_a_command_that_is_there_with_options_that_it_has(quick, tmp_path, data):
    called = set()
    for name in SUITES:
        for step in plan_suite(name, make_options(tmp_path, quick=quick, data=data)):
            if step.words[:1] == ["-m"]:
                source = Path(importlib.util.find_spec(step.words[1]).origin).read_text()
                options = [word for word in step.words if word.startswith("--")]
                assert not [word for word in options if f'"{word}"' not in source], step.words
                called.add(step.words[1].split(".")[1])
    assert {"quality", "questions", "heads", "throughput", "store", "finetune", "cluster", "scaling"} <= called


def test_encoders_stand_beside_each_other_and_the_control_is_judged_once(tmp_path):
    steps = plan_suite(
        "quality", make_options(tmp_path, encoders=["tiny", "tiny-random"], tasks=["sample"], quick=False)
    )
    names = [f"{encoder}/sample" for encoder in ("tiny", "tiny-random")]
    words = {step.name: list(step.words) for step in steps}
    for protocol in ("maeb", "arch", "hear"):
        assert ["--no-control" in words[f"{name}/{protocol}"] for name in names] == [False, True]
    assert "--heads" not in words[f"{names[0]}/ours"]
    assert words[f"{names[1]}/ours"][-2:] == ["--heads", "logreg"]
    assert all(step.after == [f"{step.name.rsplit('/', 1)[0]}/embed"] for step in steps if not step.makes)


def test_random_weights_are_a_column_of_the_summary():
    def judged(step, accuracy, *, with_control):
        rows = [{"kind": "head", "scores": {"accuracy": accuracy}, "features": "last layer", "runs": [], "keys": []}]
        control = {**rows[0], "kind": "control", "scores": {"accuracy": 0.25}, "features": "log-mel statistics"}
        result = {"protocol": "maeb", "rows": rows + [control] * with_control, "heard_share": 0.5}
        return {"step": step, "status": "done", **SPENT, "result": result}

    found = [
        judged("tiny/fsdd/maeb", 0.75, with_control=True),
        judged("tiny-random/fsdd/maeb", 0.5, with_control=False),
    ]
    summary = quality_result(found, read_tasks(), quick=True)["tables"]["summary"]
    (row,) = (dict(zip(summary["columns"], one, strict=True)) for one in summary["rows"])
    assert (row["log-mel, %"], row["tiny-random, %"], row["tiny, %"]) == ("25.0", "50.0", "75.0")
    assert row["heard by tiny"] == "50 %"


def test_an_encoder_that_cannot_be_had_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    steps = plan_suite("quality", make_options(tmp_path, encoders=["nobody/nothing"], tasks=["sample"]))
    assert [step.name for step in steps] == ["nobody--nothing/sample"]
    assert "encoder nobody/nothing cannot be had here" in steps[0].reason


def test_other_weights_are_other_steps_and_another_store(tmp_path):
    steps = [
        plan_suite("quality", make_options(tmp_path, encoders=[e], tasks=["sample"])) for e in ("tiny", "tiny-random")
    ]
    assert steps[0][0].key != steps[1][0].key
    assert steps[0][0].depends["weights"] != steps[1][0].depends["weights"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give run, render or compare"),
        (["walk"], "give run, render or compare"),
        (["run", "--suite", "speed"], "unknown suite 'speed'"),
        (["run", "--tasks", "esc11"], "unknown task 'esc11'"),
        (["run", "--data", "/no/such/place"], "no such folder"),
        (["run", "--encoder", "tinny"], "unknown encoder 'tinny'"),
        (["run", "--encoder", "./nowhere/at/all"], "unknown encoder './nowhere/at/all'"),
        (["run", "--output", __file__], "no folder can be made there"),
        (["run", "--work", f"{__file__}/work"], "no folder can be made there"),
        (["run", "--suite", ","], "--suite is empty"),
        (["run", "--jobs", "0"], "--jobs 0: give 1 or more"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(words, message, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1 or words[:1] != ["run"]
