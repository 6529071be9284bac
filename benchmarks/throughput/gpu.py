"""How fast is extraction on a GPU? The same ways as on a CPU, what feeds it, and where its time goes.

    python -m benchmarks.throughput.gpu --audio FOLDER [--rounds 3] [--clips 400]
    python -m benchmarks.throughput.gpu --audio FOLDER --device cpu --small      # does the script run? no numbers

wav2vec2-base's architecture with random weights. Writes throughput-gpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.throughput.flops import gflop
from benchmarks.throughput.material import LARGE, RATE, SEED, make_clips, make_encoder
from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.encoders.frame_pooling import pool_frames
from embedx.encoders.logmel import log_mel_of_each
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.encoders.waveform import WaveformEncoder
from embedx.encoders.waveform_batch import lay_out, normalize_each
from embedx.extract.compute import ClipEncoder, Window
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources


def main() -> None:
    """Run everything and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", required=True, help="folder with real recordings")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--small", action="store_true", help="the bundled encoder and few clips: only to see it run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = GpuBench(Path(folder), Path(args.audio), args.device, small=args.small, n_clips=args.clips)
        sections: dict[str, Callable[[], Any]] = {
            "mix_of_1_to_15_s": lambda: bench.compare_methods(args.rounds),
            "exactness": bench.exactness,
            "by_precision": lambda: bench.by_precision(args.rounds),
            "encoder_by_length": lambda: bench.by_length(args.rounds),
            "encoder_by_batch": lambda: bench.by_batch(args.rounds),
            "decoding_workers": bench.by_workers,
            "where_the_time_goes": bench.where_the_time_goes,
            "attention": lambda: bench.by_attention(args.rounds),
            "profile": bench.profile,
            "compiled": lambda: bench.compiled(args.rounds),
        }
        details: dict[str, Any] = {"device": args.device, "small": args.small, "failed": {}}
        for name, run in sections.items():
            try:
                details[name] = run()
            except Exception as error:  # what was measured before it must not be lost
                details["failed"][name] = f"{type(error).__name__}: {error}"
            print(name, json.dumps(details.get(name, details["failed"].get(name)), indent=1), flush=True)
            _write(details)
    if details["failed"]:
        raise SystemExit(f"failed: {', '.join(details['failed'])}")


def _write(details: dict[str, Any]) -> None:
    """Write what is there so far."""
    methods = details["mix_of_1_to_15_s"]["methods"] if "mix_of_1_to_15_s" in details else {}
    measures = {f"{n}: seconds": measure(row["seconds"], better="lower", unit="s") for n, row in methods.items()}
    write_result("throughput-gpu", tables=draw_tables(details), measures=measures, seed=SEED, **details)


def draw_tables(details: dict[str, Any]) -> dict[str, Any]:
    """Make the tables of the sections that were measured."""
    drawn = {name: draw(details) for name, (section, draw) in TABLES.items() if section in details}
    return {name: table(columns, rows, note=note) for name, (columns, rows, note) in drawn.items()}


def _methods_table(details: dict[str, Any]) -> tuple[list[str], list[Any], str]:
    mix = details["mix_of_1_to_15_s"]
    keys = ("x_real_time", "times_loop_fp32", "share_of_bf16_peak")
    rows = [[name, *(row[key] for key in keys)] for name, row in mix["methods"].items()]
    peak = f"peak of its bf16 matrix products: {mix['peak_tflops']} TFLOP/s, measured in the same run"
    note = f"wav2vec2-base, random weights, {mix['n_clips']} clips of 1 to 15 s; {peak}."
    return ["method", "x real time", "times the fp32 loop", "share of the bf16 peak"], rows, note


def _lengths_table(details: dict[str, Any]) -> tuple[list[str], list[Any], str]:
    rows = [[row["seconds"], row["x_real_time"], row["share_of_bf16_peak"]] for row in details["encoder_by_length"]]
    return ["clip, seconds", "x real time", "share of the bf16 peak"], rows, "Encoder alone, batches of 120 s of audio."


def _batches_table(details: dict[str, Any]) -> tuple[list[str], list[Any], str]:
    rows = [[row["batch_seconds"], row["x_real_time"], row["peak_mb"]] for row in details["encoder_by_batch"]]
    columns = ["seconds of audio in a batch", "x real time", "peak MB of the device's memory"]
    return columns, rows, "Encoder alone on the mix, two streams."


def _workers_table(details: dict[str, Any]) -> tuple[list[str], list[Any], str]:
    found = details["decoding_workers"]
    rows = [[row["workers"], row["x_real_time"]] for row in found["end_to_end"]]
    note = f"End to end; by the rates, {found['needed_by_rates']} would feed the encoder."
    return ["decoding workers", "x real time"], rows, note


