"""Which steps every suite has, quick and full, and the result that a suite's records become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.encoders import Chosen, choose_encoder
from benchmarks.peers.plan import plan_peers
from benchmarks.quality.tasks import NotRun, Task, read_tasks
from benchmarks.questions import plan_questions
from benchmarks.runner import Step
from benchmarks.wish import ONE_THREAD, Wish, embeddings_step, quality_words

__all__ = ["DEFAULT", "SUITES", "plan_suite"]

DEFAULT = ("quality", "heads", "throughput", "store")
"""What a run without ``--suite`` measures: all that needs no data, network or second environment."""


def plan_suite(name: str, wish: Wish) -> list[Step]:
    """Return the steps of a suite."""
    return SUITES[name](wish)


def _protocol_step(wish: Wish, encoder: Chosen, task: str, step: str, *, with_control: bool) -> Step:
    words = quality_words(wish, encoder, task, step) + ["--quick"] * wish.quick
    words += [] if with_control or step == "ours" else ["--no-control"]
    words += ["--heads", "logreg"] if step == "ours" and encoder.is_random else []
    embed = embeddings_step(wish, encoder, task)
    facts: dict[str, Any] = {"environment": ONE_THREAD, "alone": False, "after": [embed.name]}
    return Step(name=f"{encoder.name}/{task}/{step}", words=words, depends=embed.depends, **facts)


def _quality(wish: Wish) -> list[Step]:
    """Every encoder on every task; the control knows no encoder, so the foreign protocols judge it once."""
    steps, controlled = [], set()
    for name in wish.encoders:
        for task_name, task in wish.chosen_tasks().items():
            try:
                task.read(wish.data)
                encoder = choose_encoder(name, wish.work)
            except NotRun as reason:
                steps.append(Step(name=f"{name.replace('/', '--')}/{task_name}", words=(), reason=str(reason)))
                continue
            wanted = ["ours", *(one for one in ("maeb", "arch", "hear") if one in task.protocols)]
            steps.append(embeddings_step(wish, encoder, task_name))
            is_first = task_name not in controlled
            steps += [_protocol_step(wish, encoder, task_name, one, with_control=is_first) for one in wanted]
            controlled.add(task_name)
    return steps


def _stores(wish: Wish, encoder: Chosen, names: Sequence[str]) -> tuple[list[Step], list[str]]:
    """Return the steps that embed the tasks that are here, and their stores."""
    tasks = wish.chosen_tasks()
    here = [name for name in names if name in tasks and _is_here(tasks[name], wish.data)]
    steps = [embeddings_step(wish, encoder, name) for name in here]
    return steps, [str(wish.store(encoder, name)) for name in here]


def _is_here(task: Task, data: Path | None) -> bool:
    try:
        task.read(data)
    except NotRun:
        return False
    return True


def _heads(wish: Wish) -> list[Step]:
    encoder = choose_encoder(wish.encoders[0], wish.work)
    full = () if wish.quick else ("esc10", "fsdd")
    steps, stores = _stores(wish, encoder, full or ("sample",))
    if not stores:
        steps, stores = _stores(wish, encoder, ("sample",))
    words = ["-m", "benchmarks.heads.run", *stores, "--encoder", encoder.name]
    words += ["--trials", "0", "--study", "0"] if wish.quick else ["--trials", "10", "--study", "50"]
    depends = {"weights": encoder.weights_sha256}
    return [*steps, Step(name="heads", words=words, depends=depends, environment={"OMP_NUM_THREADS": "1"})]


def _throughput(wish: Wish) -> list[Step]:
    words = ["-m", "benchmarks.throughput.run", "--audio", str(_audio(wish))]
    quick = ["--rounds", "2", "--clips", "4", "--only", "mix_of_1_to_15_s"]
    return [Step(name="throughput", words=words + (quick if wish.quick else ["--rounds", "3", "--clips", "12"]))]


def _audio(wish: Wish) -> Path:
    tasks = read_tasks()
    name = "esc10" if _is_here(tasks["esc10"], wish.data) else "sample"
    return Path(tasks[name].read(wish.data).root)


def _store(wish: Wish) -> list[Step]:
    clips = "5000" if wish.quick else "100000"
    return [Step(name="store", words=["-m", "benchmarks.store.scale", str(wish.work), "--clips", clips])]


FINETUNE = {
    "sample": (),
    "esc10": ("--epochs", "6", "--max-seconds", "1", "--per-class", "20"),
    "fsdd": (),
}
"""Settings of the full finetune suite: what two cores do in minutes a task."""


def _finetune(wish: Wish) -> list[Step]:
    encoder = choose_encoder(wish.encoders[0], wish.work)
    quick = ("--epochs", "2", "--per-class", "8", "--max-seconds", "1")
    steps = []
    for name, task in wish.chosen_tasks().items():
        if name not in FINETUNE or (wish.quick and name != "sample"):
            continue
        try:
            place = [] if task.bundled else ["--data", str(Path(task.read(wish.data).root) / task.csv)]
        except NotRun as reason:
            steps.append(Step(name=f"finetune/{name}", words=(), reason=str(reason)))
            continue
        words = ["-m", "benchmarks.finetune.quality", name, *place, "--encoder", encoder.location]
        words += quick if wish.quick else FINETUNE[name]
        steps.append(Step(name=f"finetune/{name}", words=words, depends={"weights": encoder.weights_sha256}))
    small = ["--small", "--steps", "3"] if wish.quick else []
    return [*steps, Step(name="finetune/throughput", words=["-m", "benchmarks.finetune.throughput", *small])]


def _cluster(wish: Wish) -> list[Step]:
    quick = {"driver": ["--units", "20", "--paced-workers", "2"], "scaling": ["--work-seconds", "2"]}
    sizes = quick if wish.quick else {"driver": [], "scaling": []}
    return [Step(name=f"cluster/{name}", words=["-m", f"benchmarks.cluster.{name}", *w]) for name, w in sizes.items()]


def _main(wish: Wish) -> list[Step]:
    """The main job and the bundled encoder's own scores; the encoder is always the bundled one."""
    encoder = choose_encoder("tiny", wish.work)
    depends = {"weights": encoder.weights_sha256}
    steps = [Step(name="main/quickstart", words=["-m", "benchmarks.quickstart"], depends=depends)]
    if wish.quick:
        return steps
    embeddings, stores = _stores(wish, encoder, ("esc10",))
    if not stores:
        return [*steps, Step(name="main/esc10", words=(), reason="no ESC-10 in the data folder")]
    note = (
        "ESC-10: 400 recordings, ten classes of 40 (guessing: 10 %), five official folds grouped by source recording, "
        f"encoder tiny (it heard {read_tasks()['esc10'].heard_by('tiny')})."
    )
    words = ["-m", "benchmarks.reports", "esc10", *stores, "--folds", "split", "--note", note]
    report = Step(name="main/esc10", words=[*words, "--output", str(wish.work / "esc10-report")], depends=depends)
    evaluation = ["-m", "benchmarks.evaluate_tiny", *wish.paths()]
    return [*steps, *embeddings, report, Step(name="main/tiny", words=evaluation, depends=depends)]


def _scaling(wish: Wish) -> list[Step]:
    return [Step(name="scaling", words=["-m", "benchmarks.scaling", "--rates"])]


SUITES: dict[str, Callable[[Wish], list[Step]]] = {
    "main": _main,
    "quality": _quality,
    "heads": _heads,
    "throughput": _throughput,
    "store": _store,
    "finetune": _finetune,
    "cluster": _cluster,
    "questions": plan_questions,
    "peers": plan_peers,
    "scaling": _scaling,
}
