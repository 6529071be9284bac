"""A dataset as a table of pandas, of Arrow, and as a Parquet file."""

import sys

import numpy as np
import pytest

from embedx import Recipe, load_embeddings
from embedx.errors import MissingExtraError, ParameterError
from embedx.testing import make_dataset, make_store


def test_a_data_frame_has_a_row_a_clip():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    dataset = make_dataset(n=12, split=["train", "test"])
    frame = dataset.to_dataframe()
    assert list(frame.columns[:7]) == ["path", "label", "group", "split", "start", "stop", "seconds"]
    assert frame["label"].tolist() == dataset.y.tolist()
    assert frame["split"].tolist() == dataset.split.tolist()
    assert frame["stop"].isna().all()
    assert np.array_equal(frame.filter(like="layer").to_numpy(), dataset.X.astype(np.float32))
    assert isinstance(frame, pandas.DataFrame)
    assert len(dataset.take([]).to_dataframe()) == 0


def test_arrow_holds_a_vector_a_layer_and_the_recipe(tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    place = make_store(tmp_path / "emb.h5")
    dataset = load_embeddings(place, layers=[1, 2], most_bytes=0)  # left on disk
    table = dataset.to_arrow()
    assert table.column_names[-3:] == ["layer1", "layer2", "control"]
    found = np.stack(table["layer2"].to_numpy())
    assert np.array_equal(found, np.asarray(dataset.X, np.float32)[:, 8:])
    assert np.array_equal(np.stack(table["control"].to_numpy()), dataset.control)
    assert Recipe.from_json(table.schema.metadata[b"embedx.recipe"].decode()) == dataset.recipe
    assert dataset.take([]).to_arrow().num_rows == 0


def test_parquet_is_replaced_whole_and_nothing_else_is(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    dataset = make_dataset(n=12)
    for some in (dataset, dataset.take([0, 1])):
        some.to_parquet(tmp_path / "emb.parquet")
        assert parquet.read_table(tmp_path / "emb.parquet").equals(some.to_arrow())
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    with pytest.raises(ParameterError, match="another kind"):
        dataset.to_parquet(tmp_path / "song.wav")
    with pytest.raises(ParameterError, match="there is no folder"):
        dataset.to_parquet(tmp_path / "nowhere" / "emb.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emb.parquet", "song.wav"]


def test_anndata_holds_all_of_a_store_and_goes_through_its_own_file(tmp_path):
    anndata = pytest.importorskip("anndata", reason="needs anndata")
    dataset = make_dataset(n=12, split=["train", "test"])
    dataset.to_anndata().write_h5ad(tmp_path / "clips.h5ad")
    table = anndata.read_h5ad(tmp_path / "clips.h5ad")
    np.testing.assert_array_equal(table.X, dataset.X.astype(np.float32))
    np.testing.assert_array_equal(table.obsm["control"], dataset.control)
    assert table.obs["label"].astype(str).tolist() == dataset.y.tolist()
    assert table.var["layer"].tolist() == [layer for layer in dataset.layers for _ in range(dataset.dim)]
    assert Recipe.from_json(table.uns["embedx"]["recipe"]) == dataset.recipe
    layer = table[:, table.var["layer"] == dataset.layers[1]].X
    np.testing.assert_array_equal(layer, dataset.X[:, dataset.dim : 2 * dataset.dim].astype(np.float32))
    assert dataset.take([]).to_anndata().n_obs == 0


@pytest.mark.parametrize(
    ("package", "way"), [("pandas", "to_dataframe"), ("pyarrow", "to_arrow"), ("anndata", "to_anndata")]
)
def test_what_is_not_installed_is_said(monkeypatch, package, way):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{way} needs the package '{package}', .*pip install"):
        getattr(make_dataset(n=12), way)()
