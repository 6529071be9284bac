"""Small random checkpoints of every family, written as a user's would lie on disk."""

import json

SMALL = {
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
    "sew-d": ("SEWD", {"conv_dim": (16,) * 13, "max_position_embeddings": 64, "position_buckets": 16}),
}

_WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
_CONFORMER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
_CLAP = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 64,
    "projection_dim": 24,
    "depths": [2, 1, 1, 1],
    "num_attention_heads": [1, 2, 4, 8],
    "aff_block_r": 2,
    "num_mel_bins": 32,
    "spec_size": 128,
    "window_size": 4,
}
_CLAP_MEL = {"feature_size": 32, "max_length_s": 5}
_TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
    "projection_dim": 24,
}
_SEAMLESS = {
    "hidden_size": 32,
    "speech_encoder_layers": 3,
    "speech_encoder_attention_heads": 4,
    "speech_encoder_intermediate_size": 64,
    "speech_encoder_chunk_size": 40,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "t2u_encoder_layers": 1,
    "t2u_decoder_layers": 1,
    "t2u_encoder_ffn_dim": 32,
    "t2u_decoder_ffn_dim": 32,
    "t2u_encoder_attention_heads": 2,
    "t2u_decoder_attention_heads": 2,
    "t2u_vocab_size": 50,
    "char_vocab_size": 50,
    "vocab_size": 50,
    "vocoder_num_langs": 2,
    "vocoder_num_spkrs": 2,
    "unit_hifi_gan_vocab_size": 50,
    "upsample_initial_channel": 32,
    "unit_embed_dim": 8,
    "spkr_embed_dim": 8,
    "lang_embed_dim": 8,
}
_MOONSHINE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "encoder_num_hidden_layers": 3,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "vocab_size": 60,
}
WITH_FRONT_ENDS = {
    "whisper": (
        "WhisperModel",
        {**_WHISPER, "num_mel_bins": 128, "max_source_positions": 150},
        "WhisperFeatureExtractor",
        {"feature_size": 128, "chunk_length": 3},
    ),
    "whisper-asr": (
        "WhisperForConditionalGeneration",
        {**_WHISPER, "max_source_positions": 100},
        "WhisperFeatureExtractor",
        {"chunk_length": 2},
    ),
    "whisper-30-seconds": ("WhisperModel", _WHISPER, "WhisperFeatureExtractor", {}),
    "ast-10-seconds": (
        "ASTForAudioClassification",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64},
        "ASTFeatureExtractor",
        {},
    ),
    "ast": (
        "ASTModel",
        {**_CONFORMER, "max_length": 204, "num_mel_bins": 64, "time_stride": 8},
        "ASTFeatureExtractor",
        {"max_length": 204, "num_mel_bins": 64, "mean": -1.5, "std": 2.0},
    ),
    "w2v-bert": (
        "Wav2Vec2BertModel",
        {**_CONFORMER, "conv_depthwise_kernel_size": 7},
        "SeamlessM4TFeatureExtractor",
        {"padding_value": 1},
    ),
    "w2v-bert-rotary": (
        "Wav2Vec2BertModel",
        {**_CONFORMER, "conv_depthwise_kernel_size": 7, "position_embeddings_type": "rotary"},
        "SeamlessM4TFeatureExtractor",
        {},
    ),
    "clap": (
        "ClapModel",
        {"audio_config": _CLAP, "text_config": _TEXT, "projection_dim": 24},
        "ClapFeatureExtractor",
        {**_CLAP_MEL, "truncation": "rand_trunc"},
    ),
    "clap-10-seconds": (
        "ClapAudioModelWithProjection",
        {**_CLAP, "num_mel_bins": 64, "spec_size": 256, "window_size": 8},
        "ClapFeatureExtractor",
        {"truncation": "rand_trunc"},
    ),
    "clap-fused": (
        "ClapAudioModelWithProjection",
        {**_CLAP, "enable_fusion": True, "fusion_type": "aff_2d"},
        "ClapFeatureExtractor",
        {**_CLAP_MEL, "truncation": "fusion", "padding": "pad"},
    ),
    "moonshine": (
        "MoonshineModel",
        _MOONSHINE,
        "Wav2Vec2FeatureExtractor",
        {"do_normalize": False, "feature_size": 1},
    ),
    "parakeet": (
        "ParakeetForCTC",
        {
            "encoder_config": {
                **_CONFORMER,
                "subsampling_conv_channels": 16,
                "conv_kernel_size": 5,
                "num_mel_bins": 80,
            },
            "vocab_size": 20,
            "pad_token_id": 19,
        },
        "ParakeetFeatureExtractor",
        {"feature_size": 80},
    ),
    "seamless": ("SeamlessM4Tv2Model", _SEAMLESS, "SeamlessM4TFeatureExtractor", {}),
}
"""Class of the checkpoint, its config, class of its feature extractor and its settings."""

AS_LONG_AS_REAL_ONES = ("ast-10-seconds", "clap-10-seconds", "whisper-30-seconds")


def _unsettle(model):
    """Give biases, norms and running statistics values that a mistake could not hide behind."""
    import torch

    for parameter in model.parameters():
        if parameter.dim() == 1 or not parameter.any():
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)


def write_checkpoint(folder, family, **changes):
    """Write a small random checkpoint; returns transformers' own model."""
    import torch
    import transformers

    name, options = FAMILIES[family]
    torch.manual_seed(sum(map(ord, family)))
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **options, **changes})
    model = getattr(transformers, f"{name}Model")(config).eval()
    _unsettle(model)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    return model


def write_other(folder, family, **changes):
    """Write a small random checkpoint of a family with a front end of its own; returns transformers' own model."""
    import torch
    import transformers

    name, options, extractor, settings = WITH_FRONT_ENDS[family]
    torch.manual_seed(sum(map(ord, family)))
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**{**options, **changes})).eval()
    _unsettle(model)
    model.save_pretrained(folder)
    getattr(transformers, extractor)(**settings).save_pretrained(folder)
    return model
