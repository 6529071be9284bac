"""What every measurement is written down with: machine, versions, date, and tables ready to be drawn."""

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedx.files import replace_file
from embedx.versions import installed_versions

RESULTS = Path(__file__).resolve().parents[1] / "results"
"""What is committed, and what README shows."""

OUTPUT_VARIABLE = "EMBEDX_BENCHMARK_RESULTS"
"""Environment variable with the folder that results go into instead: a trial run must not replace what is committed."""

PACKAGES = ("embedx", "torch", "transformers", "numpy", "scikit-learn", "lightgbm", "h5py", "av", "optuna", "ray")


def machine() -> dict[str, Any]:
    """Return the processor, its cores and the memory: what a number means nothing without."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "avx512_bf16": "avx512_bf16" in flags,
        "memory_gib": round(memory / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpu": _gpu(),
    }


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, note: str = "") -> dict[str, Any]:
    """Return a table that `benchmarks.tools.render` draws as it is."""
    return {"columns": list(columns), "rows": [list(row) for row in rows], "note": note}


def measure(values: Sequence[float], *, better: str, unit: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return one measured quantity for `benchmarks.tools.regression`.

    Parameters
    ----------
    values : sequence of float
        Every repetition, not their mean: their spread is the noise that a change has to exceed.
    better : {'lower', 'higher'}
        Which way is better.
    unit : str
        ``"s"``, ``"MB"``, ``"accuracy"``; seconds and bytes are compared on one kind of machine only.
    keys : sequence of str
        Names of the repetitions where the same ones come back in another run (folds); they are then compared in pairs.
    """
    return {"values": [float(value) for value in values], "better": better, "unit": unit, "keys": list(keys)}


def results_folder() -> Path:
    """Return where results are written: ``benchmarks/results`` unless the environment names another folder."""
    return Path(os.environ.get(OUTPUT_VARIABLE) or RESULTS)


def write_result(
    name: str, *, tables: Mapping[str, Any], measures: Mapping[str, Any] | None = None, **details: Any
) -> Path:
    """Write ``NAME.json`` into `results_folder` and return its path.

    Parameters
    ----------
    name : str
        File name without ending.
    tables : mapping
        From `table`, by name.
    measures : mapping, optional
        From `measure`, by name: what `benchmarks.tools.regression` compares.
    **details
        Anything else that belongs to the numbers.
    """
    record = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": installed_versions(PACKAGES),
        "load": round(os.getloadavg()[0], 2),
        "tables": dict(tables),
        "measures": dict(measures or {}),
        **details,
    }
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    with replace_file(path) as file:
        file.write(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return path


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _gpu() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
