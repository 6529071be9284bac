"""Embeddings as tables of other libraries: a data frame of pandas, a table of Arrow, a Parquet file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import MissingExtraError, ParameterError
from embedx.files import replace_file, require_replaceable

__all__ = ["as_anndata", "as_arrow", "as_dataframe", "write_parquet"]

_PARQUET_MARK = b"PAR1"


def as_dataframe(dataset: Any) -> Any:
    """Return the clips as a data frame; see `Dataset.to_dataframe`."""
    try:
        import pandas
    except ImportError as error:
        told = "to_dataframe needs the package 'pandas', which is not installed: pip install pandas"
        raise MissingExtraError(told) from error
    values = pandas.DataFrame(np.asarray(dataset.X, dtype=np.float32), columns=_names(dataset))
    return pandas.concat([_facts(pandas, dataset), values], axis=1)


def as_anndata(dataset: Any) -> Any:
    """Return the clips as an AnnData; see `Dataset.to_anndata`."""
    try:
        import anndata
        import pandas
    except ImportError as error:
        raise MissingExtraError.for_extra("anndata", "anndata", "to_anndata") from error
    recipe, layers = dataset.recipe, dataset.layers
    columns = {"layer": np.repeat(layers, dataset.dim), "position": np.tile(np.arange(dataset.dim), len(layers))}
    told = {"recipe": recipe.to_json(), "fingerprint": recipe.fingerprint(), "root": str(dataset.root)}
    return anndata.AnnData(
        X=np.asarray(dataset.X, dtype=np.float32),
        obs=_facts(pandas, dataset).set_axis([str(i) for i in range(len(dataset))]),
        var=pandas.DataFrame(columns, index=_names(dataset)),
        obsm={"control": np.asarray(dataset.control)},
        uns={"embedx": told},
    )


def _facts(pandas: Any, dataset: Any) -> Any:
    times = {name: np.array(values, dtype=np.float64) for name, values in _times(dataset).items()}
    return pandas.DataFrame({**_texts(dataset), **times})


def _names(dataset: Any) -> list[str]:
    return [f"layer{layer}_{i}" for layer in dataset.layers for i in range(dataset.dim)]


def as_arrow(dataset: Any) -> Any:
    """Return the clips as a table of Arrow; see `Dataset.to_arrow`."""
    arrow = _import_arrow("to_arrow")
    columns = {name: arrow.array(values, arrow.string()) for name, values in _texts(dataset).items()}
    columns |= {name: arrow.array(values, arrow.float64()) for name, values in _times(dataset).items()}
    X = np.asarray(dataset.X, dtype=np.float32)
    for position, layer in enumerate(dataset.layers):
        columns[f"layer{layer}"] = _vectors(arrow, X[:, position * dataset.dim : (position + 1) * dataset.dim])
    columns["control"] = _vectors(arrow, dataset.control)
    told = {"embedx.recipe": dataset.recipe.to_json(), "embedx.root": dataset.root}
    return arrow.table(columns).replace_schema_metadata(told)


def write_parquet(dataset: Any, path: str | os.PathLike[str]) -> None:
    """Write the clips to a Parquet file; see `Dataset.to_parquet`."""
    table = as_arrow(dataset)
    import pyarrow.parquet

    try:
        require_replaceable(path, _PARQUET_MARK)
        with replace_file(path, "wb") as file:
            pyarrow.parquet.write_table(table, file)
    except OSError as error:
        raise ParameterError(f"{os.fspath(path)} cannot be written: {error.strerror or error}") from error


def _import_arrow(purpose: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError.for_extra("pyarrow", "parquet", purpose) from error
    return pyarrow


def _texts(dataset: Any) -> dict[str, list[str | None]]:
    names = {"path": "uri", "label": "label", "group": "group", "split": "split"}
    return {name: [getattr(source, of) for source in dataset.sources] for name, of in names.items()}


def _times(dataset: Any) -> dict[str, list[float | None]]:
    """Return seconds; None is the end of a file."""
    bounds = {name: [getattr(source, f"{name}_seconds") for source in dataset.sources] for name in ("start", "stop")}
    return {**bounds, "seconds": dataset.seconds.tolist()}


def _vectors(arrow: Any, rows: NDArray[np.float32]) -> Any:
    flat = arrow.array(np.ascontiguousarray(rows).ravel(), arrow.float32())
    return arrow.FixedSizeListArray.from_arrays(flat, rows.shape[1])
