"""From 436 clips to a million hours on paper: seconds, bytes and money of each step, from measured rates.

    python -m benchmarks.scaling.on_paper            # read benchmarks/results, write benchmarks/results/scaling.json
    python -m benchmarks.scaling.on_paper --rates    # measure decoding and logistic regression first (rates.json)

Rates are read from the results of the throughput, store and cluster suites and from rates.json; what is assumed
(prices, the link, a GPU's speed) stands in on_paper.toml. Two tables: what each step takes, and what to do with it.
"""

from __future__ import annotations

import json
import math
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.tasks import read_tasks
from benchmarks.tools.record import RESULTS, measure, results_folder, table, write_result

__all__ = ["Rates", "draw_scaling", "main", "measure_rates", "read_rates"]

ASSUMED = Path(__file__).with_name("on_paper.toml")
SOURCES = ("throughput-cpu", "store_scale", "cluster-driver", "rates")
DAY, HOUR = 86_400.0, 3_600.0


@dataclass(frozen=True)
class Rates:
    """What was measured, in seconds of audio, rows or bytes a second."""

    cpu: float
    """Seconds of audio that the measured cores embed in a second, wav2vec2-base."""
    cores: int
    decode: float
    """Seconds of audio that one core decodes in a second."""
    commit: float
    publish: float
    verify: float
    load: float
    """Rows a second: written, published again, verified, and one layer of 13 read from a warm disk."""
    row_bytes: float
    """Of 13 layers of 768 float16 in the file."""
    layer_bytes: float
    driver: float
    worker: float
    """Rows a second that a Ray driver's core takes in when it writes, and when the workers do."""
    fit: float
    """Rows of 768 a second of logistic regression, two hundred iterations at most."""


def read_rates(folder: Path = RESULTS) -> Rates:
    """Read the rates from the results of a folder."""
    found = {name: _read(folder, name) for name in SOURCES}
    methods = found["throughput-cpu"]["details"]["mix_of_1_to_15_s"]
    run = found["store_scale"]["runs"][0]
    drawn = found["cluster-driver"]["tables"]["driver"]
    at = drawn["columns"].index("rows/s of a core")
    driver = {(row[0], row[1]): row[at] for row in drawn["rows"]}
    values = {name: float(np.mean(one["values"])) for name, one in found["rates"]["measures"].items()}
    clips = run["clips"]
    return Rates(
        cpu=methods["embedx_bf16"]["x_real_time_best"],
        cores=found["throughput-cpu"]["machine"]["cores"],
        decode=values["decode"],
        commit=run["write"]["commit_rows_per_second"],
        publish=clips / run["again"]["publish_seconds"],
        verify=clips / run["verify_seconds"],
        load=clips / run["read_one_layer"]["warm_seconds"],
        row_bytes=1e6 * run["file_mb"] / clips,
        layer_bytes=1e6 * run["read_one_layer"]["array_mb"] / clips,
        driver=driver["13 x 768", "driver"],
        worker=driver["13 x 768", "worker"],
        fit=values["logistic regression"],
    )


def _read(folder: Path, name: str) -> dict[str, Any]:
    place = next((one / f"{name}.json" for one in (folder, RESULTS) if (one / f"{name}.json").is_file()), None)
    if place is None:
        raise SystemExit(
            f"no {name}.json in {folder}: run its suite first (python -m benchmarks.scaling.on_paper --rates)"
        )
    return dict(json.loads(place.read_text(encoding="utf-8")))


