"""Parameters of an encoder are those that transformers loads for it, counted without loading them."""

import pytest
import torch

from embedx.encoders.counting import count_parameters
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.encoders.short_names import KNOWN
from embedx.recipe import Recipe
from tests.encoders.checkpoints import AS_LONG_AS_REAL_ONES, WITH_FRONT_ENDS, write_checkpoint, write_other

WAVEFORM = (
    "wav2vec2-group",
    "wav2vec2-mms-adapters",
    "hubert-batch-norm",
    "conformer-relative",
    "sew-d",
    "wavlm-group",
)
OTHERS = sorted({*WITH_FRONT_ENDS} - {*AS_LONG_AS_REAL_ONES} | {"ast-10-seconds"})


def recipe_of(encoder):
    info = resolve_encoder(encoder)
    return Recipe(encoder=info.id, revision=info.revision, weights_sha256=info.weights_sha256, layers=(0,))


def size_of(model, without="adapter."):
    return sum(one.numel() for name, one in model.named_parameters() if not name.startswith(without))


@pytest.mark.parametrize("family", WAVEFORM)
def test_of_waveforms_it_is_all_that_transformers_has(family, tmp_path):
    model = write_checkpoint(tmp_path / "encoder", family)
    assert count_parameters(recipe_of(str(tmp_path / "encoder"))) == size_of(model)


@pytest.mark.parametrize("family", OTHERS)
def test_of_a_larger_model_it_is_the_encoder_alone(family, tmp_path):
    whole = write_other(tmp_path / "encoder", family)
    recipe = recipe_of(str(tmp_path / "encoder"))
    encoder = load_encoder(resolve_encoder(recipe.encoder), layers=(0,))
    assert count_parameters(recipe) == size_of(encoder._network.model) <= size_of(whole)


def test_heads_and_quantizers_are_not_counted(tmp_path):
    import transformers

    config = write_checkpoint(tmp_path / "bare", "wav2vec2-group").config
    for name in ("ForCTC", "ForPreTraining"):
        model = getattr(transformers, f"Wav2Vec2{name}")(config)
        model.save_pretrained(tmp_path / name)
        (tmp_path / "bare" / "preprocessor_config.json").rename(tmp_path / name / "preprocessor_config.json")
        assert count_parameters(recipe_of(str(tmp_path / name))) == size_of(model.wav2vec2) < size_of(model)
        (tmp_path / name / "preprocessor_config.json").rename(tmp_path / "bare" / "preprocessor_config.json")


def test_what_cannot_be_said_is_left_out(tmp_path):
    assert count_parameters(recipe_of("tiny")) > 2_000_000
    assert count_parameters(recipe_of("tiny").replace(weights_sha256="other")) is None
    gone = recipe_of("tiny").replace(encoder=str(tmp_path / "gone"), revision="local")
    assert count_parameters(gone) is None
    assert count_parameters(gone.replace(encoder=KNOWN["ast"].repo)) == KNOWN["ast"].n_parameters
    model = write_checkpoint(tmp_path / "encoder", "wav2vec2-group")
    (tmp_path / "encoder" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "encoder" / "pytorch_model.bin")  # has no head that could be read
    assert count_parameters(recipe_of(str(tmp_path / "encoder"))) is None
