"""A small random wav2vec2 and real WAV files of three classes, made once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TRAIN = Path(__file__).with_name("train_once.py")


def pytest_collection_modifyitems(items):
    """Everything in this folder trains, or stands beside what does."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.finetune)


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """A checkpoint folder: wav2vec2-base's architecture (group norm) at a thousandth of its size."""
    return str(make_encoder(tmp_path_factory.mktemp("encoder")))


def make_encoder(folder, **changes):
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": [32] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 16,
        "mask_time_length": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(**{**settings, **changes})).save_pretrained(folder)
    record = {"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def encoder_like():
    """Make another checkpoint folder: ``encoder_like(folder, mask_time_prob=0.0)``."""
    return make_encoder


@pytest.fixture(scope="session")
def tones(tone_folder):
    """Paths and labels of 24 short tones: three pitches."""
    paths = sorted(str(path) for path in tone_folder.glob("*/*.wav"))
    return paths, np.array([Path(path).parent.name for path in paths])


@pytest.fixture(scope="session")
def plain(small_encoder):
    """Parameters of a small, quick training without chance."""
    from embedx.heads.finetune import Augmentation

    return {
        "encoder": small_encoder,
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "head_learning_rate": 3e-2,
        "dropout": 0.0,
        "augmentation": Augmentation.off(),
        "validation_fraction": 0.0,
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def train_once():
    """Train in processes of their own: ``train_once(tones, out, launcher=(), kill_after=None, **parameters)``."""

    def run(tones, out, *, launcher=(), kill_after=None, **parameters):
        job = {"X": tones[0], "y": tones[1].tolist(), "parameters": parameters, "kill_after": kill_after}
        command = [sys.executable, *launcher, str(TRAIN), json.dumps(job), str(out)]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    return run
