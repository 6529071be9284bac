"""Which steps every suite has, quick and full, and the result that a suite's records become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.encoders import Chosen, choose_encoder
from benchmarks.options import ONE_THREAD, Options, embeddings_step, quality_words
from benchmarks.peers.plan import plan_peers
from benchmarks.quality.tasks import NotRun, Task, read_tasks
from benchmarks.questions.steps import plan_questions
from benchmarks.runner import Step

__all__ = ["DEFAULT", "SUITES", "plan_suite"]

DEFAULT = ("quality", "heads", "throughput", "store")
"""What a run without ``--suite`` measures: all that needs no data, network or second environment."""


def plan_suite(name: str, options: Options) -> list[Step]:
    """Return the steps of a suite."""
    return SUITES[name](options)


def _protocol_step(options: Options, encoder: Chosen, task: str, step: str, *, with_control: bool) -> Step:
    words = quality_words(options, encoder, task, step) + ["--quick"] * options.quick
    words += [] if with_control or step == "ours" else ["--no-control"]
    words += ["--heads", "logreg"] if step == "ours" and encoder.is_random else []
    embed = embeddings_step(options, encoder, task)
    facts: dict[str, Any] = {"environment": ONE_THREAD, "alone": False, "after": [embed.name]}
    return Step(name=f"{encoder.name}/{task}/{step}", words=words, depends=embed.depends, **facts)


def _quality(options: Options) -> list[Step]:
    """Every encoder on every task; the control knows no encoder, so the foreign protocols judge it once."""
    steps, controlled = [], set()
    for name in options.encoders:
        for task_name, task in options.chosen_tasks().items():
            try:
                task.read(options.data)
                encoder = choose_encoder(name, options.work)
            except NotRun as reason:
                steps.append(Step(name=f"{name.replace('/', '--')}/{task_name}", words=(), reason=str(reason)))
                continue
            wanted = ["ours", *(one for one in ("maeb", "arch", "hear") if one in task.protocols)]
            steps.append(embeddings_step(options, encoder, task_name))
            is_first = task_name not in controlled
            steps += [_protocol_step(options, encoder, task_name, one, with_control=is_first) for one in wanted]
            controlled.add(task_name)
    return steps


def _stores(options: Options, encoder: Chosen, names: Sequence[str]) -> tuple[list[Step], list[str]]:
    """Return the steps that embed the tasks that are here, and their stores."""
    tasks = options.chosen_tasks()
    here = [name for name in names if name in tasks and _is_here(tasks[name], options.data)]
    steps = [embeddings_step(options, encoder, name) for name in here]
    return steps, [str(options.store(encoder, name)) for name in here]


def _is_here(task: Task, data: Path | None) -> bool:
    try:
        task.read(data)
    except NotRun:
        return False
    return True


def _heads(options: Options) -> list[Step]:
    encoder = choose_encoder(options.encoders[0], options.work)
    full = () if options.quick else ("esc10", "fsdd")
    steps, stores = _stores(options, encoder, full or ("sample",))
    if not stores:
        steps, stores = _stores(options, encoder, ("sample",))
    words = ["-m", "benchmarks.heads.every_head", *stores, "--encoder", encoder.name]
    words += ["--trials", "0", "--study", "0"] if options.quick else ["--trials", "10", "--study", "50"]
    depends = {"weights": encoder.weights_sha256}
    return [*steps, Step(name="heads", words=words, depends=depends, environment={"OMP_NUM_THREADS": "1"})]


def _throughput(options: Options) -> list[Step]:
    words = ["-m", "benchmarks.throughput.cpu", "--audio", str(_audio(options))]
    quick = ["--rounds", "2", "--clips", "4", "--only", "mix_of_1_to_15_s"]
    return [Step(name="throughput", words=words + (quick if options.quick else ["--rounds", "3", "--clips", "12"]))]


def _families(options: Options) -> list[Step]:
    words = ["-m", "benchmarks.throughput.families"]
    return [
        Step(name="families", words=words + (["--small", "--clips", "3", "--rounds", "1"] if options.quick else []))
    ]


def _warm_predict(options: Options) -> list[Step]:
    quick = ["--small", "--rounds", "2"] if options.quick else []
    return [Step(name="warm_predict", words=["-m", "benchmarks.throughput.warm_predict", *quick])]


def _audio(options: Options) -> Path:
    tasks = read_tasks()
    name = "esc10" if _is_here(tasks["esc10"], options.data) else "sample"
    return Path(tasks[name].read(options.data).root)


def _store(options: Options) -> list[Step]:
    clips = "5000" if options.quick else "100000"
    return [Step(name="store", words=["-m", "benchmarks.store.scale", str(options.work), "--clips", clips])]


FINETUNE = {
    "sample": (),
    "esc10": ("--epochs", "6", "--max-seconds", "1", "--per-class", "20"),
    "fsdd": (),
}
"""Settings of the full finetune suite: what two cores do in minutes a task."""


def _finetune(options: Options) -> list[Step]:
    encoder = choose_encoder(options.encoders[0], options.work)
    quick = ("--epochs", "2", "--per-class", "8", "--max-seconds", "1")
    steps = []
    for name, task in options.chosen_tasks().items():
        if name not in FINETUNE or (options.quick and name != "sample"):
            continue
        try:
            place = [] if task.bundled else ["--data", str(Path(task.read(options.data).root) / task.csv)]
        except NotRun as reason:
            steps.append(Step(name=f"finetune/{name}", words=(), reason=str(reason)))
            continue
        words = ["-m", "benchmarks.finetune.quality", name, *place, "--encoder", encoder.location]
        words += quick if options.quick else FINETUNE[name]
        steps.append(Step(name=f"finetune/{name}", words=words, depends={"weights": encoder.weights_sha256}))
    small = ["--small", "--steps", "3"] if options.quick else []
    return [*steps, Step(name="finetune/throughput", words=["-m", "benchmarks.finetune.throughput", *small])]


def _cluster(options: Options) -> list[Step]:
    quick = {"driver": ["--units", "20", "--paced-workers", "2"], "scaling": ["--work-seconds", "2"]}
    sizes = quick if options.quick else {"driver": [], "scaling": []}
    return [Step(name=f"cluster/{name}", words=["-m", f"benchmarks.cluster.{name}", *w]) for name, w in sizes.items()]


def _main(options: Options) -> list[Step]:
    """The main job and the bundled encoder's own scores; the encoder is always the bundled one."""
    encoder = choose_encoder("tiny", options.work)
    depends = {"weights": encoder.weights_sha256}
    steps = [Step(name="main/quickstart", words=["-m", "benchmarks.main.quickstart"], depends=depends)]
    if options.quick:
        return steps
    embeddings, stores = _stores(options, encoder, ("esc10",))
    if not stores:
        return [*steps, Step(name="main/esc10", words=(), reason="no ESC-10 in the data folder")]
    note = (
        "ESC-10: 400 recordings, ten classes of 40 (guessing: 10 %), five official folds grouped by source recording, "
        f"encoder tiny (it heard {read_tasks()['esc10'].heard_by('tiny')})."
    )
    words = ["-m", "benchmarks.main.report", "esc10", *stores, "--folds", "split", "--note", note]
    report = Step(name="main/esc10", words=[*words, "--output", str(options.work / "esc10-report")], depends=depends)
    evaluation = ["-m", "benchmarks.training.evaluate_tiny", *options.paths()]
    return [*steps, *embeddings, report, Step(name="main/tiny", words=evaluation, depends=depends)]


def _scaling(options: Options) -> list[Step]:
    return [Step(name="scaling", words=["-m", "benchmarks.scaling.on_paper", "--rates"])]


SUITES: dict[str, Callable[[Options], list[Step]]] = {
    "main": _main,
    "quality": _quality,
    "heads": _heads,
    "throughput": _throughput,
    "families": _families,
    "warm_predict": _warm_predict,
    "store": _store,
    "finetune": _finetune,
    "cluster": _cluster,
    "questions": plan_questions,
    "peers": plan_peers,
    "scaling": _scaling,
}
