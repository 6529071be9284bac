"""Several labels a clip on the command line: read, shown by a dry run, refused where they cannot be used."""

import pytest

from embedx import Model, fit_model
from embedx.cli import main
from embedx.testing import make_dataset, make_store, make_tone, write_wav


@pytest.fixture
def clips(tmp_path):
    for name in "abc":
        write_wav(str(tmp_path / f"{name}.wav"), make_tone(440, seconds=1.0))
    return tmp_path / "clips.csv"


def preview(clips, text, *options, capsys):
    clips.write_text(text)
    assert (
        main(["extract", str(clips), "-o", str(clips.parent / "emb.h5"), "--encoder", "tiny", "--dry-run", *options])
        == 0
    )
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("labels:"))


def test_a_dry_run_counts_classes_not_sets(clips, capsys):
    joined = "path,label\na.wav,rain|dog\nb.wav,dog\nc.wav,|\n"
    told = "labels: 3: dog (2), rain (1), (no class) (1)"
    assert sorted(preview(clips, joined, "--label-separator", "|", capsys=capsys)) == sorted(told)
    assert "dog|rain" not in preview(clips, joined, "--multi-label", capsys=capsys)
    table = "path,dog,rain\na.wav,1,1\nb.wav,1,0\nc.wav,0,0\n"
    assert sorted(preview(clips, table, "--label-columns", "dog,rain", capsys=capsys)) == sorted(told)
    assert "rain|dog (1)" in preview(clips, joined, capsys=capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "{csv}", "--label-separator", "x"], "--label-separator 'x': it stands between the classes"),
        (["extract", "{csv}", "--label-columns", "cat"], "unknown column 'cat'"),
        (["tune", "{store}", "--multi-label", "--trials", "1", "--metric", "log_loss"], "unknown metric 'log_loss'"),
        (["tune", "{store}", "--multi-label", "--trials", "1", "--head", "knn"], "learns one label a clip"),
        (["compare", "{store}", "--multi-label", "--heads", "knn"], "head 'knn' learns one label a clip"),
        (["compare", "{store}", "--multi-label", "--per-class", "2"], "takes one label a clip"),
        (["fit", "{store}", "--multi-label", "--head", "finetune", "-o", "{new}"], "learns one label a clip"),
        (["fit", "{store}", "--label-columns", "dog", "-o", "{new}"], "say which CSV has one for each class"),
        (
            ["fit", "{store}", "--label-separator", " ", "-o", "{new}"],
            "--label-separator ' ': it stands between the classes",
        ),
    ],
)
def test_what_is_not_done_is_one_line_and_leaves_nothing(clips, words, message, tmp_path, capsys):
    clips.write_text("path,dog\na.wav,1\n")
    store = make_store(tmp_path / "sets.h5", make_dataset(n=24, multi_label=True))
    places = {"csv": clips, "store": store, "new": tmp_path / "new"}
    given = [word.format(**places) for word in words]
    extra = ["-o", str(tmp_path / "emb.h5"), "--encoder", "tiny"] if words[0] == "extract" else []
    assert main([*given, *extra]) == 2
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("embedx: ") and "warning" not in line
    ]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "new").exists()


def test_audio_that_cannot_be_read_is_a_row_with_its_reason(clips, tmp_path, capsys):
    model = fit_model(make_dataset(n=24, multi_label=True), "majority")
    place = model.save(tmp_path / "model")
    assert Model.load(place).label_separator == "|"
    found = model.predictions(make_dataset(n=3, multi_label=True))
    broken = type(found)(
        sources=found.sources,
        classes=found.classes,
        proba=found.proba * float("nan"),
        errors=("cut off",) * 3,
        label_separator=found.label_separator,
        thresholds=found.thresholds,
    )
    assert broken.labels.tolist() == [None] * 3
    assert type(found).join([found, broken]).labels.tolist()[3:] == [None] * 3


def test_a_table_of_one_label_is_not_replaced_by_rows_of_sets(tmp_path, capsys):
    store = make_store(tmp_path / "sets.h5", make_dataset(n=24, multi_label=True))
    model = fit_model(make_dataset(n=24, multi_label=True), "majority").save(tmp_path / "model")
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path,labels\na.wav,dog\n")
    assert main(["predict", str(model), str(store), "--csv", str(manifest)]) == 2
    assert manifest.read_text() == "path,labels\na.wav,dog\n"
