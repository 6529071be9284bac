"""How a waveform is prepared is read wherever transformers reads it, and what contradicts itself is refused."""

import json
import warnings

import numpy as np
import pytest
import torch

from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.hub import fetch_checkpoint
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.errors import EmbedxWarning, EncoderError

CLIP = (np.random.default_rng(0).normal(0.02, 0.1, 8_000)).astype(np.float32)
PLAIN = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False, "sampling_rate": 8_000}


@pytest.fixture
def folder(make_checkpoint, tmp_path):
    """A checkpoint that says nothing of how waveforms are prepared, and transformers' own model."""
    model = make_checkpoint(tmp_path, "wav2vec2-layer-stable")
    (tmp_path / "preprocessor_config.json").unlink()
    return tmp_path, model


def save_processor(folder, **settings):
    """Save a processor as transformers 5 does: the feature extractor inside processor_config.json, and nothing else."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    vocabulary = folder / "words.json"
    vocabulary.write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "a": 3}))
    extractor = Wav2Vec2FeatureExtractor(feature_size=1, padding_value=0.0, **settings)
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(vocabulary))).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_a_processor_of_transformers_5_gives_transformers_own_rows(folder, normalize, rate):
    from transformers import AutoFeatureExtractor

    place, model = folder
    save_processor(place, do_normalize=normalize, sampling_rate=rate)
    info = resolve_encoder(str(place))
    assert (info.sample_rate, info.normalize) == (rate, normalize)
    ours = pool_frames(load_encoder(info, layers=tuple(range(info.n_layers))).encode([CLIP]))[0]
    prepared = AutoFeatureExtractor.from_pretrained(place)(CLIP, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        states = model(prepared.input_values, output_hidden_states=True).hidden_states
    theirs = np.stack([state[0].mean(0).numpy() for state in states])
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_the_part_for_audio_may_be_called_audio_processor(folder):
    (folder[0] / "processor_config.json").write_text(json.dumps({"audio_processor": PLAIN}))
    info = resolve_encoder(str(folder[0]))
    assert (info.sample_rate, info.normalize) == (8_000, False)


def test_a_processor_without_a_part_for_audio_leaves_it_to_the_older_file(folder):
    (folder[0] / "processor_config.json").write_text(json.dumps({"processor_class": "Wav2Vec2Processor"}))
    (folder[0] / "preprocessor_config.json").write_text(json.dumps(PLAIN))
    assert resolve_encoder(str(folder[0])).sample_rate == 8_000


def test_files_that_contradict_each_other_are_refused(folder):
    place = folder[0]
    (place / "processor_config.json").write_text(json.dumps({"feature_extractor": PLAIN}))
    (place / "preprocessor_config.json").write_text(json.dumps(PLAIN))
    assert resolve_encoder(str(place)).sample_rate == 8_000  # the same twice is no contradiction
    (place / "preprocessor_config.json").write_text(json.dumps({**PLAIN, "sampling_rate": 16_000}))
    with pytest.raises(EncoderError, match=r"contradict each other: .*8000 Hz, do_normalize false; .*16000 Hz"):
        resolve_encoder(str(place))


def test_assumptions_are_said(folder):
    with pytest.warns(EmbedxWarning, match="holds neither processor_config.json nor preprocessor_config.json"):
        info = resolve_encoder(str(folder[0]))
    assert (info.sample_rate, info.normalize) == (16_000, True)


def test_the_bundled_encoder_says_all():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve_encoder("tiny")


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"do_normalize": "false"}, "do_normalize is 'false': true or false is needed"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80}, "asks for WhisperFeatureExtractor"),
        ({"feature_size": 2}, "with 2 values a step"),
        ({"sampling_rate": "16k"}, "sampling_rate is '16k'"),
        ([1], "by no JSON object"),
    ],
)
def test_what_prepares_no_waveform_is_refused(folder, record, says):
    (folder[0] / "processor_config.json").write_text(json.dumps({"feature_extractor": record}))
    with pytest.raises(EncoderError, match=says):
        resolve_encoder(str(folder[0]))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "processor_config.json"])
def test_a_git_lfs_pointer_is_called_one(folder, file):
    (folder[0] / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 380261837\n")
    with pytest.raises(EncoderError, match=f"{file} is a Git LFS pointer.*git lfs pull"):
        resolve_encoder(str(folder[0]))


@pytest.fixture
def hub_cache(folder, tmp_path_factory, monkeypatch):
    """A cache of the hub that holds the checkpoint at one commit; the hub itself cannot be reached."""
    import shutil

    commit, root = "0123456789" * 4, tmp_path_factory.mktemp("hub")
    snapshot = root / "models--someone--small" / "snapshots" / commit
    shutil.copytree(folder[0], snapshot)
    (root / "models--someone--small" / "refs").mkdir()
    (root / "models--someone--small" / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    return commit, snapshot


def test_what_the_hub_is_asked_for_includes_every_place(hub_cache, monkeypatch):
    import huggingface_hub

    commit, snapshot = hub_cache
    real, asked = huggingface_hub.snapshot_download, []

    def download(repo, **options):
        asked.append(options)
        return real(repo, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    fetch_checkpoint("someone/small", revision=commit)  # cached by a version that did not fetch all: asked for again
    assert {"processor_config.json", "preprocessor_config.json"} <= set(asked[1]["allow_patterns"])
    asked.clear()
    (snapshot / "processor_config.json").write_text(json.dumps({"feature_extractor": PLAIN}))
    assert fetch_checkpoint("someone/small", revision=commit) == (snapshot, commit)
    assert len(asked) == 1
