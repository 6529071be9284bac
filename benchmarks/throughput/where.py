"""Where the time of an extraction goes, in CPU seconds: a busy machine stretches seconds, these hardly."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import soundfile

from benchmarks.throughput.material import below, cpu_seconds
from embedx.encoders import waveform
from embedx.extract import compute
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources

PARTS = {"log_mel": (compute, "log_mel_of_each"), "pooling": (waveform, "pool_layer")}


def where_the_time_goes(encoder: str, paths: list[Path]) -> dict[str, float]:
    """Embed clips on the CPU and return the CPU seconds of each part, per second of audio."""
    plan = RecipePlan({"compute_dtype": "bfloat16"}, encoder=encoder)
    with UnitRunner(plan.recipe, plan.info, Resources(device="cpu"), paths[0].parent) as runner, _watched() as spent:
        for unit in plan_units(Manifest.from_paths(paths[:2], root=paths[0].parent)):
            runner(unit)
        spent.clear()
        whole, own = cpu_seconds(), time.process_time()
        for unit in plan_units(Manifest.from_paths(paths, root=paths[0].parent)):
            runner(unit)
        own = time.process_time() - own
        whole = cpu_seconds() - whole
        assert below(os.getpid()), "the decoding processes are gone before they were counted"
    seconds = sum(soundfile.info(path).duration for path in paths)
    parts = {
        "encoder": spent["lane"] - spent["log_mel"] - spent["pooling"],
        "pooling": spent["pooling"],
        "log_mel": spent["log_mel"],
        "decoding": whole - own,
        "handing_over": own - spent["lane"],
    }
    shares = {name: round(value / whole, 4) for name, value in parts.items()}
    return {"cpu_seconds_per_audio_second": round(whole / seconds, 5), **shares}


@contextlib.contextmanager
def _watched() -> Iterator[Counter[str]]:
    """Count the CPU seconds of the parts of a lane."""
    spent: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        for name, (module, function) in PARTS.items():
            stack.enter_context(mock.patch.object(module, function, _timed(name, getattr(module, function), spent)))
        lane = _timed("lane", compute.ClipEncoder._compute, spent)
        stack.enter_context(mock.patch.object(compute.ClipEncoder, "_compute", lane))
        yield spent


def _timed(name: str, function: Callable[..., Any], spent: Counter[str]) -> Callable[..., Any]:
    guard = threading.Lock()

    def run(*values: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*values, **named)
        finally:
            with guard:
                spent[name] += time.thread_time() - start  # type: ignore[assignment]

    return run
