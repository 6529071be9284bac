"""Which peers run on which clips, and the table of what each gave and cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.metrics import accuracy_score, balanced_accuracy_score

from benchmarks.encoders import choose_encoder
from benchmarks.options import Options
from benchmarks.peers.install import DEFAULT_PLACE, peer_environment, peer_python, peer_versions
from benchmarks.quality.report import step_measures
from benchmarks.quality.tasks import NotRun
from benchmarks.runner import Step
from benchmarks.tools.record import measure, table

__all__ = ["PEERS", "count_lines", "peers_result", "plan_peers"]

SCRIPTS = Path(__file__).parent / "scripts"
PLACE_VARIABLE = "EMBEDX_BENCHMARK_PEERS"
PER_CLASS = {"base-random": 6}
"""Training clips a class for encoders that are slow and whose scores mean nothing."""
ONE_HEAD = ("embedx", "loop", "pipeline", "nkululeko-svm")
"""What such encoders are run with: nkululeko embeds anew for each classifier, and that is nearly all of its time."""


@dataclass(frozen=True)
class Peer:
    """One way to do it: what the table calls it, the user's code, and what a user has in hand afterwards."""

    title: str
    code: str
    gives: str
    classifier: str = ""


_NKULULEKO = "scores with a bootstrap interval, confusion plot; pickled features"
PEERS = {
    "embedx": Peer("embedx, AudioClassifier", "embedx_classifier.py", "a classifier over paths that saves and loads"),
    "loop": Peer("transformers loop, LogisticRegression", "transformers_loop.py", "predictions"),
    "pipeline": Peer("scikit-learn by hand, grid search", "sklearn_pipeline.py", "predictions, a searched C"),
    **{
        f"nkululeko-{name}": Peer(f"nkululeko, {name}", "nkululeko.ini", _NKULULEKO, name)
        for name in ("svm", "xgb", "knn")
    },
    "nkululeko-mlp": Peer(
        "nkululeko, mlp", "nkululeko_mlp.ini", "the same; its best epoch is picked on the test part", "mlp"
    ),
}


def count_lines(code: Path) -> int:
    """Return how many lines a user writes: no blank ones, no comments, no docstring of one line."""
    lines = [line.strip() for line in code.read_text(encoding="utf-8").splitlines()]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in lines)


def peers_place() -> Path:
    """Return the folder of the peers' environment."""
    return Path(os.environ.get(PLACE_VARIABLE) or DEFAULT_PLACE).resolve()


def plan_peers(options: Options) -> list[Step]:
    """Return the steps: the clips once, then every peer with every encoder."""
    place = peers_place()
    task = "sample" if options.quick else "esc10"
    steps = []
    for name in (one for one in options.encoders if one != "tiny-random"):  # neither its scores nor its speed tell more
        per_class = PER_CLASS.get(name, 0)
        try:
            encoder = choose_encoder(name, options.work)
            options.chosen_tasks()[task].read(options.data)
        except (NotRun, KeyError) as reason:
            steps.append(Step(name=f"{name.replace('/', '--')}/{task}", words=(), reason=str(reason)))
            continue
        folder = options.work / "peers" / f"{task}-{per_class or 'all'}"
        words = ["-m", "benchmarks.peers.clips", "--task", task, "--per-class", str(per_class), *options.paths()]
        steps.append(Step(name=f"{name}/{task}/clips", words=[*words, "--folder", str(folder), "--out", "{out}"]))
        depends = {"weights": encoder.weights_sha256, **peer_versions(place)}
        location = str(_folder_of(encoder.location))
        keys = ONE_HEAD if per_class else PEERS
        steps += [_peer_step(f"{name}/{task}", key, folder, location, place, depends) for key in keys]
    return steps


def _folder_of(location: str) -> Path | str:
    """Return a folder that foreign code can load, for the bundled encoder's name too."""
    from embedx.encoders.resolve import resolve_encoder

    return resolve_encoder(location).location


def _peer_step(prefix: str, key: str, folder: Path, location: str, place: Path, depends: dict[str, Any]) -> Step:
    peer = PEERS[key]
    csvs = [str(folder / "train.csv"), str(folder / "test.csv"), location]
    if key == "embedx":
        return Step(name=f"{prefix}/{key}", words=[str(SCRIPTS / peer.code), *csvs, "{out}"], depends=depends)
    if not peer_python(place).exists():
        reason = "the peers are not installed: python -m benchmarks.peers.install"
        return Step(name=f"{prefix}/{key}", words=(), reason=reason)
    words = [str(SCRIPTS / peer.code), *csvs]
    if peer.classifier:
        words = [str(SCRIPTS / "run_nkululeko.py"), *csvs, str(SCRIPTS / peer.code), peer.classifier]
    environment = {"HF_HUB_OFFLINE": "1", **peer_environment(place)}
    return Step(
        name=f"{prefix}/{key}",
        words=[*words, "{out}"],
        depends=depends,
        python=str(peer_python(place)),
        environment=environment,
    )


COLUMNS = ["encoder", "clips", "by", "accuracy, %", "balanced, %", "seconds", "peak MB", "lines", "what it gives"]


def peers_result(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the keyword arguments of `benchmarks.tools.record.write_result`."""
    clips = {_prefix(r): r["result"] for r in records if r["status"] == "done" and r["step"].endswith("/clips")}
    rows, measures = [], {}
    for record in records:
        key = record["step"].rsplit("/", 1)[-1]
        if key not in PEERS:
            continue
        prefix = _prefix(record)
        encoder, task = prefix.rsplit("/", 1)
        shown = f"{task}, {clips[prefix]['n_train']} + {clips[prefix]['n_test']}" if prefix in clips else task
        rows.append([encoder, shown, PEERS[key].title, *_told(record, key, clips.get(prefix))])
        if record["status"] == "done" and prefix in clips:
            measures[f"{record['step']}: accuracy"] = measure(
                [_scores(record, clips[prefix])[0]], better="higher", unit="accuracy"
            )
    note = (
        "One official fold tested, the others learned from; 16 kHz WAV for all, one process each from start to end. "
        "Each peer's own precision and threads: embedx computes in bfloat16 where the processor can. Lines: what a "
        "user writes, without blank ones, comments and docstrings. Scores of random weights mean nothing."
    )
    found = peer_versions(peers_place())
    note += "".join(f" {name} {found[name]}." for name in ("nkululeko",) if name in found)
    drawn = {"peers": table(COLUMNS, rows, note=note)}
    facts = {"records": list(records), "peer_versions": found}
    return {"tables": drawn, "measures": measures | step_measures(records), **facts}


def _prefix(record: Mapping[str, Any]) -> str:
    return str(record["step"].rsplit("/", 1)[0])


def _told(record: Mapping[str, Any], key: str, clips: Mapping[str, Any] | None) -> list[Any]:
    lines = count_lines(SCRIPTS / PEERS[key].code)
    if record["status"] != "done" or clips is None:
        reason = record.get("reason", "its clips were not made")
        return ["-", "-", "-", "-", lines, f"{record['status']}: {reason}"]
    accuracy, balanced = _scores(record, clips)
    cost = [f"{record['seconds']:.0f}", f"{record['peak_mb']:.0f}"]
    return [f"{100 * accuracy:.1f}", f"{100 * balanced:.1f}", *cost, lines, PEERS[key].gives]


def _scores(record: Mapping[str, Any], clips: Mapping[str, Any]) -> tuple[float, float]:
    found = record["result"]
    if isinstance(found, Mapping):
        return found["accuracy"], found["balanced_accuracy"]
    return accuracy_score(clips["truth"], found), balanced_accuracy_score(clips["truth"], found)
