"""The job: order, failures, resume, refusals; with the bundled encoder on real files."""

import dataclasses
import pickle
import shutil
import threading
import time
import warnings
from concurrent.futures import wait

import numpy as np
import pytest
import soundfile
import torch

from embedx.encoders.resolve import resolve_encoder
from embedx.errors import EncoderError, ParameterError, RecipeMismatchError
from embedx.extract import compute, process_backend
from embedx.extract.job import embed, extract_embeddings
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest, Source, read_manifest
from embedx.recipe import Recipe, Resources
from embedx.store import store as store_room
from embedx.store.rows import Embedded, Failure
from embedx.store.store import read_store

FAST = {"encoder": "tiny", "compute_dtype": "float32", "resources": Resources(device="cpu", workers=2)}


@pytest.fixture(scope="module")
def embedded(mixed_folder):
    return embed(read_manifest(mixed_folder), **FAST)


def test_results_stand_in_the_manifest_s_order_and_bad_files_cost_themselves(mixed_folder, bad_clips, embedded):
    results, recipe = embedded
    assert [result.source.uri for result in results] == [source.uri for source in read_manifest(mixed_folder)]
    assert {r.source.uri: r.reason for r in results if isinstance(r, Failure)} == bad_clips
    good = [result for result in results if isinstance(result, Embedded)]
    assert len(good) == 12
    for result in good:
        assert result.embeddings.shape == (1, len(recipe.layers), 192)
        assert result.embeddings.dtype == result.control.dtype == np.float32
        seconds = soundfile.info(mixed_folder / result.source.uri).duration
        assert (result.start_seconds[0], result.end_seconds[0]) == (0.0, pytest.approx(seconds))
        assert result.stamp.size == (mixed_folder / result.source.uri).stat().st_size


def test_rows_are_bit_equal_in_any_order_with_any_workers_threads_and_devices(mixed_folder, embedded, monkeypatch):
    monkeypatch.setattr("embedx.extract.job.plan_units", lambda m: plan_units(m, n_sources=5))
    manifest = read_manifest(mixed_folder)
    expected = {r.source.uri: r for r in embedded[0] if isinstance(r, Embedded)}
    turned = dataclasses.replace(manifest, sources=manifest.sources[::-1])
    for workers, threads, devices in ((0, 1, ()), (1, 3, ()), (1, 2, ("cpu", "cpu"))):
        options = {**FAST, "resources": Resources(device="cpu", workers=workers, threads=threads, devices=devices)}
        results = embed(turned, **options)[0]
        assert [result.source for result in results] == list(turned)
        for result in results:
            if isinstance(result, Embedded):
                assert np.array_equal(result.embeddings, expected[result.source.uri].embeddings)
                assert np.array_equal(result.control, expected[result.source.uri].control)


def test_a_store_holds_the_rows_and_a_second_run_computes_nothing(mixed_folder, tmp_path, embedded, monkeypatch):
    manifest, output = read_manifest(mixed_folder), tmp_path / "emb.h5"
    report = extract_embeddings(manifest, output, **FAST)
    assert (report.n_clips, report.n_computed, len(report.failures), report.n_done_before) == (16, 12, 4, 0)
    assert report.audio_seconds == pytest.approx(sum(1 + 0.1 * i for i in range(12)), rel=1e-6)
    table = read_store(output)
    expected = {r.source.uri: r.embeddings[0] for r in embedded[0] if isinstance(r, Embedded)}
    for source, status, row in zip(table.sources, table.status, table.row0, strict=True):
        if not status:
            assert np.allclose(table.embeddings[row], expected[source.uri], rtol=2e-3, atol=1e-4)

    monkeypatch.setattr(process_backend, "WorkerProcess", None)  # starting anything would fail
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the recorded dtype is adopted too
        again = extract_embeddings(manifest, output)
    assert (again.n_computed, again.n_done_before, again.n_failed_before) == (0, 12, 4)
    assert again.recipe.encoder == "tiny"  # adopted from the store


def test_a_resumed_run_counts_from_what_is_done(mixed_folder, tmp_path):
    manifest, output, told = read_manifest(mixed_folder), tmp_path / "emb.h5", []
    extract_embeddings(Manifest(manifest.sources[:10], manifest.root), output, **FAST)
    extract_embeddings(manifest, output, progress=lambda done, total, **_: told.append((done, total)), **FAST)
    assert min(told)[0] >= 10
    assert max(told) == (16, 16)


