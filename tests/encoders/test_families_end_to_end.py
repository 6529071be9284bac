"""The commands, from audio to labels, with a checkpoint of each family."""

import json

import numpy as np
import pytest

from embedx import load_embeddings
from embedx.cli import main
from embedx.encoders.resolve import resolve_encoder
from embedx.store.store import read_recipe
from tests.encoders.checkpoints import write_checkpoint, write_other

FAMILIES = ("ast", "clap", "moonshine", "parakeet", "seamless", "sew-d", "w2v-bert", "whisper-asr")


def write(folder, family):
    (write_checkpoint if family == "sew-d" else write_other)(folder, family)
    return str(folder)


def hold_commands(encoder, audio, work, capsys):
    """Extract with processes, resume, fit, predict a file; the model's recipe is the store's."""
    store, model = str(work / "emb.h5"), str(work / "model")
    assert main(["extract", str(audio), "-o", store, "--encoder", encoder, "--workers", "1"]) == 0
    assert main(["extract", str(audio), "-o", store]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    info, recipe = resolve_encoder(encoder), read_recipe(store)
    assert (recipe.frontend, recipe.padding) == (info.frontend, info.paddings[0])
    assert recipe.sample_rate == info.sample_rate
    dataset = load_embeddings(store)
    assert dataset.dim == info.dim
    assert np.isfinite(np.asarray(dataset.X)).all()
    assert main(["fit", store, "--head", "logreg", "-o", model]) == 0
    assert main(["predict", model, str(audio / "low" / "0.wav"), "--device", "cpu"]) == 0
    assert "low" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_from_audio_to_labels(family, tone_folder, tmp_path, capsys):
    hold_commands(write(tmp_path / "encoder", family), tone_folder, tmp_path, capsys)


@pytest.mark.slow
def test_two_encoders_are_compared_and_nothing_is_embedded_twice(tone_folder, tmp_path, capsys):
    encoders = [write(tmp_path / family, family) for family in ("ast", "whisper")]
    results = tmp_path / "results"
    command = ["compare", str(tone_folder), "--encoders", ",".join(encoders), "--pooling", "mean+max", "--workers", "1"]
    command += ["--heads", "logreg", "--folds", "3", "--no-curves", "--no-auto", "-o", str(results)]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert first.count("24 clips") == 2
    made = {name: (results / f"{name}.h5").stat() for name in ("ast", "whisper")}
    assert main([*command, "--layers", "0,1"]) == 0
    again = capsys.readouterr().out
    assert again.count("nothing to compute: all 24 clips were done before") == 2
    for name, before in made.items():
        now = (results / f"{name}.h5").stat()
        assert (now.st_mtime_ns, now.st_ino) == (before.st_mtime_ns, before.st_ino)
        recipe = read_recipe(results / f"{name}.h5")
        assert (recipe.pooling, recipe.layers) == ("mean+max", tuple(range(resolve_encoder(recipe.encoder).n_layers)))
    record = json.loads((results / "comparison.json").read_text())
    rows = [row for row in record["rows"] if row["head"] == "logreg"]
    assert [row["store"] for row in rows] == ["ast", "whisper"]
    assert record["facts"]["store_bytes"] == {name: stat.st_size for name, stat in made.items()}
    assert all(n > 10_000 for n in record["facts"]["parameters"].values())
    assert "Encoders, with logistic regression:" in again.lower().replace("encoders, with", "Encoders, with")
    # the clips' own labels count, whatever the stores were made with
    lines = [f"{path},{'ab'[int(path.stem) % 2]},{path.parent.name}" for path in sorted(tone_folder.rglob("*.wav"))]
    (tmp_path / "clips.csv").write_text("\n".join(["path,odd,kind", *lines]))
    other = ["compare", str(tmp_path / "clips.csv"), *command[2:], "--label-column", "odd"]
    assert main(other) == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert json.loads((results / "comparison.json").read_text())["classes"] == ["a", "b"]


def test_what_encoders_cannot_be_compared_by_is_one_line_before_the_first_clip(tone_folder, tmp_path, capsys):
    store, ast = str(tmp_path / "emb.h5"), write(tmp_path / "ast", "ast")
    assert main(["extract", str(tone_folder / "low"), "-o", store, "--encoder", "tiny"]) == 0
    clips, output = str(tone_folder), ["-o", str(tmp_path / "results")]
    (tmp_path / "bare.csv").write_text(f"path\n{tone_folder / 'low' / '0.wav'}\n")
    capsys.readouterr()
    for words, says in (
        ([store, "--encoders", "tiny"], f"{store} is a store, embedded already"),
        ([clips, clips, "--encoders", "tiny"], "takes one folder or CSV of audio, not 2"),
        ([clips, "--encoders", "tiny,tinny"], "did you mean 'tiny'"),
        ([clips, "--encoders", ","], "--encoders names no encoder"),
        ([clips, "--encoders", "tiny,tiny"], "--encoders names tiny twice"),
        ([str(tmp_path / "none"), "--encoders", "tiny,tiny"], "--encoders names tiny twice"),
        ([clips, "--encoders", f"{ast},{ast}/."], "twice: name each encoder once"),
        ([clips, "--encoders", f"tiny,{ast}", "--padding", "masked"], "padding 'masked': tiny allows none"),
        ([clips, "--encoders", f"tiny,{ast}", "--window-seconds", "5"], "takes at most 2.04 s at a time"),
        ([clips, "--encoders", "tiny", "--heads", "logrge"], "did you mean 'logreg'"),
        ([clips, "--encoders", "tiny", "--jobs", "0"], "--jobs 0: a whole number of 1 or more is needed"),
        ([clips, "--encoders", "tiny", "--jobs-backend", "raay"], "raay"),
        ([clips, "--encoders", "tiny", "--store-folder", store], "it is a file, not a folder"),
        ([str(tmp_path / "bare.csv"), "--encoders", "tiny"], "nothing was read as the label"),
        ([store, "--pooling", "max", "--workers", "1"], "--pooling, --workers: a store has its own recipe"),
        ([clips], "is no store: name the encoders to embed it by"),
    ):
        assert main(["compare", *words, *output]) == 2, words
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert says in error
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_what_one_encoder_fails_with_costs_no_row_of_another(tone_folder, tmp_path, capsys):
    broken = write(tmp_path / "broken", "sew-d")
    config = tmp_path / "broken" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "intermediate_size": 48}))  # fits no weight
    command = ["compare", str(tone_folder), "--heads", "knn", "--no-auto", "--no-curves", "--workers", "0"]
    command += ["--store-folder", str(tmp_path / "stores"), "-o", str(tmp_path / "results")]
    capsys.readouterr()
    assert main([*command, "--quiet", "--encoders", f"tiny,{broken}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("embedx: encoder broken: ")
    assert "run the same command again" in error
    assert len(load_embeddings(tmp_path / "stores" / "tiny.h5")) == 24
    assert main([*command, "--encoders", "tiny"]) == 0
    assert "nothing to compute: all 24 clips were done before" in capsys.readouterr().out


def test_what_an_encoder_cannot_do_is_refused_before_the_first_clip(tone_folder, tmp_path, capsys):
    ast, whisper = (write(tmp_path / family, family) for family in ("ast", "whisper-asr"))
    for encoder, options, says in (
        (ast, ["--window-seconds", "5"], "takes at most 2.04 s at a time"),
        (whisper, ["--pooling", "cls"], "pooling 'cls': this encoder has no class token. Allowed: mean, mean+std"),
        ("tiny", ["--padding", "masked"], "padding 'masked': tiny allows none"),
        ("tiny", ["--padding", "repeat"], "unknown padding 'repeat'"),
    ):
        command = ["extract", str(tone_folder), "-o", str(tmp_path / "no.h5"), "--encoder", encoder, *options]
        assert main(command) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "no.h5").exists()


def test_a_store_is_not_gone_on_with_another_spectrogram(tmp_path, tone_folder, capsys):
    folder, store = tmp_path / "encoder", str(tmp_path / "emb.h5")
    encoder = write(folder, "ast")
    assert main(["extract", str(tone_folder / "low"), "-o", store, "--encoder", encoder]) == 0
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mean": 3.0}))
    capsys.readouterr()
    for more in ([], ["--encoder", encoder]):
        assert main(["extract", str(tone_folder), "-o", store, *more]) == 2
        assert "frontend: recorded 'ASTFeatureExtractor:" in capsys.readouterr().err


def test_long_clips_are_cut_at_the_native_length(tmp_path, tone_folder):
    ast = write(tmp_path / "encoder", "ast")
    from embedx.testing import make_tone, write_wav

    (tmp_path / "audio" / "a").mkdir(parents=True)
    write_wav(str(tmp_path / "audio" / "a" / "long.wav"), make_tone(400, seconds=5.0))
    store = str(tmp_path / "emb.h5")
    assert main(["extract", str(tmp_path / "audio"), "-o", store, "--encoder", ast, "--pooling", "cls"]) == 0
    assert read_recipe(store).window_seconds == pytest.approx(2.04)
    assert load_embeddings(store).X.shape[0] == 1
