"""The bundled encoder is what its README says: small, float16, plain Hugging Face, and it has learned something."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "embedx" / "assets" / "tiny"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
CONFIG = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModel

    return AutoModel.from_pretrained(FOLDER).eval()


def hidden_states(model, samples):
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states


def test_it_is_at_most_six_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 6_000_000


def test_every_weight_on_disk_is_float16_and_finite():
    from safetensors import safe_open

    with safe_open(FOLDER / "model.safetensors", "np") as weights:
        for name in weights.keys():  # noqa: SIM118  (safe_open is no mapping)
            tensor = weights.get_tensor(name)
            assert tensor.dtype == np.float16, name
            assert np.isfinite(tensor).all(), name


def test_plain_automodel_loads_it_in_float32(model):
    import torch

    assert type(model).__name__ == "Wav2Vec2Model"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_no_weight_is_missing_or_left_over():
    from transformers import AutoModel

    _, told = AutoModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]


def test_its_shape_is_wav2vec2_base_in_small():
    from transformers import Wav2Vec2Config

    base = Wav2Vec2Config()
    for key in ("feat_extract_norm", "do_stable_layer_norm", "conv_bias", "num_conv_pos_embeddings"):
        assert CONFIG[key] == getattr(base, key), key
    assert CONFIG["conv_kernel"] == list(base.conv_kernel)
    assert CONFIG["conv_stride"] == list(base.conv_stride)
    assert (CONFIG["hidden_size"], CONFIG["num_hidden_layers"], CONFIG["conv_dim"]) == (192, 4, [128] * 7)


def test_the_feature_extractor_normalises_every_clip_and_hands_out_no_mask():
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
    assert extractor.do_normalize
    assert extractor.sampling_rate == 16_000
    assert not extractor.return_attention_mask


@pytest.mark.parametrize("n_samples", [400, 4_000, 80_000])
def test_every_layer_is_finite_for_silence_and_for_noise(model, n_samples):
    noise = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    for samples in (np.zeros(n_samples, np.float32), noise):
        states = hidden_states(model, samples)
        assert len(states) == 5
        assert states[0].shape == (1, (n_samples - 400) // 320 + 1, 192)
        assert all(state.isfinite().all() for state in states)


def test_it_gives_the_same_numbers_twice(model):
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert hidden_states(model, noise)[-1].equal(hidden_states(model, noise)[-1])


def test_the_readme_says_what_it_heard_how_it_scores_and_what_it_is_not():
    for fact in ("ESC-10", "FSDD", "espeak-ng", "CC BY-SA", "CC0", "george", "log-mel", "random weights", "minutes"):
        assert fact in README, fact
    assert "no replacement for wav2vec2-base" in " ".join(README.split())
    assert "RANDOM WEIGHTS" not in README


def test_the_note_that_tools_print_calls_it_a_demonstration():
    assert CONFIG["embedx_note"].startswith("demonstration encoder")
