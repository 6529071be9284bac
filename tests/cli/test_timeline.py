"""embedx predict --timeline and embedx evaluate: what they print, write, refuse, and go on with."""

import csv
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embedx.cli.parser import build_parser
from embedx.errors import EmbedxWarning, ManifestError, ParameterError
from embedx.manifest import read_manifest
from embedx.testing import make_tone, write_wav
from embedx.timeline import FORMATS, read_segments

QUICK = ("--workers", "0", "--window", "1", "--hop", "0.5")


@pytest.fixture
def say(capsys):
    def run(command, *words):
        module, parser = build_parser(command, "")
        code = module.run(parser.parse_words([str(word) for word in words]))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def place(tone_folder, tmp_path_factory):
    """A model, and two recordings of three classes."""
    from embedx import extract_embeddings, fit_model, load_embeddings

    folder = tmp_path_factory.mktemp("place")
    extract_embeddings(read_manifest(tone_folder), folder / "emb.h5", encoder="tiny")
    fit_model(load_embeddings(folder / "emb.h5"), "logreg").save(folder / "model")
    (folder / "long").mkdir()
    for name, pitches in (("one", (1_500.0, 200.0)), ("two", (600.0, 1_500.0, 200.0))):
        tones = [make_tone(hertz, seconds=3.0, noise=0.05, seed=i) for i, hertz in enumerate(pitches)]
        write_wav(str(folder / "long" / f"{name}.wav"), np.concatenate(tones))
    return folder


def test_a_table_of_all_recordings(say, place):
    code, out, err = say("predict", place / "model", place / "long", "--timeline", *QUICK)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["event_label"] for row in rows] == ["high", "low", "middle", "high", "low"]
    assert {row["filename"] for row in rows} == {str(place / "long" / f"{n}.wav") for n in ("one", "two")}
    assert "15/15 s of audio" in err


def test_one_recording_in_any_format(say, place):
    path = place / "long" / "one.wav"
    for format, told in (("audacity", "\thigh\n"), ("rttm", "SPEAKER one 1"), ("textgrid", "IntervalTier")):
        code, out, _ = say("predict", place / "model", path, "--timeline", "--format", format, *QUICK)
        assert code == 0
        assert told in out
    _, out, _ = say("predict", place / "model", path, "--timeline", "--json", "--leave-out", "low", *QUICK)
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["high"]


