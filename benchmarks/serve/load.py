"""Requests a second and how long they take, beside one call after the other; and whether bad bodies do any harm.

    python -m benchmarks.serve.load [--seconds 20] [--clients 1 8 64] [--hostile 10000]

The bundled sample, the encoder ``tiny``, logistic regression; the server, its clients and the calls share one machine.
Writes benchmarks/results/serve.json.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import embedx
from benchmarks.tools.record import measure, table, write_result
from embedx import Model, extract_embeddings, fit_model, load_embeddings, read_manifest
from embedx.audio.flac import write_flac

SAMPLE = Path(embedx.__file__).parent / "assets" / "sample"


def main() -> None:
    """Measure, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--hostile", type=int, default=10_000, help="bodies that are no recordings")
    args = parser.parse_args()
    bodies = [path.read_bytes() for path in sorted((SAMPLE / "audio").iterdir())]
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        with serving(model) as (port, process):
            found = {"one call after the other": call(model, args.seconds)}
            for n in args.clients:
                found[f"{n} clients"] = ask(port, bodies, n, args.seconds)
                print(n, {key: value for key, value in found[f"{n} clients"].items() if key != "each"}, flush=True)
            harm = attack(port, process.pid, bodies, args.hostile)
            print(harm, flush=True)
    rows = [[name, *(f"{of[key]:.{digits}f}" for key, digits in _COLUMNS.values())] for name, of in found.items()]
    tables = {"load": table(["", *_COLUMNS], rows, note="Clips of 5 s of the bundled sample, encoder `tiny`.")}
    facts = [[key, str(value)] for key, value in harm.items()]
    tables["hostile"] = table(["", "of bodies that are no recordings"], facts)
    each = {name: of.pop("each") for name, of in found.items()}
    measures = {f"{name}: seconds": measure(one, better="lower", unit="s") for name, one in each.items() if one}
    print(write_result("serve", tables=tables, measures=measures, clients=found, hostile=harm))


_COLUMNS = {"requests a second": ("rate", 1), "median, ms": ("p50", 0), "99 % within, ms": ("p99", 0)}


def make_model(folder: Path) -> Path:
    """Fit a model on the bundled sample."""
    extract_embeddings(read_manifest(SAMPLE / "clips.csv"), folder / "emb.h5", encoder="tiny")
    return fit_model(load_embeddings(folder / "emb.h5"), "logreg").save(folder / "model")


@contextlib.contextmanager
def serving(model: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run ``embedx serve``."""
    command = [sys.executable, "-m", "embedx", "serve", str(model), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(re.findall(r":(\d+)/", line)[0]), process
    finally:
        process.terminate()
        process.wait()


def call(place: Path, seconds: float) -> dict[str, Any]:
    """Let a loaded model label file after file, as a script does."""
    model, paths = Model.load(place), sorted((SAMPLE / "audio").iterdir())
    model.predict(paths[:1])
    each, stop = [], time.perf_counter() + seconds
    for path in itertools.cycle(paths):
        started = time.perf_counter()
        if started > stop:
            break
        model.predict([path])
        each.append(time.perf_counter() - started)
    return _summary(each, sum(each))


def ask(port: int, bodies: list[bytes], n_clients: int, seconds: float) -> dict[str, Any]:
    """Let so many clients ask, each as soon as it has its answer."""
    each: list[float] = []
    codes: Counter[int] = Counter()
    stop = time.perf_counter() + seconds

    def client(number: int) -> None:
        for body in itertools.islice(itertools.cycle(bodies), number, None):
            started = time.perf_counter()
            if started > stop:
                return
            code = send(port, body)
            codes[code] += 1
            if code == 200:
                each.append(time.perf_counter() - started)
            else:
                time.sleep(0.1)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {**_summary(each, seconds), "codes": dict(codes)}


def send(port: int, body: bytes) -> int:
    """Post a body to /predict and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request("POST", "/predict", body)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _summary(each: list[float], seconds: float) -> dict[str, Any]:
    p50, p99 = 1000 * np.quantile(each, [0.5, 0.99]) if each else (float("nan"),) * 2
    return {"n": len(each), "rate": len(each) / seconds, "p50": float(p50), "p99": float(p99), "each": each}


def attack(port: int, pid: int, bodies: list[bytes], n: int) -> dict[str, Any]:
    """Send bodies that are no recordings, cut off or bombs; return answers by status, and what is left behind."""
    rng = random.Random(0)
    bomb = _bomb()
    makers = [
        lambda: rng.randbytes(rng.randrange(1, 20_000)),
        lambda: (body := rng.choice(bodies))[: rng.randrange(1, len(body))],
        lambda: _flipped(rng, rng.choice(bodies)),
        lambda: b"RIFF" + rng.randbytes(4) + b"WAVEfmt " + rng.randbytes(rng.randrange(200)),
        lambda: b"<html>" + rng.randbytes(50),
        lambda: b"",
        lambda: bomb if rng.random() < 0.02 else b"\0" * rng.randrange(100_000),
    ]
    for maker in makers:
        send(port, maker())
    before = _usage(pid)
    codes: Counter[int] = Counter()
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if sum(codes.values()) >= n:
                    return
                body = rng.choice(makers)()
            code = send(port, body)
            with lock:
                codes[code] += 1

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = _usage(pid)
    is_well = send(port, bodies[0]) == 200
    answers = {f"answered {code}": count for code, count in sorted(codes.items())}
    left = {f"{name}, before and after": f"{before[name]}, {after[name]}" for name in before}
    return {**answers, "a good one afterwards": "200" if is_well else "no", **left}


def _flipped(rng: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(50):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _bomb() -> bytes:
    """Return two hours of silence in few bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        write_flac(path, np.zeros(16_000 * 7200, np.float32), comment="two hours of nothing")
        return path.read_bytes()


def _usage(pid: int) -> dict[str, int]:
    """Return memory in MB, open files and child processes of the server."""
    status = Path(f"/proc/{pid}/status").read_text()
    children = subprocess.run(["pgrep", "-cP", str(pid)], capture_output=True, text=True, check=False).stdout
    return {
        "memory, MB": int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1000,
        "open files": len(os.listdir(f"/proc/{pid}/fd")),
        "child processes": int(children or 0),
    }


if __name__ == "__main__":
    main()
