"""The points of the spine that no single room's tests hold: what would be dear to change once files are out."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from embedx import Manifest, compare
from embedx.cli import EXIT_BAD_INPUT, EXIT_BLOCKED, EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED
from embedx.extract.unit_runner import plan_units
from embedx.heads.catalog import CATALOG, make_head
from embedx.heads.layers import LayerSelector

ROOT = Path(__file__).resolve().parent.parent


def test_the_bounds_stand_where_every_installer_sees_them():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {"torch>=2.11,<2.14", "torchaudio>=2.11,<2.12"} <= set(wanted)


def test_the_exit_codes_are_these():
    codes = (EXIT_DONE, EXIT_BUG, EXIT_BAD_INPUT, EXIT_SOME_FAILED, EXIT_BLOCKED, EXIT_INTERRUPTED)
    assert codes == (0, 1, 2, 3, 4, 130)


def test_units_are_cut_from_the_full_manifest_by_a_fixed_count():
    manifest = Manifest.from_paths([f"{i:03d}.wav" for i in range(150)], root="/d")
    units = plan_units(manifest)
    assert [len(unit.sources) for unit in units] == [64, 64, 22]
    assert [source for unit in units for source in unit.sources] == list(manifest)


@pytest.mark.parametrize(
    "name", [name for name, spec in CATALOG.items() if spec.input_kind == "embeddings" and spec.layered]
)
def test_every_embedding_head_begins_with_the_layer(name):
    head = make_head(name, n_layers=3)
    assert isinstance(head.steps[0][1], LayerSelector)
    assert head.steps[0][1].n_layers == 3


def test_x_is_two_dimensional_and_never_copied_to_float64(make_dataset):
    dataset = make_dataset()
    assert dataset.X.ndim == 2
    assert dataset.X.dtype == np.float16
    assert LayerSelector(n_layers=3, layer=1).fit_transform(dataset.X).dtype == np.float32


def test_every_table_has_both_control_rows(make_dataset):
    comparison = compare(make_dataset(), ["logreg"], folds=3, curves=False, auto=False)
    assert [row.head for row in comparison.rows] == ["majority", "logmel", "logreg"]
