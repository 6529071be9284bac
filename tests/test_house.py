"""The house stays easy to see: directions, doors and sizes, checked from the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "embedx"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [
    {"errors", "text", "versions", "checks", "file_locks", "files", "child_process"},
    {"containers"},
    {"manifest", "recipe"},
    {"audio", "store", "download"},
    {"encoders", "pooling", "embedding_tables"},
    {"extract", "dataset", "heads", "evaluation", "timeline"},
    {"tuning"},
    {"comparison", "inspection", "model"},
    {"estimators", "report", "search", "doctor", "tracking"},
    {"labelling"},
    {"serve", "adapters"},
    {"cli", "testing"},
]
RANK = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SIDEWAYS = {
    ("download", "audio"),  # a fetched clip is decoded and written by the one door for audio
    ("manifest", "recipe"),
    ("comparison", "inspection"),
    ("checks", "errors"),
    ("heads", "evaluation"),  # what early stopping holds out is cut where all else is cut
    ("child_process", "errors"),
    ("files", "file_locks"),
    ("testing", "cli"),
}
NEVER = {("heads", "store"), ("heads", "extract"), ("extract", "heads"), ("store", "audio")}
DOORS = {
    "h5py": ("store/",),
    "yt_dlp": ("download/fetch.py",),
    "av": ("audio/", "download/"),
    "soundfile": ("audio/",),
    "ray": ("extract/ray_",),
    "optuna": ("tuning",),
    "lightgbm": ("heads/",),
    "skops": ("heads/", "model"),
    "peft": ("heads/",),
    "mlflow": ("tracking/mlflow.py",),
    "tensorboard": ("tracking/tensorboard.py",),
    "wandb": ("tracking/wandb.py",),
    "mteb": ("adapters/mteb.py",),
    "onnx": ("model/export",),
    "onnxruntime": ("model/export",),
    "onnxscript": ("model/export",),
    "huggingface_hub": ("encoders/hub.py", "model/hub_models.py"),
    "fastapi": ("serve/app.py", "serve/label_app.py", "serve/responses.py"),
    "starlette": ("serve/app.py", "serve/responses.py"),
    "prometheus_client": ("serve/app.py",),
    "uvicorn": ("cli/http_server.py",),
    "transformers": ("encoders/waveform.py", "encoders/", "heads/finetune"),
    "pandas": ("embedding_tables.py",),
    "anndata": ("embedding_tables.py",),
    "pyarrow": ("embedding_tables.py", "containers/parquet_table.py"),
    "fcntl": ("file_locks.py", "audio/decode_pool.py"),
    "portalocker": ("file_locks.py",),
    "resource": ("cli/__init__.py", "doctor/system.py"),
    "torchaudio": ("encoders/", "heads/"),
    "torch": (
        "encoders/",
        "extract/",
        "heads/",
        "model",
        "comparison",
        "testing.py",
        "adapters/",
        "tracking/",
        "audio/none",
    ),
}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, imports inside functions and for types included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "embedx":
                yield from ((f"embedx.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms <= set(RANK), f"rooms without a floor: {sorted(rooms - set(RANK))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    wrong = []
    for module, line in imports(path):
        if not module.startswith("embedx."):
            continue
        target = module.split(".")[1]
        if target in (room, "__version__"):
            continue
        assert target in RANK, f"{path.name}:{line} imports {module}, a room without a floor"
        same_floor = RANK[target] == RANK[room] and (room, target) not in SIDEWAYS
        if (room, target) in NEVER or RANK[target] > RANK[room] or same_floor or target in ("cli", "testing"):
            wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {module}")
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_libraries_have_one_door(path):
    inside = path.relative_to(PACKAGE).as_posix()
    wrong = [
        f"{inside}:{line} imports {module}"
        for module, line in imports(path)
        for library, doors in DOORS.items()
        if module.split(".")[0] == library and not inside.startswith(doors)
    ]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unpickles(path):
    banned = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}
    found = [f"{module} in line {line}" for module, line in imports(path) if module.split(".")[0] in banned]
    assert not found, f"{path.relative_to(PACKAGE)} imports {found}"


def test_no_circle_between_modules():
    graph: dict[str, set[str]] = {}
    names = {".".join(("embedx", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    for name, path in names.items():
        targets = set()
        for module, _ in imports(path):
            while module.startswith("embedx.") and module not in names:
                module = module.rpartition(".")[0]
            if module.startswith("embedx.") and module != name:
                targets.add(module)
        graph[name] = targets
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(graph.get(name, ())):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_light_import_stays_light():
    code = (
        "import embedx, embedx.cli, sys;"
        "heavy = {'torch', 'transformers', 'sklearn', 'h5py', 'lightgbm', 'optuna', 'av', 'numpy'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_print_outside_the_command_line():
    loud = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        if room_of(path) != "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not loud
