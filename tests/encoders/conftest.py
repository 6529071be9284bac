"""Small random encoders of every supported family, written as a user's checkpoint would lie on disk."""

import json

import pytest

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}

FAMILIES = {
    "wav2vec2-group": ("Wav2Vec2", {}),
    "wav2vec2-layer-stable": ("Wav2Vec2", _LARGE),
    "wav2vec2-layer-plain": ("Wav2Vec2", {"feat_extract_norm": "layer"}),
    "wav2vec2-mms-adapters": ("Wav2Vec2", {**_LARGE, "adapter_attn_dim": 8}),
    "hubert-group": ("Hubert", {}),
    "hubert-layer-stable": ("Hubert", _LARGE),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True}),
    "wavlm-group": ("WavLM", {}),
    "wavlm-layer-stable": ("WavLM", _LARGE),
    "data2vec-audio": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "unispeech": ("UniSpeech", {}),
    "unispeech-layer-stable": ("UniSpeech", _LARGE),
    "unispeech-sat": ("UniSpeechSat", {}),
    "unispeech-sat-layer-stable": ("UniSpeechSat", _LARGE),
    "conformer-relative": ("Wav2Vec2Conformer", {"conv_depthwise_kernel_size": 7}),
    "conformer-rotary": (
        "Wav2Vec2Conformer",
        {"conv_depthwise_kernel_size": 7, "position_embeddings_type": "rotary"},
    ),
    "sew": ("SEW", {"conv_dim": (16,) * 13}),
}


def _unsettle(model):
    """Give biases, norms and running statistics values that a mistake could not hide behind."""
    import torch

    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)


def write_checkpoint(folder, family, **changes):
    """Write a small random checkpoint; returns transformers' own model."""
    import torch
    import transformers

    name, options = FAMILIES[family]
    torch.manual_seed(sum(map(ord, family)))
    config = getattr(transformers, f"{name}Config")(**{**_SMALL, **options, **changes})
    model = getattr(transformers, f"{name}Model")(config).eval()
    _unsettle(model)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    return model


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def checkpoint(request, tmp_path_factory):
    """(folder, transformers' own model) of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_checkpoint(folder, request.param)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def wide_checkpoint(request, tmp_path_factory):
    """The same with layers of 128 numbers: of fewer, rounding shows in the angle."""
    folder = tmp_path_factory.mktemp(request.param)
    n_convs = len(FAMILIES[request.param][1].get("conv_dim", _SMALL["conv_dim"]))
    return folder, write_checkpoint(folder, request.param, hidden_size=128, conv_dim=(64,) * n_convs)


@pytest.fixture(scope="session")
def make_checkpoint():
    """``make_checkpoint(folder, family, **config)`` -> transformers' own model."""
    return write_checkpoint
