"""Fine-tuning by several processes, as README has it: the weights of one process, and no process missing unnoticed."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.finetune, pytest.mark.slow]

LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")  # torchrun, with the same Python
ALONE = dict.fromkeys(("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A checkpoint folder of wav2vec2-base's architecture at a thousandth of its size; it draws no masks."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder = tmp_path_factory.mktemp("encoder")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    convolutions = {"conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config(**small, **convolutions, mask_time_prob=0.0)).save_pretrained(folder)
    record = {"do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def fit(encoder, tone_folder):
    """``fit(folder, *words, launcher=(), **environment)``: ``embedx fit --head finetune`` without chance."""

    def run(folder, *words, launcher=(), learning_rate="1e-3", **environment):
        fixed = ("--epochs", "2", "--device", "cpu", "--learning-rate", learning_rate, "--encoder", encoder)
        params = ("batch_size=4", "validation_fraction=0", "dropout=0", f"head_learning_rate={learning_rate}")
        chosen = [word for param in params for word in ("--param", param)]
        command = [sys.executable, *launcher, "-m", "embedx", "fit", tone_folder, "--head", "finetune", "-o", folder]
        facts = {**os.environ, **ALONE, **environment}
        facts = {name: value for name, value in facts.items() if value is not None}
        words = [str(word) for word in (*command, *fixed, *chosen, *words)]
        return subprocess.run(words, env=facts, capture_output=True, text=True, timeout=500, check=False)

    return run


def weights(folder):
    from safetensors.torch import load_file

    (place,) = folder.rglob("model.safetensors")
    return load_file(place)


def apart(one, other):
    """The largest difference of any weight that both have."""
    shared = one.keys() & other.keys()
    assert len(shared) > 30
    return max(float((one[name] - other[name]).abs().max()) for name in shared)


def test_two_processes_end_at_the_weights_of_one_that_accumulates(fit, encoder, tmp_path):
    """Steps of 4 clips: 2 and 2 in two processes; one after the other in one; both through the command line."""
    done = fit(tmp_path / "two", launcher=LAUNCH)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved ") == 1, "one process prints and saves"
    assert "2 process(es)" in next((tmp_path / "two").rglob("README.md")).read_text()
    done = fit(tmp_path / "one", "--batch-seconds", "0.1")
    assert done.returncode == 0, done.stderr
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert two.keys() == one.keys()
    assert apart(two, one) < 1e-4
    start = {f"wav2vec2.{name}": tensor for name, tensor in weights(encoder).items()}
    assert apart(one, start) > 1e-3, "nothing was learned, so equal weights would say nothing"


def test_a_process_too_few_is_one_line(fit, tmp_path):
    """``accelerate launch --cpu --num_processes 2`` starts one, and says nothing of it in the environment."""
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    done = fit(tmp_path / "model", launcher=launcher)
    assert done.returncode != 0
    assert "embedx: accelerate launch was asked for several processes and started one: run torchrun" in done.stderr
    assert 'File "' not in done.stderr.split("accelerate launch was asked")[0], "a traceback of our own"
    assert not (tmp_path / "model").exists()