def measure_rates() -> Path:
    """Measure how fast one core decodes and fits, three times each, and write rates.json."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        decoding = [_decode_rate() for _ in range(3)]
        fitting = [_fit_rate(seed) for seed in range(3)]
    measures = {
        "decode": measure(decoding, better="higher", unit="x"),
        "logistic regression": measure(fitting, better="higher", unit="x"),
    }
    rows = [
        ["decode and resample, x real time of a core", round(float(np.mean(decoding)))],
        ["logistic regression, rows of 768 a second", round(float(np.mean(fitting)))],
    ]
    note = "Bundled sample, Ogg Vorbis at 44.1 kHz, to 16 kHz mono; 8,000 made-up rows of ten overlapping classes."
    return write_result("rates", tables={"rates": table(["rate", "one core"], rows, note=note)}, measures=measures)


def _decode_rate() -> float:
    from embedx.audio.decode import decode

    manifest = read_tasks()["sample"].read(None)
    started = time.process_time()
    seconds = sum(len(decode(manifest.path_of(source))) for source in manifest) / 16_000
    return seconds / (time.process_time() - started)


def _fit_rate(seed: int, n: int = 8_000) -> float:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, n)
    x = (rng.normal(size=(10, 768))[y] * 0.1 + rng.normal(size=(n, 768))).astype(np.float32)
    started = time.process_time()
    LogisticRegression(max_iter=200).fit(x, y)
    return n / (time.process_time() - started)


def draw_scaling(rates: Rates, assumed: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables."""
    sizes = [_Size(name, hours, rates, assumed) for name, hours in assumed["sizes"].items()]
    steps = [[name, *(cell(size) for size in sizes)] for name, cell in _STEPS]
    prices, gpu = assumed["prices"], assumed["gpu_machine"]
    note = (
        f"Measured: embedding on {rates.cores} cores, decoding, store, Ray driver, logistic regression (inputs in the "
        f"JSON). Assumed as of {assumed['date']}: ${prices['core_hour']:g} a core hour, ${prices['gpu_hour']:g} a GPU "
        f"hour, ${prices['gigabyte_month']:g} a GB and month, {assumed['link']['megabits_per_second']} Mbit/s a "
        f"machine, {assumed['audio']['kilobits_per_second']} kbit/s audio, a GPU at {gpu['share_of_peak']:.0%} of "
        f"{gpu['tflops_bfloat16']:g} TFLOP/s with {gpu['cores']} cores. Windows of 10 s, 13 layers of 768 float16; "
        f"beyond the measured 100,000 rows every rate is taken to stay what it is."
    )
    advice = [[size.name, size.links(), *size.advice()] for size in sizes]
    columns = ["audio", "links to fetch it", "engine", "machines", "days", "dollars", "what holds it up", "the way out"]
    return {
        "steps": table(["step", *(size.name for size in sizes)], steps, note=note),
        "engines": table(
            columns,
            advice,
            note=f"The fewest machines that fetch, and then embed, in {assumed['goal']['days']:g} day.",
        ),
    }


class _Size:
    """One size of a collection, and what its steps take."""

    def __init__(self, name: str, hours: float, rates: Rates, assumed: Mapping[str, Any]) -> None:
        self.name, self.rates, self.assumed = name, rates, assumed
        self.seconds = hours * HOUR
        self.rows = math.ceil(self.seconds / assumed["audio"]["window_seconds"])
        self.audio_bytes = self.seconds * assumed["audio"]["kilobits_per_second"] * 125
        self.store_bytes = self.rows * rates.row_bytes
        self.layer_bytes = self.rows * rates.layer_bytes
        gpu = assumed["gpu_machine"]
        self.gpu = gpu["tflops_bfloat16"] * 1e3 * gpu["share_of_peak"] / gpu["gflop_per_second"]
        self.gpu_cores = gpu["cores"]
        self.link = assumed["link"]["megabits_per_second"] * 125e3

    def limits(self, n_machines: int) -> dict[str, float]:
        """Return seconds of audio a second that each part of a cluster of GPU machines lets through."""
        window = self.assumed["audio"]["window_seconds"]
        return {
            "decoding": n_machines * self.gpu_cores * self.rates.decode,
            "the GPU": n_machines * self.gpu,
            "the writing driver": self.rates.driver * window,
        }

    def links(self) -> int:
        """Return how many links fetch the audio in the time that is asked for."""
        return math.ceil(self.audio_bytes / (self.link * self.assumed["goal"]["days"] * DAY))

    def advice(self) -> list[Any]:
        """Return engine, machines, days, dollars, what holds it up, and the way out."""
        goal = self.assumed["goal"]["days"] * DAY
        prices = self.assumed["prices"]
        if self.seconds / self.rates.cpu <= goal:
            days = self.seconds / self.rates.cpu / DAY
            cost = days * 24 * self.rates.cores * prices["core_hour"]
            return ["local, CPU", 1, _number(days), _money(cost), "the encoder", "nothing: it ends by itself"]
        n = 1
        while self.seconds / self._rate(n) > goal and n < 10_000:
            n += 1
        limits = self._limits_chosen(n)
        narrow = min(limits, key=lambda name: limits[name])
        days = self.seconds / limits[narrow] / DAY
        engine = "local, one GPU" if n == 1 else "Ray, --parts worker" if self._needs_workers(n) else "Ray"
        way = {
            "decoding": "more cores for each GPU, or a cache of 16 kHz FLAC",
            "the GPU": "more machines",
            "the writing driver": "--parts worker",
            "the driver": "shards: several drivers, then embedx merge",
        }[narrow]
        return [engine, n, _number(days), _money(days * 24 * n * prices["gpu_hour"]), narrow, way]

    def _needs_workers(self, n: int) -> bool:
        limits = self.limits(n)
        return limits["the writing driver"] < min(limits["decoding"], limits["the GPU"])

    def _limits_chosen(self, n: int) -> dict[str, float]:
        limits = self.limits(n)
        if n > 1 and self._needs_workers(n):
            limits.pop("the writing driver")
            limits["the driver"] = self.rates.worker * self.assumed["audio"]["window_seconds"]
        return limits

    def _rate(self, n: int) -> float:
        return min(self._limits_chosen(n).values())

    def costs(self) -> str:
        """Return what storing audio, all layers and one layer costs a month."""
        price = self.assumed["prices"]["gigabyte_month"] / 1e9
        amounts = (self.audio_bytes, self.store_bytes, self.layer_bytes)
        return " / ".join(_money(price * amount) for amount in amounts)

    def dollars(self, seconds: float, *, cores: float = 0.0, gpus: float = 0.0) -> str:
        """Return the price of a computation."""
        prices = self.assumed["prices"]
        return _money(seconds / HOUR * (cores * prices["core_hour"] + gpus * prices["gpu_hour"]))


