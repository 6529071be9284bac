"""The same numbers as transformers' own class, alone and in any batch."""

import numpy as np
import pytest
import torch

from embedx.audio.decode import decode
from embedx.encoders.resolve import resolve_encoder
from embedx.errors import EncoderError
from embedx.heads.finetune import FineTuneClassifier
from embedx.heads.finetune.network import build_network, parameter_groups
from embedx.heads.finetune.resources import training_dtype
from tests.encoders.checkpoints import write_other


@pytest.fixture(scope="module")
def settings(plain):
    return FineTuneClassifier(**plain)._settings()


@pytest.fixture
def network(small_encoder, settings):
    built = build_network(resolve_encoder(small_encoder), ["a", "b", "c"], settings)
    built.model.eval()
    return built


@pytest.fixture(scope="module")
def noises():
    rng = np.random.default_rng(1)
    return [rng.standard_normal(n).astype(np.float32) * 0.1 for n in (16_000, 400, 9_999, 16_000, 23_456)]


def test_a_clips_logits_do_not_depend_on_the_batch(network, noises):
    with torch.inference_mode():
        together = network.logits(noises)
        alone = torch.cat([network.logits([clip]) for clip in noises])
    assert torch.allclose(together, alone, atol=2e-6)
    assert together.shape == (5, 3)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_logits_are_those_of_transformers(tmp_path, encoder_like, settings, noises, norm):
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    folder = encoder_like(tmp_path / "encoder", feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    network = build_network(resolve_encoder(str(folder)), ["a", "b", "c"], settings)
    network.model.eval()
    network.save(tmp_path / "model")
    reference = Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    for clip in noises:
        values = prepare(clip, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            expected, got = reference(values).logits, network.logits([clip])
        assert torch.allclose(got, expected, atol=1e-5)


def test_gradients_do_not_depend_on_the_batch(network, noises):
    def gradient(batches):
        network.model.zero_grad()
        for batch in batches:
            network.logits(batch).square().sum().backward()
        return torch.cat([p.grad.flatten() for p in network.trainable().values() if p.grad is not None])

    together, alone = gradient([noises]), gradient([[clip] for clip in noises])
    assert torch.linalg.norm(together - alone) < 1e-4 * torch.linalg.norm(alone)


def test_a_mask_changes_only_its_own_clip(network, noises):
    mask = np.zeros(network.n_frames(len(noises[2])), dtype=bool)
    mask[5:15] = True
    with torch.inference_mode():
        plain, masked = network.logits(noises), network.logits(noises, [None, None, mask, None, None])
    changed = (plain - masked).abs().amax(dim=1)
    assert changed[2] > 1e-5
    assert changed[[0, 1, 3, 4]].max() < 1e-6


def test_transformers_draws_no_masks_of_its_own(network, noises):
    network.model.train()
    assert torch.equal(network.logits(noises), network.logits(noises))
    assert network.mask_prob == pytest.approx(0.05)


def test_conv_is_frozen_by_default_and_layers_from_below(small_encoder, settings):
    from dataclasses import replace

    info = resolve_encoder(small_encoder)
    names = {
        freeze: set(build_network(info, ["a", "b"], replace(settings, freeze=freeze)).trainable())
        for freeze in ("conv", "none", "encoder")
    }
    assert not any("feature_extractor" in name for name in names["conv"])
    assert any("feature_extractor" in name for name in names["none"])
    assert {name.split(".")[0] for name in names["encoder"]} == {"projector", "classifier"}
    low = build_network(info, ["a", "b"], replace(settings, n_frozen_layers=2)).trainable()
    assert {name.split(".")[3] for name in low if "encoder.layers" in name} == {"2"}
    assert not any("feature_projection" in name for name in low)


def test_rates_fall_from_the_head_down(network, settings):
    from dataclasses import replace

    changed = replace(settings, learning_rate=1e-3, head_learning_rate=None, layer_decay=0.5)
    groups = list(parameter_groups(network, changed))
    rates = {group["depth"]: group["lr"] for group in groups}
    assert rates == pytest.approx({0: 1.25e-4, 1: 2.5e-4, 2: 5e-4, 3: 1e-3, 4: 1e-2})
    held = sum(p.numel() for group in groups for p in group["params"])
    assert held == sum(p.numel() for p in network.trainable().values())
    assert all(p.ndim > 1 for group in groups if group["weight_decay"] for p in group["params"])


def test_lora_trains_little_and_merges_to_the_same_logits(small_encoder, settings, noises):
    pytest.importorskip("peft")
    from dataclasses import replace

    network = build_network(resolve_encoder(small_encoder), ["a", "b"], replace(settings, lora_rank=2))
    assert all("lora_" in name or name.startswith(("projector", "classifier")) for name in network.trainable())
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    network.model.eval()
    with torch.inference_mode():
        before = network.logits(noises)
        network.merge()
        after = network.logits(noises)
    assert torch.allclose(before, after, atol=1e-5)
    assert type(network.model).__name__ == "Wav2Vec2ForSequenceClassification"
    assert not any("lora" in name for name, _ in network.model.named_parameters())


def test_features_computed_beforehand_give_the_same_logits(network, noises):
    mixed = [network.features(clip) if i % 2 else clip for i, clip in enumerate(noises)]
    with torch.inference_mode():
        assert torch.allclose(network.logits(mixed), network.logits(noises), atol=2e-6)


def test_checkpointing_changes_memory_not_gradients(small_encoder, settings, noises):
    from dataclasses import replace

    def gradient(checkpointing):
        some = replace(settings, gradient_checkpointing=checkpointing)
        network = build_network(resolve_encoder(small_encoder), ["a", "b"], some)
        network.model.train()
        network.logits(noises[:1]).sum().backward()
        return torch.cat([p.grad.flatten() for p in network.trainable().values() if p.grad is not None])

    assert torch.allclose(gradient(True), gradient(False), atol=1e-6)


def test_other_families_train_too_alone_and_in_any_batch(tmp_path, settings, noises):
    from transformers import (
        Data2VecAudioConfig,
        Data2VecAudioModel,
        HubertConfig,
        HubertModel,
        WavLMConfig,
        WavLMModel,
    )

    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    models = {
        "hubert": HubertModel(HubertConfig(**small)),
        "wavlm": WavLMModel(WavLMConfig(**small)),
        "data2vec": Data2VecAudioModel(Data2VecAudioConfig(**small)),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        network = build_network(resolve_encoder(str(tmp_path / name)), ["a", "b"], settings)
        assert network.has_fixed_convolutions, name
        assert network.forward_pass.pads == (name != "data2vec")  # whose layers get clips of one length at a time
        network.model.eval()
        together = network.logits(noises)
        with torch.inference_mode():
            assert torch.allclose(together, torch.cat([network.logits([clip]) for clip in noises]), atol=2e-6), name
        together.sum().backward()
        layers = [p.grad for n, p in network.trainable().items() if "encoder.layers.0" in n]
        assert any(grad is not None and grad.abs().sum() > 0 for grad in layers)


def test_auto_is_float32_on_a_cpu():
    assert training_dtype("auto", "cpu") == "float32"


def test_decoded_audio_reaches_the_network(network, tones):
    with torch.inference_mode():
        assert torch.isfinite(network.logits([decode(tones[0][0])])).all()


class TestLearnedAttention:
    """``pooling="attention"``: a weighted mean of a clip's own frames that begins as their mean."""

    @pytest.fixture
    def attending(self, small_encoder, plain):
        settings = FineTuneClassifier(**plain, pooling="attention")._settings()
        built = build_network(resolve_encoder(small_encoder), ["a", "b", "c"], settings)
        built.model.eval()
        return built

    def test_it_begins_as_the_mean(self, attending, network, noises):
        with torch.inference_mode():
            assert torch.allclose(attending.logits(noises), network.logits(noises), atol=2e-6)

    def test_it_weighs_a_clips_own_frames_in_any_batch(self, attending, network, noises):
        torch.nn.init.normal_(attending.attention.weight, std=3.0, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            together = attending.logits(noises)
            alone = torch.cat([attending.logits([clip]) for clip in noises])
            frames = attending._frames(noises[:1], None)[0]
            states = attending.model.projector(frames)
            weights = (states @ attending.attention.weight[0]).softmax(dim=0)
            by_hand = attending.model.classifier(weights @ states)
        assert torch.allclose(together, alone, atol=5e-6)
        assert torch.allclose(together[0], by_hand, atol=5e-6)
        assert not torch.allclose(together, network.logits(noises), atol=1e-3)

    def test_it_is_learned_saved_and_read(self, plain, tones, tmp_path):
        paths, labels = tones
        fitted = FineTuneClassifier(**plain, pooling="attention").fit(paths, labels)
        assert fitted.network_.attention.weight.abs().max() > 0
        fitted.save(tmp_path)
        again = FineTuneClassifier.load(tmp_path)
        assert np.array_equal(again.decision_function(paths), fitted.decision_function(paths))
        assert "transformers alone gives other answers" in (tmp_path / "README.md").read_text()

    def test_class_tokens_have_no_frames_to_weigh(self, plain, tmp_path):
        write_other(tmp_path, "ast")
        settings = FineTuneClassifier(**plain, pooling="attention")._settings()
        with pytest.raises(EncoderError, match="class tokens, so there are no frames to weigh"):
            build_network(resolve_encoder(str(tmp_path)), ["a", "b"], settings)
