"""An extraction on a GPU gives what one on the CPU gives, and little memory costs speed only."""

import warnings

import numpy as np
import pytest
import soundfile
import torch

from embedx.errors import EmbedxWarning
from embedx.extract import compute
from embedx.extract.job import embed, extract_embeddings
from embedx.extract.planning import RecipePlan
from embedx.manifest import Manifest, read_manifest
from embedx.recipe import Resources
from embedx.store.rows import Embedded
from embedx.store.store import read_store

pytestmark = pytest.mark.gpu


def rows_of(manifest, device, **options):
    results, _ = embed(manifest, encoder="tiny", resources=Resources(device=device, batch_seconds=20.0), **options)
    return results


def test_rows_of_real_files_are_those_of_the_cpu(mixed_folder):
    manifest = read_manifest(mixed_folder)
    for here, there in zip(
        rows_of(manifest, "cpu", compute_dtype="float32"),
        rows_of(manifest, "cuda", compute_dtype="float32"),
        strict=True,
    ):
        assert type(here) is type(there)
        if isinstance(here, Embedded):
            error = np.linalg.norm(here.embeddings - there.embeddings, axis=-1)
            assert (error <= 1e-4 * np.linalg.norm(here.embeddings, axis=-1)).all()
            assert np.allclose(here.control, there.control, atol=1e-3)
        else:
            assert here.reason == there.reason


def test_a_store_is_begun_on_a_gpu_and_gone_on_with_on_a_cpu(mixed_folder, tmp_path):
    manifest = read_manifest(mixed_folder)
    store = tmp_path / "store.h5"
    first = extract_embeddings(manifest, store, encoder="tiny", resources=Resources(device="cuda"), shard=(0, 1))
    second = extract_embeddings(manifest, store, encoder="tiny", resources=Resources(device="cpu"))
    assert first.n_computed > 0
    assert second.n_computed == 0
    assert len(set(read_store(store).clip)) == first.n_computed


def test_memory_that_does_not_suffice_halves_the_batch(tmp_path):
    """Real want of memory: the process may take a twentieth of the device, for batches of half an hour."""
    plan = RecipePlan({"compute_dtype": "float32", "window_seconds": 60.0}, encoder="tiny")
    waves = [np.random.default_rng(i).normal(0, 0.1, 60 * 16_000).astype(np.float32) for i in range(40)]
    windows = [compute.Window(i, 0, wave) for i, wave in enumerate(waves)]
    total = torch.cuda.get_device_properties(0).total_memory
    resources = Resources(device="cuda", batch_seconds=2_400.0)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.5e9 / total)
    try:
        with (
            compute.ClipEncoder(plan.recipe, plan.info, resources) as encoder,
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            rows = list(encoder.encode(windows))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sorted(row.window.clip for row in rows) == list(range(40))
    assert all(row.embedding is not None for row in rows)
    assert [str(w.message) for w in caught if "--batch-seconds" in str(w.message)]
    assert len([w for w in caught if w.category is EmbedxWarning]) == 1


def test_a_window_that_no_memory_holds_is_one_failure(tmp_path):
    for name, seconds in (("long", 600), ("short", 2)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).normal(0, 0.1, seconds * 16_000), 16_000)
    total = torch.cuda.get_device_properties(0).total_memory
    plan = RecipePlan({"compute_dtype": "float32", "window_seconds": 600.0}, encoder="tiny")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(3e8 / total)
    try:
        from embedx.extract.unit_runner import UnitRunner, plan_units

        manifest = Manifest.from_paths(["long.wav", "short.wav"], root=tmp_path)
        with UnitRunner(plan.recipe, plan.info, Resources(device="cuda"), tmp_path) as runner:
            long, short = runner(plan_units(manifest)[0])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "no memory for a window of 600.0 s" in long.message
    assert isinstance(short, Embedded)