def _timed(seconds: float, size: _Size, **machine: float) -> str:
    return f"{_duration(seconds)}, {size.dollars(seconds, **machine)}"


_STEPS: tuple[tuple[str, Any], ...] = (
    ("windows of 10 s", lambda s: f"{s.rows:,}"),
    ("audio", lambda s: _bytes(s.audio_bytes)),
    ("download, one link", lambda s: _duration(s.audio_bytes / s.link)),
    ("decode, one core", lambda s: _timed(s.seconds / s.rates.decode, s, cores=1)),
    ("embed, the measured cores", lambda s: _timed(s.seconds / s.rates.cpu, s, cores=s.rates.cores)),
    ("embed, one GPU (assumed)", lambda s: _timed(s.seconds / min(s.gpu, s.gpu_cores * s.rates.decode), s, gpus=1)),
    ("store, 13 layers", lambda s: _bytes(s.store_bytes)),
    ("store, one layer", lambda s: _bytes(s.layer_bytes)),
    ("a month of audio / 13 layers / one", lambda s: s.costs()),
    ("commit the rows", lambda s: _duration(s.rows / s.rates.commit)),
    ("publish one file", lambda s: _duration(s.rows / s.rates.publish)),
    ("verify", lambda s: _duration(s.rows / s.rates.verify)),
    ("load one layer, warm", lambda s: _duration(s.rows / s.rates.load)),
    ("memory of one layer, float32", lambda s: _bytes(2 * s.layer_bytes)),
    ("logistic regression, one core", lambda s: _timed(s.rows / s.rates.fit, s, cores=1)),
)


def _duration(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (3 * DAY, 3600, "h"), (800 * DAY, DAY, "days")):
        if seconds < limit:
            return f"{_number(seconds / unit)} {name}"
    return f"{_number(seconds / DAY / 365.25)} years"


def _bytes(amount: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if amount >= unit:
            return f"{_number(amount / unit)} {name}"
    return f"{_number(amount / 1e3)} kB"


def _money(dollars: float) -> str:
    return "under $0.01" if dollars < 0.01 else f"${dollars:,.2f}" if dollars < 10 else f"${dollars:,.0f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _inputs(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for name in SOURCES:
        record = _read(folder, name)
        yield name, {"date": record["date"], "cpu": record["machine"]["cpu"]}


def main() -> None:
    """Measure if asked, then draw."""
    if "--rates" in sys.argv[1:]:
        print(measure_rates())
    folder = results_folder()
    rates, assumed = read_rates(folder), tomllib.loads(ASSUMED.read_text(encoding="utf-8"))
    details = {"rates": vars(rates), "assumed": assumed, "inputs": dict(_inputs(folder))}
    print(write_result("scaling", tables=draw_scaling(rates, assumed), **details))


if __name__ == "__main__":
    main()
