"""``embedx quickstart``: the whole way on package data, from audio to a model that predicts."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import SEED
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import show, show_lines

if TYPE_CHECKING:
    from embedx.dataset import Dataset
    from embedx.manifest import Manifest, Source

HEADS = ("logreg", "lgbm", "mlp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-o", "--output", default="embedx-quickstart", help="folder for everything (default: %(default)s)"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of every head (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Extract, compare, save, predict; say where everything lies and what to run next."""
    started = time.monotonic()
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = read_sample()
    show_lines(f"The sample: {len(manifest)} clips of 5 s from ESC-10, four classes of 38 (licences: its clips.csv)\n")
    dataset = _extract(manifest, folder / "embeddings.h5")
    best = _compare(dataset, folder / "results", args.seed)
    _save_and_predict(dataset, best, folder / "model", args.seed)
    _say_what_next(folder, time.monotonic() - started)
    return 0


def read_sample() -> Manifest:
    """Return the bundled sample: the label, the source recording as the group, the official fold as the split."""
    from importlib.resources import files

    from embedx.manifest import read_manifest

    return read_manifest(str(files("embedx") / "assets" / "sample" / "clips.csv"))


def _extract(manifest: Manifest, store: Path) -> Dataset:
    from embedx.dataset import load_embeddings
    from embedx.encoders.resolve import resolve_encoder
    from embedx.extract.job import extract_embeddings

    with ProgressBar("1. embedding", unit="clips") as progress:
        report = extract_embeddings(manifest, store, encoder="tiny", progress=progress)
    again = f" ({report.n_done_before} were there already)" if report.n_done_before else ""
    rate = f", {report.audio_seconds / report.seconds:.0f} x real time" if report.n_computed else ""
    show(f"1. {report.n_clips} clips -> {store}{again}: {report.seconds:.1f} s{rate}")
    note = resolve_encoder("tiny").note
    if note:
        show(f"   Encoder 'tiny': {note}")
    return load_embeddings(store)


def _compare(dataset: Dataset, results: Path, seed: int) -> str:
    from embedx.cli.compare import write_results
    from embedx.comparison import compare
    from embedx.report.tables import render_text

    with ProgressBar("2. comparing", unit="fits") as progress:
        comparison = compare(
            dataset,
            heads=HEADS,
            folds="split",
            seed=seed,
            n_jobs=-1,
            progress=progress,
        )
    write_results(comparison, results, dataset)
    show_lines("\n2. Five official folds; clips cut from one recording are never split between training and test.\n")
    show_lines(render_text(comparison))
    return comparison.best.head


def _save_and_predict(dataset: Dataset, head: str, folder: Path, seed: int) -> None:
    from embedx.model import Model, fit_model

    kept, shown = _keep_some_apart(dataset)
    fit_model(kept, head=head, seed=seed).save(folder)
    model = Model.load(folder)
    show_lines(
        f"\n3. The best head, {head}, fitted on {len(kept)} clips, saved to {folder}. Recordings it never heard:\n"
    )
    paths = [str(Path(dataset.root) / source.uri) for source in shown]
    predictions = _predictions(model, paths)
    for source, (label, share) in zip(shown, predictions, strict=True):
        verdict = "" if label == source.label else f"   (it is {source.label})"
        show(f"   {Path(source.uri).name:34} {label:14} {100 * share:3.0f} %{verdict}")
    n_right = sum(label == source.label for source, (label, _) in zip(shown, predictions, strict=True))
    show(f"   {n_right} of {len(shown)} are right; the table above says what to expect of many.")


def _keep_some_apart(dataset: Dataset) -> tuple[Dataset, list[Source]]:
    """Take two recordings of each class out (its first and its last), with every clip that was cut from them."""
    by_label: dict[str, list[Source]] = {}
    for source in dataset.sources:
        by_label.setdefault(str(source.label), []).append(source)
    shown = [clips[i] for _, clips in sorted(by_label.items()) for i in (0, -1)]
    groups = {source.group for source in shown}
    kept = [i for i, source in enumerate(dataset.sources) if source.group not in groups]
    return dataset.take(kept), shown


def _predictions(model: Any, paths: list[str]) -> list[tuple[str, float]]:
    proba = model.predict_proba(paths)
    names = [str(name) for name in model.classes]
    return [(names[row.argmax()], float(row.max())) for row in proba]


def _say_what_next(folder: Path, seconds: float) -> None:
    show_lines(
        f"""
Everything lies in {folder}/ ({seconds:.0f} s):
   embeddings.h5        the embeddings (plain h5py opens it)     embedx info {folder}/embeddings.h5
   results/             the table, every prediction, the report
   model/               the saved classifier                     embedx predict {folder}/model FILES...

On your own recordings (a folder with a subfolder for each class, or a CSV with a path and a label column):
   embedx extract RECORDINGS -o emb.h5 --encoder facebook/wav2vec2-base      (or --encoder tiny, without network)
   embedx compare emb.h5 --heads logreg,lgbm,mlp -o results/
   embedx fit emb.h5 --head logreg -o model/
   embedx predict model/ NEW_FILES..."""
    )
