"""Every kind of nonsense gets one clear line and exit code 2; damaged clips among good ones get exit code 3."""

import shutil
import subprocess
import sys

import av
import numpy as np
import pytest

from embedx.cli import main
from embedx.testing import make_tone, write_wav

QUICK = ["--encoder", "tiny", "--workers", "0"]


@pytest.fixture(scope="module")
def store(tone_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "emb.h5"
    assert main(["extract", str(tone_folder), "-o", str(path), *QUICK]) == 0
    return path


@pytest.fixture
def say(capsys):
    """Run a command and return its exit code and its one line on standard error."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, capsys.readouterr().err

    return run


def assert_one_line(result, *parts):
    code, error = result
    assert code == 2, error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    for part in parts:
        assert part in error


def test_extract_a_missing_place(say, tmp_path):
    assert_one_line(say("extract", tmp_path / "nowhere.csv", "-o", tmp_path / "e.h5", *QUICK), "no such file or folder")


def test_extract_an_empty_csv(say, tmp_path):
    (tmp_path / "clips.csv").write_text("")
    assert_one_line(say("extract", tmp_path / "clips.csv", "-o", tmp_path / "e.h5", *QUICK), "is empty")


def test_extract_a_csv_without_the_column(say, tmp_path):
    (tmp_path / "clips.csv").write_text("name,label\na.wav,b\n")
    words = ("extract", tmp_path / "clips.csv", "-o", tmp_path / "e.h5", *QUICK)
    assert_one_line(say(*words), "no path column", "--path-column")
    assert_one_line(say(*words, "--path-column", "nam"), "unknown column 'nam'", "did you mean 'name'")


def test_extract_a_csv_of_missing_files(say, tmp_path):
    (tmp_path / "clips.csv").write_text("path,label\na.wav,b\n")
    assert_one_line(say("extract", tmp_path / "clips.csv", "-o", tmp_path / "e.h5", *QUICK), "1 of 1 files are missing")


def test_extract_a_folder_without_audio(say, tmp_path):
    assert_one_line(say("extract", tmp_path, "-o", tmp_path / "e.h5", *QUICK), "no audio file under")


def test_extract_with_an_unknown_encoder(say, tone_folder, tmp_path):
    assert_one_line(say("extract", tone_folder, "-o", tmp_path / "e.h5", "--encoder", "tyni"), "tyni", "tiny")


def test_extract_without_the_network(say, tone_folder, tmp_path):
    result = say("extract", tone_folder, "-o", tmp_path / "e.h5", "--encoder", "facebook/wav2vec2-base")
    assert_one_line(result, "facebook/wav2vec2-base", "--encoder tiny")
    assert not (tmp_path / "e.h5").exists()


def test_extract_with_another_recipe(say, tone_folder, store, tmp_path):
    copy = shutil.copy(store, tmp_path / "emb.h5")
    result = say("extract", tone_folder, "-o", copy, *QUICK, "--window-seconds", "5")
    assert_one_line(result, "window_seconds", "10.0", "5.0", "--overwrite")


@pytest.mark.parametrize("command", ["fit", "compare", "info"])
def test_a_missing_store(say, tmp_path, command):
    output = ["-o", tmp_path / "out"] if command != "info" else []
    assert_one_line(say(command, tmp_path / "nowhere.h5", *output), "nowhere.h5")


@pytest.mark.parametrize("command", ["fit", "compare", "info"])
def test_a_store_that_is_none(say, tmp_path, command):
    (tmp_path / "text.h5").write_text("not HDF5")
    output = ["-o", tmp_path / "out"] if command != "info" else []
    assert_one_line(say(command, tmp_path / "text.h5", *output), "text.h5")


def test_unknown_heads_name_the_nearest(say, store, tmp_path):
    assert_one_line(
        say("fit", store, "--head", "lgmb", "-o", tmp_path / "m"), "unknown head 'lgmb'", "did you mean 'lgbm'"
    )
    assert_one_line(say("compare", store, "--heads", "logrg", "-o", tmp_path / "r"), "did you mean 'logreg'")


@pytest.mark.parametrize("command", ["fit", "compare"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda i: "same", "at least two classes"),
        (lambda i: "rare" if i == 0 else "common", "'rare' (1)"),
    ],
)
def test_classes_that_nothing_can_be_learned_from(say, tone_folder, store, tmp_path, command, labels, message):
    paths = sorted(tone_folder.rglob("*.wav"))
    rows = "".join(f"{path},{labels(i)}\n" for i, path in enumerate(paths))
    (tmp_path / "clips.csv").write_text("path,label\n" + rows)
    result = say(command, store, "--labels", tmp_path / "clips.csv", "-o", tmp_path / "out")
    assert_one_line(result, message)


def test_predict_with_a_folder_that_is_no_model(say, tone_folder, tmp_path):
    clip = next(tone_folder.rglob("*.wav"))
    assert_one_line(say("predict", tmp_path, clip), str(tmp_path))
    assert_one_line(say("predict", tmp_path / "nowhere", clip), "nowhere")
    assert_one_line(say("info", tmp_path), str(tmp_path))


def test_predict_a_missing_file(say, store, tmp_path):
    assert say("fit", store, "--head", "logreg", "-o", tmp_path / "model")[0] == 0
    assert_one_line(say("predict", tmp_path / "model", tmp_path / "nowhere.wav"), "nowhere.wav")


def write_m4a(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        samples = make_tone(440.0, seconds=2.0).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_damaged_clips_among_good_ones_cost_only_their_rows(say, tone_folder, tmp_path, capsys):
    root = tmp_path / "clips"
    shutil.copytree(tone_folder, root)
    (root / "low" / "text.wav").write_text("this is no audio")
    (root / "low" / "empty.wav").write_bytes(b"")
    write_m4a(root / "low" / "whole.m4a")
    data = (root / "low" / "whole.m4a").read_bytes()
    (root / "low" / "cut.m4a").write_bytes(data[: len(data) // 2])
    write_wav(str(root / "low" / "blip.wav"), make_tone(440.0, seconds=0.01))
    code = main(["extract", str(root), "-o", str(tmp_path / "emb.h5"), *QUICK])
    shown = capsys.readouterr()
    assert code == 3
    for name in ("text.wav", "empty.wav", "cut.m4a", "blip.wav"):
        assert name in shown.out + shown.err
    from embedx import load_embeddings
    from embedx.errors import SkippedSourcesWarning

    with pytest.warns(SkippedSourcesWarning, match="4 of 29"):
        dataset = load_embeddings(tmp_path / "emb.h5")
    assert len(dataset) == 25
    assert "low/whole.m4a" in [source.uri for source in dataset.sources]


def test_debug_shows_the_traceback(tmp_path):
    command = [sys.executable, "-m", "embedx", "extract", "nowhere", "-o", "e.h5", "--debug"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_options_of_a_cluster_without_one(say, tone_folder, tmp_path):
    words = ("extract", tone_folder, "-o", tmp_path / "e.h5", *QUICK, "--address", "auto", "--max-workers", "2")
    assert_one_line(say(*words), "--address, --max-workers: of use on a Ray cluster only", "--engine ray")


def test_processors_are_one_device(say, tone_folder, tmp_path):
    words = ("extract", tone_folder, "-o", tmp_path / "e.h5", *QUICK, "--device", "cpu:99")
    assert_one_line(say(*words), "'cpu:99'", "one device, 'cpu'")


def test_a_report_that_finds_no_room(store):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "embedx", "info", str(store)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert_one_line((done.returncode, done.stderr), "No space left on device", "make room")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["compare", "STORE", "--jobs", "0"], "--jobs 0: a whole number"),
        (["compare", "STORE", "--folds", "1"], "--folds 1: at least 2"),
        (["extract", "CLIPS", "--workers", "-1"], "--workers -1: give 0 or more"),
        (["extract", "CLIPS", "--window-seconds", "nan"], "--window-seconds nan: give"),
        (["extract", "CLIPS", "--silence-timeout-seconds", "0"], "--silence-timeout-seconds 0.0: give"),
        (["extract", "CLIPS", "--offset", "x"], "--offset 'x' is neither"),
        (["extract", "CLIPS", "--store-dtype", "int8"], "unknown --store-dtype 'int8'. Known"),
        (["extract", "CLIPS", "--engine", "ray", "--max-workers", "0"], "--max-workers 0: give 1"),
    ],
)
def test_a_refusal_names_the_option_not_the_parameter(words, shown, say, store, tone_folder, tmp_path):
    named = {"STORE": store, "CLIPS": tone_folder}
    output = tmp_path / ("e.h5" if words[0] == "extract" else "results")
    assert_one_line(say(*(named.get(word, word) for word in words), "-o", output), shown)