def test_a_folder_of_files_and_the_same_command_again(say, place, tmp_path):
    out = tmp_path / "out"
    words = ("predict", place / "model", place / "long", "--timeline", "--format", "raven", "-o", out, *QUICK)
    code, _, err = say(*words)
    assert code == 0
    assert "2 time lines" in err
    names = ["embedx-timeline.jsonl", "one.selections.txt", "two.selections.txt"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert [source.label for source in read_manifest(out / "one.selections.txt")] == ["high", "low"]
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    code, table, err = say(*words)
    assert code == 0
    assert "2 recordings of 2 done before" in err
    assert table == ""
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_what_changed_or_is_missing_is_done_again(say, place, tmp_path):
    shutil.copytree(place / "long", tmp_path / "long")
    words = ("predict", place / "model", tmp_path / "long", "--timeline", "-o", tmp_path / "out", *QUICK)
    say(*words)
    (tmp_path / "out" / "one.csv").unlink()
    os.utime(tmp_path / "long" / "two.wav", ns=(1, 1))
    with open(tmp_path / "out" / "embedx-timeline.jsonl", "a") as file:
        file.write('{"file": "one.csv", "reco')  # as a kill leaves it
    code, table, err = say(*words)
    assert code == 0
    assert "done before" not in err
    assert {row["event_label"] for row in csv.DictReader(io.StringIO(table))} == {"high", "low", "middle"}
    assert "2 recordings of 2 done before" in say(*words)[2]


def test_other_options_are_refused_by_name(say, place, tmp_path):
    words = ("predict", place / "model", place / "long" / "one.wav", "--timeline", "-o", tmp_path / "out", *QUICK)
    say(*words)
    with pytest.raises(ParameterError, match=r"high: there 0\.5, asked 0\.9"):
        say(*words, "--high", "0.9")


def test_a_file_of_somebody_else_is_never_replaced(say, place, tmp_path):
    shutil.copytree(place / "long", tmp_path / "long")
    mine = tmp_path / "long" / "one.txt"
    mine.write_text("0.0\t1.0\tmy own label\n")
    words = ("predict", place / "model", tmp_path / "long" / "one.wav", "--timeline", "--format", "audacity", *QUICK)
    with pytest.raises(ParameterError, match=r"one\.txt lies there already"):
        say(*words, "-o", tmp_path / "long")
    assert mine.read_text() == "0.0\t1.0\tmy own label\n"
    mine.unlink()
    assert say(*words, "-o", tmp_path / "long")[0] == 0  # beside the recording, where Audacity's labels are a manifest
    assert [source.label for source in read_manifest(mine)] == ["high", "low"]


def test_recordings_of_one_name_never_share_a_file(say, place, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(place / "long", tmp_path / name)
    words = ("predict", place / "model", "--timeline", "-o", tmp_path / "out", *QUICK)
    say(*words, tmp_path / "a" / "one.wav")
    with pytest.raises(ParameterError, match=r"one\.csv is the time line of .*a/one\.wav"):
        say(*words, tmp_path / "b" / "one.wav")


def test_a_recording_that_fails_costs_only_itself(say, place, tmp_path):
    shutil.copytree(place / "long", tmp_path / "long")
    (tmp_path / "long" / "one.wav").write_bytes(b"RIFF, but no more")
    words = ("predict", place / "model", tmp_path / "long", "--timeline", "-o", tmp_path / "out", *QUICK)
    code, _, err = say(*words)
    assert code == 3
    assert "one.wav failed" in err
    assert "1 of 2 recordings failed" in err
    assert (tmp_path / "out" / "two.csv").is_file()
    assert not (tmp_path / "out" / "one.csv").exists()
    shutil.copy(place / "long" / "one.wav", tmp_path / "long" / "one.wav")
    code, _, err = say(*words)
    assert code == 0
    assert "1 recording of 2 done before" in err


def test_pieces_of_a_recording(say, place, tmp_path):
    table = tmp_path / "pieces.csv"
    table.write_text(f"path,start,stop\n{place}/long/two.wav,0,3\n{place}/long/two.wav,3,6\n")
    code, out, _ = say("predict", place / "model", table, "--timeline", "-o", tmp_path / "out", *QUICK)
    assert code == 0
    assert [row["event_label"] for row in csv.DictReader(io.StringIO(out))] == ["middle", "high"]
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {"two_0-3.csv", "two_3-6.csv"}


def test_thresholds_of_a_class(say, place):
    words = ("predict", place / "model", place / "long" / "one.wav", "--timeline", *QUICK)
    _, out, _ = say(*words, "--high", "0.6", "--high", "low=1", "--min-seconds", "high=1")
    assert [row["event_label"] for row in csv.DictReader(io.StringIO(out))] == ["high"]
    for wrong, told in (
        (("--high", "low="), "--high low="),
        (("--low", "0.9"), "lies above"),
        (("--high", "lwo=1"), "lwo"),
    ):
        with pytest.raises(ParameterError, match=told):
            say(*words, *wrong)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["long/one.wav", "--window", "1"], "--window needs --timeline"),
        (["long/one.wav", "-o", "out"], "-o needs --timeline"),
        (["long/one.wav", "--format", "csv"], "--format needs --timeline"),
        (["long/one.wav", "--timeline", "--csv", "rows.csv"], "--csv does not go with --timeline"),
        (["long/one.wav", "--timeline", "--proba"], "--proba needs --format json"),
        (["emb.h5", "--timeline"], "needs audio"),
        (["long/one.wav", "--timeline", "-o", "model/out"], "lies in the model"),
        (["long/one.wav", "--timeline", "-o", "emb.h5"], "it is a file"),
        (["long", "--timeline", "--format", "textgrid"], "give -o FOLDER for 2"),
        (["long/one.wav", "--timeline", "--window", "30"], "at most 10"),
    ],
)
def test_what_does_not_go_together(say, place, monkeypatch, words, told):
    monkeypatch.chdir(place)
    with pytest.raises(ParameterError, match=told):
        say("predict", "model", *words)
    assert not (place / "model" / "out").exists()


TRUTH = "0\t3\thigh\n3\t6\tlow\n"


def test_a_model_is_judged_by_the_truth(say, place, tmp_path):
    truth = tmp_path / "one.txt"
    truth.write_text(TRUTH)
    words = ("evaluate", place / "model", place / "long" / "one.wav", "--truth", truth, *QUICK)
    code, out, _ = say(*words, "--collar", "0.5")
    assert code == 0
    assert "segments of 1 s:" in out
    assert "events, collar 0.5 s, offsets within it or 50% of the event:" in out
    scores = json.loads(say(*words, "--json", "--onset-only")[1])
    assert scores["recordings"] == 1
    assert scores["segments"]["overall"]["f1"] > 0.8
    assert scores["events"]["offset_share"] is None
    assert scores["events"]["by_class"].keys() == {"high", "low"}


