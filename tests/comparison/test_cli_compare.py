"""``embedx compare`` and ``embedx inspect`` on a real store, as a user runs them."""

import csv
import errno
import json
import os
import shutil

import pytest

from embedx.cli import main

FILES = {"comparison.json", "comparison.md", "comparison.csv", "predictions.csv", "report.html"}


@pytest.fixture(scope="module")
def store(tone_folder, tmp_path_factory, run_embedx):
    place = tmp_path_factory.mktemp("stores") / "emb.h5"
    done = run_embedx("extract", tone_folder, "--encoder", "tiny", "-o", place)
    assert done.returncode == 0, done.stderr
    return place


def test_compare_writes_five_files_and_prints_the_verdict(store, tmp_path, run_embedx):
    done = run_embedx("compare", store, "--heads", "logreg,knn", "--folds", 4, "-o", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == FILES
    assert "Better than guessing" in done.stdout
    plain = json.loads((tmp_path / "results" / "comparison.json").read_text())
    assert [row["name"] for row in plain["rows"]] == ["majority", "logmel", "logreg", "knn", "auto"]
    assert plain["facts"]["embedding_seconds"][""] > 0
    assert "of audio took" in done.stdout
    with (tmp_path / "results" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 * 5
    assert all(abs(sum(float(v) for k, v in row.items() if k.startswith("p_")) - 1) < 1e-3 for row in rows)
    again = run_embedx("compare", store, "--heads", "knn", "--folds", 4, "-o", tmp_path / "results")
    assert again.returncode == 0, again.stderr


def test_labels_groups_and_folds_come_from_a_csv(store, tone_folder, tmp_path, run_embedx):
    lines = ["path,kind,who,part"]
    for path in sorted(tone_folder.rglob("*.wav")):
        i = int(path.stem)
        lines.append(f"{path},{path.parent.name},w{i % 4},{'abc'[i % 3]}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    words = ["--labels", tmp_path / "clips.csv", "--label-column", "kind", "--group-column", "who"]
    options = ["--heads", "knn", "--no-auto", "--no-curves", "-o", tmp_path / "r"]
    done = run_embedx("compare", store, *words, "--folds", "part", *options)
    assert done.returncode == 0, done.stderr
    plain = json.loads((tmp_path / "r" / "comparison.json").read_text())
    assert [fold["name"] for fold in plain["facts"]["folds"]] == ["a", "b", "c"]
    assert any("both learned from and tested on" in note for note in plain["notes"])
    assert set(plain["group_scores"]["knn"]) == {"w0", "w1", "w2", "w3"}


def test_the_protocol_of_a_fixed_number_and_one_held_out_part(store, tmp_path, run_embedx):
    words = ["--per-class", 6, "--valid-fraction", 0.34, "--heads", "knn", "--no-auto", "--no-curves"]
    done = run_embedx("compare", store, *words, "-o", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r" / "comparison.json").read_text())["facts"]["n_clips"] == 18


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--heads", "logrge"], "did you mean 'logreg'"),
        (["--folds", "99"], "cannot make 99 folds"),
        (["--folds", "split"], "give --labels CSV"),
        (["--group-column", "who"], "--labels clips.csv"),
        (["--per-class", "99"], "99 were asked for"),
        (["--layers", "one"], "numbers with commas"),
        (["--valid-fraction", "0.2", "--folds", "3"], "leave --folds"),
        (["--valid-fraction", "nan"], "'nan': a number from above 0 to below 1 is needed"),
        (["--heads", ","], "--heads ',' names no head"),
        (["--seed", "-1"], "'-1': a whole number from 0 to 4294967295 is needed"),
        (["--per-class", "0"], "'0': a whole number of 1 or more is needed"),
        (["--jobs", "0"], "--jobs 0: a whole number of 1 or more is needed"),
        (["--folds", "²"], "²"),
        (["--folds", "9" * 5000], "99"),
    ],
)
def test_nonsense_is_one_line_and_exit_code_2(store, tmp_path, capsys, words, told):
    assert main(["compare", str(store), *words, "-o", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert told in said[-1]
    assert not any("Traceback" in line for line in said)
    assert not (tmp_path / "r").exists()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_fitted(store, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["compare", str(store), "-o", str(tmp_path / "file")]) == 2
    assert main(["compare", str(store), "-o", str(tmp_path / "file" / "below")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2
    assert all("is a file, not a folder" in line for line in said)
    assert (tmp_path / "file").read_text() == "mine"


def test_inspect_names_what_it_found(store, tmp_path, run_embedx):
    done = run_embedx("inspect", store, "-o", tmp_path / "inspection.json")
    assert done.returncode == 0, done.stderr
    assert "Exact copies: No two clips" in done.stdout
    checks = [one["check"] for one in json.loads((tmp_path / "inspection.json").read_text())["findings"]]
    assert checks == ["copies", "near_copies", "labels", "outliers", "audio", "balance", "confounds"]
    missing = run_embedx("inspect", tmp_path / "none.h5")
    assert missing.returncode == 2


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (("development", "evaluation"), "9 test clips are left alone"),
        (("train", "test"), "9 test clips are left alone"),
        (("train", "tset"), "values that name no part: 'tset'"),
        (("trian", "tset"), "values that name no part: 'trian'"),
        (("train", ""), "9 of 24 clips have no value in the split"),
    ],
)
def test_fit_and_tune_learn_from_no_clip_that_may_be_a_test_clip(store, tone_folder, tmp_path, capsys, parts, told):
    lines = ["path,label,split"]
    for path in sorted(tone_folder.rglob("*.wav")):
        lines.append(f"{path},{path.parent.name},{parts[int(path.stem) % 3 == 0]}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    words = [str(store), "--head", "knn", "--labels", str(tmp_path / "clips.csv")]
    code = main(["fit", *words, "-o", str(tmp_path / "m")])
    assert main(["tune", *words, "--trials", "1"]) == code
    said = "".join(capsys.readouterr())
    assert told in said
    assert code == (2 if "name no part" in told else 0)
    assert "on 15 clips" in said or code == 2


def test_results_are_written_before_the_data_are_looked_at(store, tmp_path, monkeypatch, capsys):
    def dies(dataset, **_):
        raise MemoryError

    monkeypatch.setattr("embedx.inspection.inspect_data", dies)
    words = ["compare", str(store), "--heads", "knn", "--no-auto", "--no-curves", "-o", str(tmp_path / "r")]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES
    assert "too little memory to look at the data" in capsys.readouterr().err
    assert not (tmp_path / "r.fits").exists()


def test_no_room_for_the_recordings_costs_them_alone(store, tmp_path, monkeypatch, capsys):
    from embedx.report import results

    def write_html(comparison, dataset, file, **_):
        if dataset is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write("<!doctype html>")

    monkeypatch.setattr(results, "write_html", write_html)
    words = ["compare", str(store), "--heads", "knn", "--no-auto", "--no-curves", "-o", str(tmp_path / "r")]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the results are in {tmp_path / 'r'}; report.html is without the data" in said
    assert "report.html cannot be written (No space left on device): make room" in said
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES


def test_copies_under_two_named_groups_are_in_the_verdict_and_before_a_fit(tone_folder, tmp_path, capsys):
    clips = sorted(tone_folder.rglob("*.wav"))
    rows = ["path,label,group\n"]
    for i, clip in enumerate(clips):
        copy = shutil.copy(clip, tmp_path / f"copy{i}.wav")
        rows += [f"{clip},{clip.parent.name},g{i}\n", f"{copy},{clip.parent.name},h{i}\n"]
    (tmp_path / "clips.csv").write_text("".join(rows))
    store, results = str(tmp_path / "emb.h5"), tmp_path / "results"
    words = ["--encoder", "tiny", "--workers", "0"]
    assert main(["extract", str(tmp_path / "clips.csv"), "-o", store, *words]) == 0
    quick = ["--heads", "logreg", "--folds", "2", "--no-auto", "--no-curves"]
    assert main(["compare", store, *quick, "-o", str(results)]) == 0
    verdict = json.loads((results / "comparison.json").read_text())["verdict"]
    assert verdict[0].startswith("A leak: ")
    assert "copies of ones that are learned from" in verdict[0]
    assert "A leak" in (results / "report.html").read_text()
    capsys.readouterr()
    assert main(["fit", store, "--head", "majority", "--valid-fraction", "0.5", "-o", str(tmp_path / "m")]) == 0
    assert "learned from (the same bytes" in capsys.readouterr().err
