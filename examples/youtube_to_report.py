"""From a CSV of links to a report: download, extract, compare.

    python examples/youtube_to_report.py LINKS.csv FOLDER     # the network: see part 1
    python examples/youtube_to_report.py --demo FOLDER        # no network: a server of this machine

LINKS.csv needs a column of links (URLs or bare YouTube ids) and one of labels. For YouTube install
``embedx[youtube]``; a guest gets about 300 videos an hour, so 436 clips take an hour and a half.
Killed at any moment and started again, it goes on where it was.
"""

import argparse
import contextlib
import csv
import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from embedx.cli import main as embedx
from embedx.testing import write_wav

DONE, SOME_FAILED = 0, 3


def step(*words):
    """Run one command of embedx and show it; some rows may fail, everything else ends the example."""
    print("\n$ embedx", *words, flush=True)
    code = embedx([str(word) for word in words])
    if code not in (DONE, SOME_FAILED):
        sys.exit(code)


def make_demo(folder, n=8, seconds=6, rate=16_000):
    """Serve three kinds of sound from this machine; return the CSV that links to them."""
    rng = np.random.default_rng(0)
    time = np.arange(seconds * rate) / rate
    sounds = {
        "wind": lambda: np.convolve(rng.normal(size=len(time)), np.ones(40) / 40, "same"),
        "whistle": lambda: np.sin(2 * np.pi * rng.uniform(800, 1600) * time),
        "ticking": lambda: rng.normal(size=len(time)) * (time % rng.uniform(0.2, 0.4) < 0.01),
    }
    folder.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = [("link", "category"), ("#NAME?", "wind")]
    for label, make in sounds.items():
        for i in range(n):
            write_wav(str(folder / f"{label}{i}.wav"), (0.1 * make()).astype(np.float32))
            rows.append((f"http://127.0.0.1:{server.server_port}/{label}{i}.wav", label))
    with open(folder / "links.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder / "links.csv"


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a log; hang-ups are part of asking for little."""

    def log_message(self, *words):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)


parser = argparse.ArgumentParser(description="from a CSV of links to a report")
parser.add_argument("links", nargs="?", help="CSV of links")
parser.add_argument("folder", type=Path, help="where everything goes")
parser.add_argument("--demo", action="store_true", help="no network: sounds from a server of this machine")
parser.add_argument("--per-class", type=int, default=109)
args = parser.parse_args()
if not args.demo and args.links is None:
    parser.error("give a CSV of links, or --demo")

if args.demo:
    links, seconds, encoder, more = make_demo(args.folder / "site"), 3, "tiny", ["--allow-private"]
    args.per_class = min(args.per_class, 6)
else:
    links, seconds, encoder, more = args.links, 30, "facebook/wav2vec2-base", []

# ---- Part 1: THE NETWORK. Everything below it works on the files that it leaves behind. ---------------------
step("download", links, "--check", *more)
step("download", links, args.folder / "clips", "--seconds", seconds, "--per-class", args.per_class, *more)
# ---- End of the network (the encoder's weights are fetched once, unless it is the bundled one). --------------

step("extract", args.folder / "clips" / "manifest.csv", "-o", args.folder / "embeddings.h5", "--encoder", encoder)
step("compare", args.folder / "embeddings.h5", "--heads", "logreg", "-o", args.folder / "report")
print(f"\nthe report lies in {args.folder / 'report'}")