def test_what_was_found_before_is_judged_without_a_model(say, place, tmp_path):
    say("predict", place / "model", place / "long", "--timeline", "-o", tmp_path / "out", *QUICK)
    found = sorted((tmp_path / "out").glob("*.csv"))
    truth = tmp_path / "truth.csv"
    rows = [
        f"{name}.wav,{s.onset_seconds},{s.offset_seconds},{s.label}"
        for name in ("one", "two")
        for _, s in read_segments(tmp_path / "out" / f"{name}.csv")
    ]
    truth.write_text("\n".join(["filename,onset,offset,event_label", *rows]) + "\n")
    code, out, _ = say("evaluate", "--timeline", *found, "--truth", truth, "--json")
    assert code == 0
    scores = json.loads(out)
    assert scores["recordings"] == 2
    assert scores["events"]["overall"]["f1"] == scores["segments"]["overall"]["f1"] == 1


def test_several_files_of_truth_belong_to_the_recordings_of_their_names(say, place, tmp_path):
    for name, text in (("one", TRUTH), ("two", "0\t3\tmiddle\n3\t6\thigh\n6\t9\tlow\n")):
        (tmp_path / f"{name}.labels.txt").write_text(text)
    truth = sorted(tmp_path.glob("*.txt"))
    code, out, _ = say("evaluate", place / "model", place / "long", "--truth", *truth, "--json", *QUICK)
    assert code == 0
    assert json.loads(out)["segments"]["by_class"]["high"]["f1"] > 0.7


def test_truth_that_the_model_does_not_know_is_missed_and_said(say, place, tmp_path):
    truth = tmp_path / "truth.txt"
    truth.write_text(TRUTH + "4\t5\tbird\n")
    with pytest.warns(EmbedxWarning, match="does not know bird"):
        _, out, _ = say("evaluate", place / "model", place / "long" / "one.wav", "--truth", truth, "--json", *QUICK)
    assert json.loads(out)["events"]["by_class"]["bird"]["recall"] == 0


def test_truth_of_other_recordings(say, place, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("filename,onset,offset,event_label\nother.wav,0,1,high\n")
    words = ("evaluate", place / "model", place / "long" / "one.wav", "--truth", truth, *QUICK)
    with pytest.raises(ManifestError, match=r"other\.wav"):
        say(*words)
    truth.write_text(truth.read_text() + "one.wav,0,3,high\n")
    with pytest.warns(EmbedxWarning, match="1 segment of other recordings"):
        assert say(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--truth", "t.txt"], "name a model and recordings"),
        (["model", "--truth", "t.txt"], "name a model and recordings"),
        (["model", "long/one.wav", "--truth", "t.txt", "--timeline", "t.txt"], "does nothing with --timeline"),
        (["--truth", "t.txt", "--timeline", "t.txt", "--window", "1"], "--window does nothing"),
        (["model", "emb.h5", "--truth", "t.txt"], "not a store"),
    ],
)
def test_what_cannot_be_judged(say, place, monkeypatch, words, told):
    monkeypatch.chdir(place)
    (place / "t.txt").write_text(TRUTH)
    with pytest.raises(ParameterError, match=told):
        say("evaluate", *words)


def test_nothing_heavy_is_loaded_for_the_options():
    code = (
        "import embedx.cli.evaluate, embedx.cli.predict, sys;"
        "print(sorted({'numpy', 'torch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert importlib.import_module("embedx.cli.evaluate").__doc__


@pytest.mark.kill
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_goes_on(place, tmp_path, end):
    for i in range(12):
        shutil.copy(place / "long" / "two.wav", tmp_path / f"{i:02d}.wav")
    words = [sys.executable, "-m", "embedx", "predict", str(place / "model"), *map(str, sorted(tmp_path.glob("*.wav")))]
    words += ["--timeline", "-o", str(tmp_path / "out"), "--hop", "0.1", "--window", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "out").glob("*.csv")):
        time.sleep(0.05)
    process.send_signal(end)
    told = process.communicate()[1]
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in told
    done = len(list((tmp_path / "out").glob("*.csv")))
    assert 0 < done < 12
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "of 12 done before" in again.stderr
    assert len(list((tmp_path / "out").glob("*.csv"))) == 12
    assert not list((tmp_path / "out").glob(".*"))


