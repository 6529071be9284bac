"""Encoders with a front end of their own are fine-tuned through the pass that extraction takes."""

import numpy as np
import pytest
import torch

from embedx.encoders.resolve import resolve_encoder
from embedx.errors import EncoderError
from embedx.heads.finetune import FineTuneClassifier
from embedx.heads.finetune.network import build_network, parameter_groups
from tests.encoders.by_transformers import extractor_of, features_of
from tests.encoders.checkpoints import FAMILIES, write_checkpoint, write_other

TRAINABLE = {
    "whisper-asr": {"classifier_proj_size": 16},
    "w2v-bert": {"classifier_proj_size": 16},
    "ast": {},
    "sew-d": {"classifier_proj_size": 16},
}


@pytest.fixture(scope="module", params=TRAINABLE)
def encoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write = write_checkpoint if request.param in FAMILIES else write_other
    write(folder, request.param, **TRAINABLE[request.param])
    return str(folder)


def logits_of_transformers(folder, clip):
    from transformers import AutoModelForAudioClassification

    model, extractor = AutoModelForAudioClassification.from_pretrained(folder).eval(), extractor_of(folder)
    ready = dict(features_of(extractor, clip))
    if model.config.model_type == "whisper":  # the positions of the clip's own frames only
        n = -(-len(clip) // 320)
        model.encoder.config.max_source_positions, ready["input_features"] = n, ready["input_features"][..., : 2 * n]
        model.encoder.embed_positions = torch.nn.Embedding.from_pretrained(model.encoder.embed_positions.weight[:n])
    ready.pop("attention_mask", None)
    if "input_features" in ready and model.config.model_type == "wav2vec2-bert":
        ready["input_features"] = ready["input_features"][:, : (1 + (len(clip) - 400) // 160) // 2]
    with torch.inference_mode():
        return model(**ready).logits


def test_logits_are_those_of_transformers_and_learn(encoder, plain, tones, tmp_path):
    info = resolve_encoder(encoder)
    settings = FineTuneClassifier(**{**plain, "encoder": encoder})._settings()
    network = build_network(info, ["a", "b"], settings)
    network.model.eval()
    rng = np.random.default_rng(0)
    clips = [rng.normal(0, 0.1, n).astype(np.float32) for n in (16_000, 9_000, 16_000)]
    network.save(tmp_path)
    if network.info is None:
        (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": true, "sampling_rate": 16000}')
    with torch.inference_mode():
        together = network.logits(clips)
    for row, clip in zip(together, clips, strict=True):
        assert torch.allclose(row, logits_of_transformers(tmp_path, clip)[0], atol=1e-4)
    depths = {group["depth"] for group in parameter_groups(network, settings)}
    assert depths == set(range(5))


@pytest.mark.slow
def test_it_trains_saves_and_predicts_alike(encoder, plain, tones, tmp_path):
    fitted = FineTuneClassifier(**{**plain, "encoder": encoder, "epochs": 1, "window_seconds": 1.0}).fit(*tones)
    fitted.save(tmp_path / "model")
    loaded = FineTuneClassifier.load(tmp_path / "model")
    assert np.allclose(loaded.predict_proba(tones[0]), fitted.predict_proba(tones[0]), atol=1e-6)


def test_what_has_no_classification_model_is_refused_in_one_line(plain, tmp_path):
    write_other(tmp_path, "clap")
    settings = FineTuneClassifier(**{**plain, "encoder": str(tmp_path)})._settings()
    with pytest.raises(EncoderError, match="has no classification model of model_type 'clap'") as caught:
        build_network(resolve_encoder(str(tmp_path)), ["a", "b"], settings)
    assert "\n" not in str(caught.value)