def test_shards_make_one_store(mixed_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("embedx.extract.job.plan_units", lambda m: plan_units(m, n_sources=5))
    manifest, output = read_manifest(mixed_folder), tmp_path / "emb.h5"
    computed = [extract_embeddings(manifest, output, shard=(i, 3), **FAST).n_computed for i in range(3)]
    assert sum(computed) == 12
    assert max(computed) < 12
    assert extract_embeddings(manifest, output, **FAST).n_computed == 0  # a run without a shard publishes
    whole = tmp_path / "whole.h5"
    extract_embeddings(manifest, whole, **FAST)
    assert np.array_equal(read_store(output).embeddings, read_store(whole).embeddings)


@pytest.mark.parametrize(
    "change",
    [
        {"window_seconds": 5.0},
        {"pooling": "mean+std"},
        {"layers": "0"},
        {"offset": "middle"},
        {"max_seconds": 0.5},
        {"store_dtype": "float32"},
        {"min_tail_seconds": 0.2},
    ],
)
def test_another_recipe_is_refused_before_a_model_is_loaded(mixed_folder, tmp_path, monkeypatch, change):
    source = Manifest.from_paths([mixed_folder / "cat" / "00.wav"], root=mixed_folder)
    output = tmp_path / "emb.h5"
    extract_embeddings(source, output, **FAST)
    monkeypatch.setattr(process_backend, "WorkerProcess", None)
    with pytest.raises(RecipeMismatchError) as caught:
        extract_embeddings(source, output, **FAST, **change)
    assert next(iter(change)) in str(caught.value)
    assert "--overwrite" in str(caught.value)


def test_long_clips_become_windows(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16_000 * 7), 16_000)
    manifest = Manifest.from_paths(["long.wav"], root=tmp_path)
    options = {**FAST, "window_seconds": 2.0, "hop_seconds": 1.5}
    (result,), _ = embed(manifest, **options)
    assert result.start_seconds.tolist() == [0.0, 1.5, 3.0, 4.5, 6.0]
    assert result.end_seconds.tolist() == [2.0, 3.5, 5.0, 6.5, 7.0]
    piece = tmp_path / "piece.wav"
    samples, _ = soundfile.read(tmp_path / "long.wav", start=24_000, frames=32_000, dtype="int16")
    soundfile.write(piece, samples, 16_000)
    (alone,), _ = embed(Manifest.from_paths([piece]), **options)
    assert np.array_equal(alone.embeddings[0], result.embeddings[1])
    assert np.array_equal(alone.control[0], result.control[1])