@pytest.fixture(scope="module")
def sets(tone_folder, tmp_path_factory):
    """A model of tones that may sound at once, a recording of two that overlap, and what is in it."""
    from embedx import extract_embeddings, fit_model, load_embeddings

    folder = tmp_path_factory.mktemp("sets")
    pitches = {"high": 1_500.0, "low": 200.0}
    rows = ["path,label,group"]
    for i in range(24):
        names = (("high",), ("low",), ("high", "low"), ())[i % 4]
        parts = [make_tone(pitches[name], seed=i) for name in names]
        write_wav(str(folder / f"{i}.wav"), sum(parts, make_tone(1.0, noise=0.05, seed=100 + i)))
        rows.append(f"{i}.wav,{'|'.join(names) or '|'},g{i // 4}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    extract_embeddings(read_manifest(folder / "clips.csv", label_separator="|"), folder / "emb.h5", encoder="tiny")
    fit_model(load_embeddings(folder / "emb.h5", label_separator="|"), "logreg").save(folder / "model")
    samples = make_tone(1.0, seconds=9.0, noise=0.05)
    samples[: 6 * 16_000] += make_tone(pitches["high"], seconds=6.0)
    samples[3 * 16_000 :] += make_tone(pitches["low"], seconds=6.0)
    write_wav(str(folder / "both.wav"), samples)
    (folder / "truth.txt").write_text("0\t6\thigh\n3\t9\tlow\n")
    return folder


def test_several_labels_at_once_in_every_format_and_scored(say, sets, tmp_path):
    spans = []
    for format in FORMATS:
        out = tmp_path / format
        code, *_ = say(
            "predict", sets / "model", sets / "both.wav", "--timeline", "--format", format, "-o", out, *QUICK
        )
        assert code == 0
        (file,) = (path for path in out.iterdir() if path.name.startswith("both"))
        read = [one.segment for one in read_segments(file)]
        spans.append(sorted((s.label, round(s.onset_seconds, 3), round(s.offset_seconds, 3)) for s in read))
    assert [label for label, *_ in spans[0]] == ["high", "low"]
    assert spans[0][0][2] > spans[0][1][1]  # they overlap
    assert all(one == spans[0] for one in spans)
    tiers = read_segments(tmp_path / "textgrid" / "both.TextGrid")
    assert "size = 2" in (tmp_path / "textgrid" / "both.TextGrid").read_text()
    assert len(tiers) == 2
    code, out, _ = say("evaluate", sets / "model", sets / "both.wav", "--truth", sets / "truth.txt", "--json", *QUICK)
    again = say("evaluate", "--timeline", tmp_path / "csv" / "both.csv", "--truth", sets / "truth.txt", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(again[1])
    assert json.loads(out)["segments"]["overall"]["f1"] > 0.85


def test_options_are_chosen_on_some_recordings_and_judged_on_others(say, place, tmp_path):
    one, two = (place / "long" / f"{name}.wav" for name in ("one", "two"))
    (tmp_path / "one.txt").write_text("0\t3\thigh\n3\t6\tlow\n")
    (tmp_path / "two.txt").write_text("0\t3\tmiddle\n3\t6\thigh\n6\t9\tlow\n")
    chosen, model = tmp_path / "chosen.json", place / "model"
    words = ("evaluate", model, one, "--truth", tmp_path / "one.txt", "--collar", "0.5")
    with pytest.warns(EmbedxWarning) as told:
        code, out, _ = say(*words, "--choose", chosen, *QUICK)
    warned = " ".join(str(one.message) for one in told)
    assert "fewer than 20 true events of 'high' (1), 'low' (1)" in warned
    assert "no true event of 'middle'" in warned
    assert code == 0
    assert "judge it on other recordings" in out
    record = json.loads(chosen.read_text())
    assert record["window_seconds"] == 1.0
    assert record["facts"]["f1_chosen"] >= record["facts"]["f1_before"]
    with pytest.raises(ParameterError, match="were chosen on"):
        say(*words, "--timeline-options", chosen, "--workers", "0")
    judged = ("evaluate", model, two, "--truth", tmp_path / "two.txt", "--timeline-options", chosen, "--workers", "0")
    assert say(*judged)[0] == 0
    code, out, _ = say("predict", model, two, "--timeline", "--timeline-options", chosen, "--workers", "0", "--json")
    assert (code, len(out.splitlines())) == (0, 3)
    with pytest.raises(ParameterError, match="--high does not go with --timeline-options"):
        say(*judged, "--high", "0.9")