def _precisions_table(details: dict[str, Any]) -> tuple[list[str], list[Any], str]:
    rows = [[row["architecture"], row["dtype"], row["x_real_time"]] for row in details["by_precision"]]
    return ["architecture", "computed in", "x real time"], rows, "Encoder alone, batches of 10 s clips."


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], tuple[list[str], list[Any], str]]]] = {
    "methods": ("mix_of_1_to_15_s", _methods_table),
    "lengths": ("encoder_by_length", _lengths_table),
    "batches": ("encoder_by_batch", _batches_table),
    "workers": ("decoding_workers", _workers_table),
    "precisions": ("by_precision", _precisions_table),
}


class GpuBench:
    """One encoder, one device, one set of clips."""

    def __init__(self, folder: Path, audio: Path, device: str, *, small: bool, n_clips: int) -> None:
        self.device, self.small = torch.device(device), small
        self.folder = folder
        self.encoder = "tiny" if small else make_encoder(folder / "wav2vec2-base-random")
        self.info = resolve_encoder(self.encoder)
        lengths = np.random.default_rng(SEED).uniform(1, 15, 4 if small else n_clips)
        self.paths = make_clips(folder / "mix", audio, lengths)
        self.durations = [soundfile.info(path).duration for path in self.paths]
        self.plan = RecipePlan({"window_seconds": 1000.0, "compute_dtype": "bfloat16"}, encoder=self.encoder)
        self.resources = Resources(device=device)

    def compare_methods(self, rounds: int) -> dict[str, Any]:
        """Time every method once a round, in turn, on samples in memory; embedx from files, too."""
        waves = [decode(path) for path in self.paths]
        runner = UnitRunner(self.plan.recipe, self.plan.info, self.resources, self.paths[0].parent)
        alone = ClipEncoder(self.plan.recipe, self.plan.info, self.resources)
        units = plan_units(Manifest.from_paths(self.paths, root=self.paths[0].parent))
        methods: dict[str, Callable[[], object]] = {
            "loop_fp32": lambda: self._plain([[wave] for wave in waves], torch.float32),
            "loop_bf16": lambda: self._plain([[wave] for wave in waves], torch.bfloat16),
            "padded_batch_fp32": lambda: self._plain(_eights(waves), torch.float32),
            "padded_batch_bf16": lambda: self._plain(_eights(waves), torch.bfloat16),
            "embedx_bf16": lambda: [runner(unit) for unit in units],
            "embedx_bf16_encoder_only": lambda: list(alone.encode(Window(i, 0, w) for i, w in enumerate(waves))),
        }
        walls: dict[str, list[float]] = {name: [] for name in methods}
        peak = self.peak_tflops()
        for number in range(rounds + 1):
            for name, run in methods.items():
                seconds = self._seconds(run)
                if number:  # the first one warms
                    walls[name].append(seconds)
        runner.close()
        alone.close()
        loop, whole = min(walls["loop_fp32"]), self._work()
        return {
            "n_clips": len(waves),
            "audio_seconds": round(sum(self.durations), 1),
            "peak_tflops": round(peak, 1),
            "end_to_end_over_encoder_only": round(
                statistics.median(walls["embedx_bf16"]) / statistics.median(walls["embedx_bf16_encoder_only"]), 3
            ),
            "methods": {
                name: {
                    "seconds": [round(value, 4) for value in found],
                    "x_real_time": round(sum(self.durations) / min(found)),
                    "times_loop_fp32": round(loop / min(found), 2),
                    "share_of_bf16_peak": round(whole / min(found) / peak / 1e3, 3),
                }
                for name, found in walls.items()
            },
        }

    def by_length(self, rounds: int) -> list[dict[str, Any]]:
        """The share of the peak that batches of one length reach."""
        encoder, rows = self._load(), []
        for seconds in (2, 5, 10, 20, 30):
            n = 1 if self.small else max(1, 120 // seconds)
            batch = [_noise(seconds, i) for i in range(n)]
            best = min(self._seconds(lambda batch=batch: encoder.encode(batch)) for _ in range(rounds + 1))
            share = n * gflop(seconds) / best / self.peak_tflops() / 1e3
            rows.append(
                {"seconds": seconds, "x_real_time": round(n * seconds / best), "share_of_bf16_peak": round(share, 3)}
            )
        return rows

    def by_batch(self, rounds: int) -> list[dict[str, Any]]:
        """What --batch-seconds changes, in speed and in memory."""
        windows = [Window(i, 0, decode(path)) for i, path in enumerate(self.paths)]
        rows = []
        for seconds in (30, 60, 120, 240, 480):
            chosen = Resources(device=str(self.device), batch_seconds=seconds)
            with ClipEncoder(self.plan.recipe, self.plan.info, chosen) as alone:
                self._peak_mb()
                best = min(self._seconds(lambda alone=alone: list(alone.encode(windows))) for _ in range(rounds + 1))
                row = {"batch_seconds": seconds, "x_real_time": round(sum(self.durations) / best)}
                rows.append({**row, "peak_mb": self._peak_mb()})
        return rows

    def _peak_mb(self) -> int:
        """Return the most memory of the device that was held since the last call."""
        if self.device.type != "cuda":
            return 0
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return round(peak / 1e6)

    def by_workers(self) -> dict[str, Any]:
        """End to end with more and more decoding processes, and how many the rates alone ask for."""
        start = time.process_time()
        for path in self.paths:
            decode(path)
        decoding = sum(self.durations) / (time.process_time() - start)
        waves = [decode(path) for path in self.paths]
        with ClipEncoder(self.plan.recipe, self.plan.info, self.resources) as alone:
            windows = [Window(i, 0, wave) for i, wave in enumerate(waves)]
            self._seconds(lambda: list(alone.encode(windows)))
            encoding = sum(self.durations) / self._seconds(lambda: list(alone.encode(windows)))
        rows = []
        for workers in [n for n in (1, 2, 4, 8, 16, 32) if n <= max(2, os.cpu_count() or 1)]:
            chosen = Resources(device=str(self.device), workers=workers)
            with UnitRunner(self.plan.recipe, self.plan.info, chosen, self.paths[0].parent) as runner:
                units = plan_units(Manifest.from_paths(self.paths, root=self.paths[0].parent))
                runner(units[0])
                seconds = self._seconds(lambda runner=runner, units=units: [runner(unit) for unit in units])
            rows.append({"workers": workers, "x_real_time": round(sum(self.durations) / seconds)})
        return {
            "decoding_x_real_time_per_core": round(decoding),
            "encoder_x_real_time": round(encoding),
            "needed_by_rates": round(encoding / decoding, 1),
            "end_to_end": rows,
        }

    def where_the_time_goes(self) -> dict[str, float]:
        """Seconds of each stage of one batch of 10 s clips, each waited for: what overlaps in a run adds up here."""
        layers = tuple(range(self.info.n_layers))
        encoder: Any = WaveformEncoder(
            self.info, layers=layers, device=str(self.device), compute_dtype="bfloat16", batched=True
        )
        batch = [_noise(10, i) for i in range(1 if self.small else 12)]
        found: dict[str, float] = {}

        def timed(name: str, run: Callable[[], Any]) -> Any:
            result = run()  # warm
            found[name] = round(min(self._seconds(run) for _ in range(3)), 5)
            return result

        with torch.inference_mode():
            waves = timed("copy", lambda: lay_out(batch, device=self.device, multiple=encoder._front.stride))
            waves = timed("normalize", lambda: normalize_each(waves))
            features = timed("convolutions", lambda: encoder._front.batch(waves))
            projected = timed("projection", lambda: encoder._pass.project(features))
            timed("positional_convolution", lambda: encoder._stack._positions(projected))
            timed("layers_with_positional_convolution", lambda: encoder._run_layers(projected))
            frames = timed("whole_encoder", lambda: encoder.encode(batch))
            timed("pooling_and_copy_back", lambda: pool_frames(frames))
            timed("log_mel", lambda: log_mel_of_each(batch, RATE, device=str(self.device)))
        return found

    def exactness(self) -> dict[str, dict[str, float]]:
        """How far a clip in a batch is from the same clip alone, and from float32: the worst of all layers."""
        batch = [_noise(seconds, i) for i, seconds in enumerate((0.5, 1, 3, 7, 10, 15))]
        exact = self._rows(batch, "float32")
        found = {}
        for dtype in ("float32", "bfloat16", "float16"):
            together, alone = self._rows(batch, dtype), np.concatenate([self._rows([one], dtype) for one in batch])
            found[dtype] = {
                "alone_against_batched": float(_error(together, alone).max()),
                "cosine_to_float32": float(_cosine(together, exact).min()),
            }
        return found

    def _rows(self, batch: Sequence[Any], dtype: str) -> Any:
        with torch.inference_mode():
            return np.asarray(pool_frames(self._load(dtype=dtype).encode(list(batch))), dtype=np.float64)

    def by_precision(self, rounds: int) -> list[dict[str, Any]]:
        """Each dtype, for the base and for the large architecture."""
        sizes = {"bundled": "tiny"} if self.small else {"base": self.encoder}
        if not self.small:
            sizes["large"] = make_encoder(self.folder / "large", **LARGE)
        batch = [_noise(10, i) for i in range(1 if self.small else 12)]
        rows = []
        for name, place in sizes.items():
            for dtype in ("float32", "bfloat16", "float16"):
                encoder = self._load(place, dtype=dtype)
                runs = [self._seconds(lambda encoder=encoder: encoder.encode(batch)) for _ in range(rounds + 1)]
                found = {"architecture": name, "dtype": dtype, "x_real_time": round(10 * len(batch) / min(runs))}
                rows.append({**found, "peak_mb": self._peak_mb()})
        return rows

    def by_attention(self, rounds: int) -> dict[str, Any]:
        """Seconds of a batch with each of torch's attention kernels; why one cannot, where it cannot."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        encoder, batch = self._load(), [_noise(10, i) for i in range(1 if self.small else 12)]
        found: dict[str, Any] = {}
        for name in ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"):
            try:
                with sdpa_kernel(getattr(SDPBackend, name)):
                    runs = [self._seconds(lambda: encoder.encode(batch)) for _ in range(rounds + 1)]
                found[name.lower()] = round(min(runs), 5)
            except RuntimeError as error:
                found[name.lower()] = str(error).splitlines()[0][:200]
        return found

    def profile(self) -> list[dict[str, Any]]:
        """The operations that take most of a batch's time, as torch's profiler counts them."""
        from torch.profiler import ProfilerActivity, profile

        encoder, batch = self._load(), [_noise(10, i) for i in range(1 if self.small else 12)]
        encoder.encode(batch)
        on_gpu = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
            self._seconds(lambda: encoder.encode(batch))
        key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        events = sorted(found.key_averages(), key=lambda event: -getattr(event, key))[:15]
        return [{"operation": one.key, "calls": one.count, "ms": round(getattr(one, key) / 1e3, 3)} for one in events]

    def compiled(self, rounds: int) -> dict[str, float]:
        """What --compile gains on batches of 10 s clips, and what it costs at the start."""
        batch = [_noise(10, i) for i in range(1 if self.small else 12)]
        plain, fast = self._load(), self._load(compiled=True)
        first = self._seconds(lambda: fast.encode(batch))
        self._seconds(lambda: plain.encode(batch))
        found = {
            name: min(self._seconds(lambda encoder=encoder: encoder.encode(batch)) for _ in range(rounds))
            for name, encoder in (("plain", plain), ("compiled", fast))
        }
        return {"first_call_seconds": round(first, 1), "times_plain": round(found["plain"] / found["compiled"], 3)}

    def peak_tflops(self, *, size: int = 8192) -> float:
        """Return the rate of a square bf16 matrix product."""
        n = 512 if self.small else size
        a = torch.randn(n, n, device=self.device).to(torch.bfloat16)
        best = min(self._seconds(lambda: [a @ a for _ in range(10)]) for _ in range(5)) / 10
        return 2 * n**3 / best / 1e12

    def _load(self, place: str | None = None, *, compiled: bool = False, dtype: str = "bfloat16") -> Any:
        info = self.info if place is None else resolve_encoder(place)
        layers = tuple(range(info.n_layers))
        return load_encoder(info, layers=layers, device=str(self.device), compute_dtype=dtype, compiled=compiled)

    def _work(self) -> float:
        return sum(map(gflop, self.durations))

    def _seconds(self, run: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def _plain(self, batches: Sequence[Sequence[Any]], dtype: torch.dtype) -> None:
        """Do as people do with transformers: pad, call, mean over time of every layer."""
        from transformers import AutoFeatureExtractor

        extractor = AutoFeatureExtractor.from_pretrained(self.info.location)
        model = self._model(dtype)
        for waves in batches:
            inputs = extractor(list(waves), sampling_rate=RATE, return_tensors="pt", padding=True)
            states = model(inputs.input_values.to(self.device, dtype), output_hidden_states=True).hidden_states
            torch.stack([state.float().mean(1) for state in states]).cpu()

    def _model(self, dtype: torch.dtype) -> Any:
        from transformers import AutoModel

        cache = self.__dict__.setdefault("_models", {})
        if dtype not in cache:
            cache[dtype] = AutoModel.from_pretrained(self.info.location).eval().to(self.device, dtype)
        return cache[dtype]


def _error(one: Any, other: Any) -> Any:
    return np.linalg.norm(one - other, axis=-1) / np.linalg.norm(other, axis=-1)


def _cosine(one: Any, other: Any) -> Any:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return (one * other).sum(-1) / lengths


def _eights(waves: Sequence[Any]) -> list[Sequence[Any]]:
    return [waves[start : start + 8] for start in range(0, len(waves), 8)]


def _noise(seconds: float, seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


if __name__ == "__main__":
    main()