def test_two_segments_of_one_file_and_mean_with_std(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    (tmp_path / "clips.csv").write_text("path,start,stop\na.wav,0,1\na.wav,1.5,3\n")
    results, _ = embed(read_manifest(tmp_path / "clips.csv"), pooling="mean+std", layers="-1,0", **FAST)
    assert [r.embeddings.shape for r in results] == [(1, 2, 384)] * 2
    assert [r.start_seconds.tolist() for r in results] == [[0.0], [1.5]]
    assert (results[0].embeddings[..., 192:] > 0).all()


def test_nan_in_the_audio_is_a_failure(tmp_path):
    samples = np.zeros(16_000)
    samples[500] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    bad, silent = embed(Manifest.from_paths(["nan.wav", "silence.wav"], root=tmp_path), **FAST)[0]
    assert bad.reason == "non_finite"
    assert np.isfinite(silent.embeddings).all()


def test_a_runner_travels_and_loads_nothing_before_its_first_unit(mixed_folder):
    plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
    runner = pickle.loads(pickle.dumps(UnitRunner(plan.recipe, plan.info, Resources(workers=0), mixed_folder)))
    assert runner._compute is None
    with runner:
        results = runner(plan_units(read_manifest(mixed_folder), n_sources=3)[0])
    assert len(results) == 3


def test_the_next_unit_fills_the_threads_that_one_leaves_empty(monkeypatch, tone_folder):
    plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
    first, second = plan_units(list(read_manifest(tone_folder))[:12], n_sources=6)
    resources, heard = Resources(device="cpu", threads=2, workers=1), []
    with UnitRunner(plan.recipe, plan.info, resources, tone_folder) as runner:
        expected = [runner(unit) for unit in (first, second)]
    with UnitRunner(plan.recipe, plan.info, resources, tone_folder) as runner:
        runner.load()
        pooled, calls = runner._compute.encoder.pooled, []

        def slow_at_first(batch, pooling):
            calls.append(len(batch))
            if len(calls) == 1:
                time.sleep(2.0)
            return pooled(batch, pooling)

        monkeypatch.setattr(runner._compute.encoder, "pooled", slow_at_first)
        runner.prefetch(first)
        runner.prefetch(second)
        found = [runner(first, on_progress=lambda source, seconds: heard.append(source))]
        n_calls, n_heard = len(calls), len(heard)
        found.append(runner(second, on_progress=lambda source, seconds: heard.append(source)))
    assert n_calls > 6  # the second unit was begun while the first one's slow window held a thread
    assert n_heard == 6  # and is not reported before its turn
    assert (set(heard[:6]), set(heard[6:])) == (set(first.sources), set(second.sources))
    for mine, theirs in zip(found, expected, strict=True):
        assert all(np.array_equal(a.embeddings, b.embeddings) for a, b in zip(mine, theirs, strict=True))


def test_memory_that_does_not_suffice_halves_the_batch(monkeypatch, mixed_folder, recwarn):
    plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
    encoder = compute.ClipEncoder(plan.recipe, plan.info, Resources(device="cpu", batch_seconds=100))
    real, sizes = encoder.encoder.pooled, []

    def narrow(batch, pooling):
        sizes.append(len(batch))
        if sum(map(len, batch)) > 40_000:
            raise MemoryError
        return real(batch, pooling)

    monkeypatch.setattr(encoder.encoder, "pooled", narrow)
    windows = [compute.Window(i, 0, np.ones(16_000, np.float32)) for i in range(8)]
    rows = encoder._compute(windows)
    assert [row.window.clip for row in rows] == list(range(8))
    assert all(row.embedding is not None for row in rows)
    assert max(sizes) == 8
    assert sum("--batch-seconds" in str(w.message) for w in recwarn) == 1
    (too_long,) = encoder._compute([compute.Window(0, 0, np.ones(50_000, np.float32))])
    assert too_long.embedding is None
    encoder.close()


def test_what_is_long_does_not_begin_last(monkeypatch):
    plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
    with compute.ClipEncoder(plan.recipe, plan.info, Resources(device="cpu", threads=1)) as encoder:
        begun, pooled = [], encoder.encoder.pooled

        def slow(batch, pooling):
            begun.append(len(batch[0]))
            time.sleep(0.2)
            return pooled(batch, pooling)

        monkeypatch.setattr(encoder.encoder, "pooled", slow)
        first, second = encoder.stream(), encoder.stream()
        for stream, n_samples in ((first, 1_000), (second, 9_000), (first, 2_000), (first, 5_000), (first, 3_000)):
            stream.put(compute.Window(0, n_samples, np.ones(n_samples, np.float32)))
        wait(first.pending | second.pending)
        assert sorted(row.window.number for row in first.collect()) == [1_000, 2_000, 3_000, 5_000]
        assert [row.window.number for row in second.collect()] == [9_000]
    assert begun == [1_000, 5_000, 3_000, 2_000, 9_000]


def test_a_window_that_finds_no_room_beside_another_thread_s_gets_it_alone(monkeypatch):
    plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
    encoder = compute.ClipEncoder(plan.recipe, plan.info, Resources(device="cpu", threads=2))
    real, guard, held, refused = encoder.encoder.pooled, threading.Lock(), [0], []

    def narrow(batch, pooling):
        with guard:
            if held[0]:
                refused.append(len(batch))
                raise torch.OutOfMemoryError("CUDA out of memory")
            held[0] += 1
        try:
            time.sleep(0.05)
            return real(batch, pooling)
        finally:
            with guard:
                held[0] -= 1

    monkeypatch.setattr(encoder.encoder, "pooled", narrow)
    with encoder:
        rows = list(encoder.encode(compute.Window(i, 0, np.ones(16_000, np.float32)) for i in range(6)))
    assert refused
    assert sorted(row.window.clip for row in rows) == list(range(6))
    assert all(row.embedding is not None for row in rows)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layers": "0,99"}, "layers 0 to 4"),
        ({"layers": "x"}, "'all' or numbers"),
        ({"pooling": "median"}, "mean"),
        ({"pooling": "cls"}, "no class token"),
        ({"padding": "masked"}, "tiny allows none"),
        ({"window_seconds": 0}, "above 0"),
        ({"hop_seconds": -1}, "above 0"),
        ({"window_seconds": 0.02}, "one frame of tiny takes 0.025 s"),
        ({"max_seconds": 0.001}, "max_seconds is 0.001: one frame"),
        ({"hop_seconds": 1e-9}, "0.02 or more"),
        ({"offset": "end"}, "middle"),
        ({"compute_dtype": "int8"}, "bfloat16"),
        ({"windw_seconds": 3}, "window_seconds"),
        ({"layers": 1.5}, "'all' or numbers"),
        ({"layers": [1.7]}, "'all' or numbers"),
        ({"layers": True}, "'all' or numbers"),
        ({"window_seconds": "10s"}, "give a number of seconds"),
        ({"min_tail_seconds": [1]}, "give a number of seconds"),
        ({"offset": -0.5}, "middle"),
    ],
)
def test_options_that_mean_nothing_are_refused(mixed_folder, options, says):
    with pytest.raises(ParameterError, match=says):
        embed(read_manifest(mixed_folder), encoder="tiny", **options)


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"batch_seconds": float("nan")}, "batch_seconds is nan: give seconds above 0"),
        ({"batch_seconds": 0}, "batch_seconds is 0"),
        ({"batch_seconds": float("inf")}, "batch_seconds is inf"),
        ({"workers": -1}, "workers is -1: give 0 or more"),
        ({"threads": -2}, "threads is -2"),
    ],
)
def test_resources_that_no_machine_has_are_refused(resources, says):
    with pytest.raises(ParameterError, match=says):
        Resources(**resources)


