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
def test_two_encoders_are_compared_on_the_same_folds(tone_folder, tmp_path):
    stores = []
    for family in ("ast", "whisper"):
        stores.append(str(tmp_path / f"{family}.h5"))
        encoder = write(tmp_path / family, family)
        assert main(["extract", str(tone_folder), "-o", stores[-1], "--encoder", encoder, "--pooling", "mean+max"]) == 0
    command = ["compare", *stores, "--heads", "logreg", "--folds", "3", "--no-curves", "--no-auto"]
    assert main([*command, "-o", str(tmp_path / "results")]) == 0
    record = json.loads((tmp_path / "results" / "comparison.json").read_text())
    assert sum(row["head"] == "logreg" for row in record["rows"]) == 2


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
