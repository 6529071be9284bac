"""Encoding in this process: the same rows, kept weights and decoders, and no file that takes the process along."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import soundfile

from embedx.audio.decode_pool import DecodePool
from embedx.errors import EncoderError, ParameterError, RecipeMismatchError
from embedx.extract import in_process
from embedx.extract.any_clips import embed_all
from embedx.extract.frames import clip_frames
from embedx.manifest import Manifest, Source, read_manifest
from embedx.recipe import Resources
from embedx.store.rows import Embedded, Failure
from tests.encoders.checkpoints import write_checkpoint

FAST = {"encoder": "tiny", "compute_dtype": "float32", "resources": Resources(device="cpu", workers=1)}
NOISE = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_kept():
    in_process.forget()
    yield
    in_process.forget()


def rows_of(results):
    return {r.source.uri: r.embeddings for r in results if isinstance(r, Embedded)}


def test_rows_and_failures_are_those_of_processes(mixed_folder, bad_clips):
    manifest = read_manifest(mixed_folder)
    here, recipe, _ = embed_all(manifest, **FAST)
    assert in_process._kept.encoders, "16 files are few"
    there, expected, _ = embed_all(manifest, in_process=False, **FAST)
    assert recipe == expected
    assert [result.source for result in here] == list(manifest)
    failures = [(r.source, r.reason, r.message) for r in here if isinstance(r, Failure)]
    assert failures == [(r.source, r.reason, r.message) for r in there if isinstance(r, Failure)]
    assert {source.uri: reason for source, reason, _ in failures} == bad_clips
    mine, theirs = rows_of(here), rows_of(there)
    for uri, rows in theirs.items():
        np.testing.assert_allclose(mine[uri], rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_and_its_samples_give_equal_rows(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", NOISE, rate)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    options = {**FAST, "window_seconds": 0.4}
    clips = [str(tmp_path / "a.wav"), (samples, rate), (tmp_path / "a.wav").read_bytes()]
    (file,), _, _ = embed_all(clips[:1], **options)
    for found in embed_all(clips[1:], **options)[0]:
        for name in ("embeddings", "control", "start_seconds", "end_seconds"):
            assert np.array_equal(getattr(found, name), getattr(file, name))


def test_weights_and_decoders_are_kept(mixed_folder):
    manifest = Manifest.from_paths([mixed_folder / "cat" / "00.wav"])
    embed_all(manifest, **FAST)
    (encoder,), ((pool,),) = in_process._kept.encoders.values(), in_process._kept.pools.values()
    embed_all(manifest, **FAST)
    embed_all((NOISE, 16_000), **FAST)
    assert list(in_process._kept.encoders.values()) == [encoder]
    assert list(in_process._kept.pools.values()) == [[pool]]
    assert len(pool._threads) == 1
    assert len(pool._loads) <= 1


def test_what_is_kept_is_bounded(mixed_folder):
    manifest = Manifest.from_paths([mixed_folder / "cat" / "00.wav"])
    for layer in range(4):
        embed_all(manifest, layers=layer, **FAST)
    assert [key[0].layers for key in in_process._kept.encoders] == [(2,), (3,)]
    embed_all(manifest, layers=2, **FAST)
    assert [key[0].layers for key in in_process._kept.encoders] == [(3,), (2,)]


def test_a_checkpoint_that_changes_is_loaded_anew_or_refused(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    write_checkpoint(folder, "wav2vec2-group")
    clip = (NOISE, 16_000)
    options = {"resources": FAST["resources"], "compute_dtype": "float32"}
    (before,), recipe, _ = embed_all(clip, encoder=str(folder), **options)
    write_checkpoint(folder, "wav2vec2-group", initializer_range=0.5)
    (after,), _, _ = embed_all(clip, encoder=str(folder), **options)
    assert not np.array_equal(before.embeddings, after.embeddings)
    with pytest.raises(RecipeMismatchError, match="weights_sha256"):
        embed_all(clip, recipe=recipe, resources=FAST["resources"])


def test_threads_that_torch_was_given_come_back(mixed_folder):
    import torch

    before = torch.get_num_threads()
    for threads in (1, 3):
        options = {**FAST, "resources": Resources(device="cpu", workers=1, threads=threads)}
        embed_all([(NOISE, 16_000)] * 3, **options)
        assert torch.get_num_threads() == before


def test_threads_of_this_process_share_what_is_kept():
    found, expected = [], embed_all((NOISE, 16_000), **FAST)[0][0].embeddings
    threads = [
        threading.Thread(target=lambda: found.append(embed_all((NOISE, 16_000), **FAST)[0][0])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(one.embeddings, expected) for one in found)
    assert len(in_process._kept.encoders) == 1
    assert sum(map(len, in_process._kept.pools.values())) <= 2


@pytest.mark.kill
def test_a_forked_process_begins_anew(mixed_folder):
    import torch

    clips = [str(mixed_folder / "cat" / "00.wav"), (NOISE, 16_000)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # OpenMP's, which a fork does not copy
    embed_all(clips[1], **FAST)
    expected = [result.embeddings for result in embed_all(clips, **FAST)[0]]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert not in_process._kept.encoders
            assert in_process.n_threads_here(Resources()) == 1
            found = [result.embeddings for result in embed_all(clips, **FAST)[0]]
            code = 0 if all(np.allclose(*pair, atol=1e-5) for pair in zip(found, expected, strict=True)) else 2
        finally:
            in_process.forget()
            os._exit(code)
    deadline = time.monotonic() + 120
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended[0], "the forked process hangs"
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert np.array_equal(embed_all(clips, **FAST)[0][0].embeddings, expected[0])
    torch.set_num_threads(threads)


@pytest.mark.kill
def test_a_file_that_crashes_its_decoder_is_a_failure_and_this_process_lives(
    runners, monkeypatch, mixed_folder, tmp_path
):
    monkeypatch.setattr("embedx.audio.decode_pool._START", runners.DEADLY_DECODER)
    content = (mixed_folder / "cat" / "00.wav").read_bytes()
    for name in ("decoder.wav", "good.wav"):
        (tmp_path / name).write_bytes(content)
    for workers in (0, 1):
        options = {**FAST, "resources": Resources(device="cpu", workers=workers)}
        bad, good = embed_all([tmp_path / "decoder.wav", tmp_path / "good.wav"], **options)[0]
        assert (bad.reason, good.embeddings.shape[0]) == ("worker_died", 1)


def test_bad_bytes_are_failures_under_the_clip_s_name():
    clips = [{"bytes": b"RIFF", "path": "dog.wav"}, b"", (NOISE[:100], 16_000), (NOISE, 16_000)]
    *bad, good = embed_all(clips, **FAST)[0]
    assert [one.source.uri for one in bad] == ["clip 0 (dog.wav)", "clip 1", "clip 2"]
    assert [one.reason for one in bad] == ["decode", "decode", "too_short"]
    assert all(one.message.startswith(one.source.uri) and "/proc" not in one.message for one in bad)
    assert good.source == Source("clip 3")


def test_an_interrupted_call_leaves_no_decoder_that_others_would_wait_for(mixed_folder, monkeypatch):
    closed = []
    monkeypatch.setattr(DecodePool, "close", lambda pool: closed.append(pool))
    with pytest.raises(KeyboardInterrupt), in_process.decoders(FAST["resources"]):
        raise KeyboardInterrupt
    assert len(closed) == 1
    assert not any(in_process._kept.pools.values())


def test_what_counts_as_few(mixed_folder, tmp_path, monkeypatch):
    manifest, cpu = read_manifest(mixed_folder), Resources(device="cpu")
    assert len(manifest) == in_process.MOST_CLIPS == 16
    assert in_process.are_few(manifest, cpu)
    assert not in_process.are_few(Manifest((*manifest, Source("x.wav")), manifest.root), cpu)
    assert not in_process.are_few(manifest, Resources(device="cpu", devices=("cpu", "cpu")))
    assert not in_process.are_few(manifest, Resources(device="cpu", silence_timeout_seconds=60))
    with (tmp_path / "hours.wav").open("wb") as file:
        file.truncate(in_process.MOST_BYTES + 1)
    assert not in_process.are_few(Manifest.from_paths([tmp_path / "hours.wav"]), cpu)
    assert in_process.are_few(Manifest.from_paths([tmp_path / "nowhere.wav"]), cpu)


def test_progress_counts_clips_of_all_parts():
    told = []
    embed_all([(NOISE[:800], 16_000)] * 70, progress=lambda done, total, **_: told.append((done, total)), **FAST)
    assert told == [(64, 70), (70, 70)]


def test_refusals_come_before_anything_is_loaded():
    for options, error in (
        ({"encoder": "nowhere"}, EncoderError),
        ({"encoder": "tiny", "pooling": "x"}, ParameterError),
    ):
        with pytest.raises(error):
            embed_all((NOISE, 16_000), **options)
    assert not in_process._kept.encoders


def test_frames_of_a_long_clip_are_those_of_its_windows():
    samples = np.tile(NOISE, 8)  # 12 s: a window of 10 s and one of 2 s
    parts = list(clip_frames((samples, 16_000), **FAST))
    assert [values.shape for values, _ in parts] == [(499, 960), (99, 960)]
    assert parts[0][1][:2].tolist() == pytest.approx([0.0125, 0.0325])
    assert parts[1][1][0] == pytest.approx(10.0125)
    ((alone, seconds),) = clip_frames((samples[160_000:], 16_000), **FAST)
    assert np.array_equal(alone, parts[1][0])
    assert seconds == pytest.approx(parts[1][1] - 10)
    (row,), _, _ = embed_all((samples, 16_000), **FAST)
    np.testing.assert_allclose(parts[0][0].mean(0), row.embeddings[0].ravel(), rtol=1e-3, atol=1e-4)