def test_numbers_of_any_kind_make_the_recipe_that_the_command_makes(tmp_path):
    odd = {"window_seconds": np.float32(2.5), "hop_seconds": "2", "offset": 0.5, "layers": np.array([3, 1])}
    plain = {"window_seconds": 2.5, "hop_seconds": 2.0, "offset": "0.5", "layers": "1,3"}
    recipe = RecipePlan(odd, encoder="tiny").recipe
    assert recipe == RecipePlan(plain, encoder="tiny").recipe
    assert Recipe.from_json(recipe.to_json()) == recipe
    copy = shutil.copytree(resolve_encoder("tiny").location, tmp_path / "copy")
    assert RecipePlan({}, encoder=copy).recipe.encoder == str(copy)


@pytest.mark.parametrize("manifest", ["clips", ["a.wav"], None])
def test_what_is_no_manifest_is_told_how_to_become_one(tmp_path, manifest):
    with pytest.raises(ParameterError, match=r"give read_manifest\(FOLDER_OR_CSV\)"):
        extract_embeddings(manifest, tmp_path / "emb.h5", **FAST)


def test_an_empty_encoder_is_not_the_default_one(mixed_folder):
    with pytest.raises(EncoderError, match="unknown encoder ''"):
        embed(read_manifest(mixed_folder), encoder="")


@pytest.mark.parametrize(("name", "says"), [("", "no output was named"), (".", "is a folder")])
def test_an_output_that_is_no_file_is_refused(mixed_folder, name, says):
    with pytest.raises(ParameterError, match=says):
        extract_embeddings(read_manifest(mixed_folder), name, **FAST)


def test_what_is_done_is_on_disk_before_a_long_unit_ends(mixed_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("embedx.extract.job.plan_units", lambda m: plan_units(m, n_sources=8))
    output, seen = tmp_path / "emb.h5", []
    monkeypatch.setattr(store_room, "COMMIT_SECONDS", 1e9)

    def progress(done, total, **facts):
        if done:  # the first unit is counted: from now on a commit is due at every window of the second
            monkeypatch.setattr(store_room, "COMMIT_SECONDS", 0.0)
        seen.append((done, len(list(tmp_path.glob("emb.h5.parts/*-*.h5")))))

    extract_embeddings(read_manifest(mixed_folder), output, progress=progress, **FAST)
    assert (8, 0) in seen
    assert any(done == 8 and n_parts == 1 for done, n_parts in seen)


@pytest.mark.parametrize("times", [(float("nan"), None), (-1.0, None), (2.0, 1.0), (float("inf"), None)])
def test_a_segment_that_is_none_is_refused_before_anything_is_written(tmp_path, times):
    manifest = Manifest((Source("a.wav", start_seconds=times[0], stop_seconds=times[1]),), root=tmp_path)
    with pytest.raises(ParameterError, match=r"a.wav: start_seconds is"):
        extract_embeddings(manifest, tmp_path / "e.h5", **FAST)
    assert not list(tmp_path.iterdir())


def test_encoders_that_are_not_there(tmp_path):
    with pytest.raises(EncoderError, match="did you mean 'tiny'"):
        resolve_encoder("tinny")
    with pytest.raises(EncoderError, match=r"--encoder tiny .* --encoder FOLDER"):
        resolve_encoder("nobody/nothing-of-the-kind")
    (tmp_path / "config.json").write_text('{"model_type": "univnet"}')
    with pytest.raises(EncoderError, match=r"'univnet', which is a vocoder.*wav2vec2-conformer, wavlm"):
        resolve_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2", "num_hidden_layers": 2, "hidden_size": 8}')
    with pytest.raises(EncoderError, match="holds no weights"):
        resolve_encoder(str(tmp_path))
