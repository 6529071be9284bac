"""Checkpoints come from a hub that answers as the real one does, wav2vec2-base's layout of 2021 among them."""

import contextlib
import io
import json
import os

import numpy as np
import pytest
import torch

from embedx.cli import main
from embedx.cli.progress import ProgressBar
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.hub import cached_encoders, fetch_checkpoint, reporting
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.encoders.short_names import ADVICE, KNOWN, TASKS, full_name
from embedx.errors import EncoderError
from tests.encoders.checkpoints import SMALL, write_other
from tests.encoders.hub_server import running_hub

CLIP = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with nothing in it, and an empty cache."""
    with running_hub(monkeypatch, tmp_path / "cache") as server:
        yield server


def files_of_2021(seed=0):
    """Return wav2vec2-base's files in small: torch's own format, a model for pre-training, weight_g and weight_v."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    torch.manual_seed(seed)
    model = Wav2Vec2ForPreTraining(Wav2Vec2Config(**SMALL, codevector_dim=8, proj_codevector_dim=8)).eval()
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for key, value in model.state_dict().items():
        for new, before in old.items():
            key = key.replace(new, before)
        weights[key] = value
    assert any(key.endswith("conv.weight_g") for key in weights)
    file = io.BytesIO()
    torch.save(weights, file)
    config = {**model.config.to_dict(), "architectures": ["Wav2Vec2ForPreTraining"]}
    said = {"do_normalize": True, "feature_size": 1, "padding_side": "right", "sampling_rate": 16_000}
    files = {
        ".gitattributes": b"*.bin filter=lfs",
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "config.json": json.dumps(config, default=str).encode(),
        "preprocessor_config.json": json.dumps(said).encode(),
        "pytorch_model.bin": file.getvalue(),
    }
    return files, model.wav2vec2


def test_the_layout_of_2021_gives_the_model_s_own_rows(hub):
    files, model = files_of_2021()
    sha = hub.add("someone/base", files)
    info = resolve_encoder("someone/base")
    assert (info.id, info.revision, info.n_layers) == ("someone/base", sha, 4)
    rows = pool_frames(load_encoder(info, layers=tuple(range(4))).encode([CLIP]))[0]
    values = torch.from_numpy((CLIP - CLIP.mean()) / np.sqrt(CLIP.var() + 1e-7))[None]
    with torch.inference_mode():
        states = model(values, output_hidden_states=True).hidden_states
    expected = np.stack([state[0].mean(0).numpy() for state in states])
    assert np.linalg.norm(rows - expected) <= 1e-5 * np.linalg.norm(expected)
    assert not any("README" in path for _, path, _ in hub.asked)


def test_a_commit_in_the_cache_asks_no_network_and_a_moved_branch_is_followed(hub):
    first = hub.add("someone/base", files_of_2021()[0])
    assert resolve_encoder("someone/base").revision == first
    hub.asked.clear()
    assert resolve_encoder("someone/base", revision=first).revision == first
    assert hub.asked == []
    second = hub.add("someone/base", files_of_2021(seed=1)[0])
    assert resolve_encoder("someone/base").revision == second != first
    before, after = (resolve_encoder("someone/base", revision=sha).weights_sha256 for sha in (first, second))
    assert before != after


def test_a_connection_that_is_cut_goes_on_where_it_was(hub):
    files = files_of_2021()[0]
    hub.add("someone/base", files)
    hub.cuts["pytorch_model.bin"] = 100_000
    info = resolve_encoder("someone/base")
    with open(os.path.join(info.location, "pytorch_model.bin"), "rb") as file:
        assert file.read() == files["pytorch_model.bin"]
    ranges = [asked for _, path, asked in hub.asked if path.endswith("pytorch_model.bin") and asked]
    assert len(ranges) == 1
    assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_what_the_hub_refuses_is_one_line_with_the_way_on(hub):
    hub.add("someone/base", files_of_2021()[0])
    hub.add("someone/secret", files_of_2021()[0])
    hub.private.add("someone/secret")
    for name, revision, says in (
        ("someone/none", None, "the hub has no encoder 'someone/none' \\(or it is private\\)"),
        ("someone/secret", None, "the hub has no encoder 'someone/secret' \\(or it is private\\)"),
        ("someone/base", "v9", "'someone/base' has no revision 'v9' on the hub"),
    ):
        with pytest.raises(EncoderError, match=says) as caught:
            resolve_encoder(name, revision=revision)
        assert "\n" not in str(caught.value)


def test_a_hub_that_is_gone_leaves_what_is_in_the_cache(hub):
    sha = hub.add("someone/base", files_of_2021()[0])
    resolve_encoder("someone/base")
    hub.close()
    assert resolve_encoder("someone/base").revision == sha
    with pytest.raises(EncoderError, match=r"is not in the cache and the hub cannot be reached"):
        resolve_encoder("someone/other")


def test_the_download_says_its_size_and_rate(hub):
    files = files_of_2021()[0]
    hub.add("someone/base", {**files, "pytorch_model.bin": files["pytorch_model.bin"] + bytes(3_000_000)})
    stream, reports = io.StringIO(), []

    @contextlib.contextmanager
    def make(title):
        with ProgressBar(title, unit="MB", stream=stream, every_seconds=0.0) as bar:
            yield lambda done, total: (reports.append((done, total)), bar(done, total))

    with reporting(make):
        resolve_encoder("someone/base")
    assert reports[-1] == (3, 3)
    assert "download someone/base: 3/3 MB" in stream.getvalue()
    reports.clear()
    with reporting(make):
        resolve_encoder("someone/base")
    assert all(done == total for done, total in reports)


def test_encoders_lists_what_is_here(hub, tmp_path, capsys):
    write_other(tmp_path / "w", "whisper-asr")
    repo = KNOWN["whisper-small"].repo
    sha = hub.add(repo, {path.name: path.read_bytes() for path in (tmp_path / "w").iterdir()})
    hub.add("someone/text", {"config.json": b'{"model_type": "bert"}'})
    assert resolve_encoder("whisper-small").id == repo
    assert [(one.repo, one.revision) for one in cached_encoders()] == [(repo, sha)]
    assert main(["encoders"]) == 0
    shown = capsys.readouterr().out
    for name in KNOWN:
        assert f"\n{name} " in shown
    assert "whisper, 4 layers x 32, 16 kHz" in shown
    assert "97.0" in shown
    assert ADVICE in shown
    assert main(["encoders", "--cached"]) == 0
    assert "MAEB" not in capsys.readouterr().out


def test_short_names_stand_for_hub_ids(tmp_path, monkeypatch):
    assert full_name("ast").startswith("MIT/ast-")
    (tmp_path / "ast").mkdir()
    monkeypatch.chdir(tmp_path)
    assert full_name("ast") == "ast"  # a folder of the user's
    assert all(set(known.scores) in (set(), set(TASKS)) for known in KNOWN.values())


def test_bars_that_fail_or_were_interrupted_do_not_stop_a_download(hub):
    """tqdm keeps the lock of all bars when one is interrupted while it is drawn, and other threads wait for it."""
    from tqdm import tqdm

    @contextlib.contextmanager
    def make(title):
        yield lambda done, total: 1 // 0

    hub.add("someone/base", files_of_2021()[0])
    lock = tqdm.get_lock()
    lock.acquire()
    try:
        with reporting(make):
            assert (fetch_checkpoint("someone/base")[0] / "config.json").is_file()
    finally:
        lock.release()
