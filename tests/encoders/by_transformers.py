"""What transformers itself makes of one clip alone, frame by frame, for families with a front end of their own.

"Alone" is its own feature extractor and its own model on this one clip. Where a model fills short clips up, frames are
those within the clip; ``padding="none"`` is the same model with as many positions as the clip has.
"""

import copy
import math
import warnings

import torch
import transformers


def extractor_of(folder):
    return transformers.AutoFeatureExtractor.from_pretrained(folder)


def features_of(extractor, clip):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return extractor(clip, sampling_rate=extractor.sampling_rate, return_tensors="pt")


@torch.inference_mode()
def layers_alone(folder, model, clip, padding):
    """Return (T, D) a layer, and class tokens (D,) a layer or None."""
    kind = model.config.model_type
    extractor = extractor_of(folder)
    return _BY_KIND[kind](model, extractor, clip, padding)


def _whisper(model, extractor, clip, padding):
    encoder = copy.deepcopy(getattr(model, "model", model).encoder)
    mel = features_of(extractor, clip).input_features
    n = math.ceil(len(clip) / 320)
    if padding == "none":
        mel, encoder.config.max_source_positions = mel[..., : 2 * n], n
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:n])
    states = encoder(mel, output_hidden_states=True).hidden_states
    return [state[0] if padding == "pooled" else state[0, :n] for state in states], None


def _ast(model, extractor, clip, padding):
    model = copy.deepcopy(getattr(model, "audio_spectrogram_transformer", model))
    config, bands = model.config, torch.as_tensor(features_of(extractor, clip).input_values[0])[None]
    n_rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    n_all = (config.max_length - config.patch_size) // config.time_stride + 1
    n = min(n_all, math.ceil((1 + (len(clip) - 400) // 160) / config.time_stride))
    if padding == "none":
        bands = bands[:, : config.patch_size + config.time_stride * (n - 1)]
        places, chosen = model.embeddings.position_embeddings, torch.arange(n_rows * n_all) % n_all < n
        kept = torch.cat([places[:, :2], places[:, 2:][:, chosen]], dim=1)
        model.embeddings.position_embeddings = torch.nn.Parameter(kept)
    n_kept = n_all if padding == "pooled" else n
    found = model(bands, output_hidden_states=True)
    states = [*found.hidden_states, found.last_hidden_state]
    frames = [state[0, 2:].view(n_rows, -1, state.shape[-1]).mean(0)[:n_kept] for state in states]
    tokens = [state[0, :2].mean(0) for state in states]
    assert torch.allclose(tokens[-1], found.pooler_output[0], atol=1e-5)
    return frames, tokens


def _clap(model, extractor, clip, padding):
    tower = model.audio_model.audio_encoder
    ratio, n_native = tower.freq_ratio, extractor.nb_max_samples
    mel = features_of(extractor, clip).input_features
    found = tower(mel, is_longer=torch.zeros(1, 1, dtype=torch.bool), output_hidden_states=True)
    frames, n_all = [], ratio * found.hidden_states[-1].shape[3]
    for state in found.hidden_states:
        _, channels, height, width = state.shape
        bands = state[0].view(channels, ratio, height // ratio, width).mean(2).flatten(1)  # (C, time)
        frames.append(bands.view(channels, n_all, -1).mean(2).T)
    frames.append(found.last_hidden_state[0].mean(1).T)
    projected = model.audio_projection(found.pooler_output)
    frames.append(projected.expand(n_all, -1))
    repeats = {"repeatpad": n_native // len(clip), "pad": 1}[extractor.padding]
    n = n_all if padding == "pooled" else math.ceil(n_all * repeats * len(clip) / n_native)
    wide = max(frame.shape[1] for frame in frames)
    return [torch.nn.functional.pad(frame[:n], (0, wide - frame.shape[1])) for frame in frames], None


def _w2v_bert(model, extractor, clip, padding):
    ready = features_of(extractor, clip)
    n = int(ready.attention_mask.sum())
    return [state[0, :n] for state in model(**ready, output_hidden_states=True).hidden_states], None


def _seamless(model, extractor, clip, padding):
    encoder, ready, states = model.speech_encoder, features_of(extractor, clip), []
    hooks = [encoder.encoder.layers[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))]
    hooks += [layer.register_forward_hook(lambda *parts: states.append(parts[-1])) for layer in encoder.encoder.layers]
    hooks.append(encoder.encoder.register_forward_hook(lambda *parts: states.append(parts[-1])))
    encoder(**ready)
    for hook in hooks:
        hook.remove()
    n = int(ready.attention_mask.sum())
    return [state[0, :n] for state in [*states[:-2], states[-1]]], None


def _moonshine(model, extractor, clip, padding):
    ready = features_of(extractor, clip)
    return [state[0] for state in model.encoder(ready.input_values, output_hidden_states=True).hidden_states], None


def _parakeet(model, extractor, clip, padding):
    ready = features_of(extractor, clip)
    found = model.encoder(**ready, output_hidden_states=True)
    n = int(found.attention_mask.sum())
    return [state[0, :n] for state in found.hidden_states], None


_BY_KIND = {
    "parakeet_ctc": _parakeet,
    "whisper": _whisper,
    "audio-spectrogram-transformer": _ast,
    "clap": _clap,
    "clap_audio_model": _clap,
    "wav2vec2-bert": _w2v_bert,
    "seamless_m4t_v2": _seamless,
    "moonshine": _moonshine,
}
