"""Install the peers into an environment of their own.

    python -m benchmarks.peers.install [PLACE]        # default: benchmark-work/peers

torch, torchaudio, transformers and scikit-learn get the versions that embedx runs with here, so that no difference
is theirs. nkululeko reads audio by torchaudio, which needs FFmpeg's shared libraries: where the system has none, those
that PyAV brings along are linked under their plain names below PLACE.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from ctypes.util import find_library
from pathlib import Path

__all__ = ["DEFAULT_PLACE", "install", "link_libraries", "peer_environment", "peer_python", "peer_versions"]

DEFAULT_PLACE = Path("benchmark-work/peers")
SAME = ("torch", "torchaudio", "transformers", "scikit-learn", "numpy")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
READS = """
import importlib.metadata, json, soundfile, torchaudio
soundfile.write("a.wav", [0.0] * 1600, 16000)
assert torchaudio.load("a.wav")[0].shape == (1, 1600)
names = ("nkululeko", "torch", "torchaudio", "torchcodec", "transformers", "scikit-learn")
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


def peer_python(place: Path) -> Path:
    """Return the interpreter of the environment."""
    return place / "bin" / "python"


def peer_environment(place: Path) -> dict[str, str]:
    """Return what its processes need in their environment."""
    return _read(place / "environment.json")


def peer_versions(place: Path) -> dict[str, str]:
    """Return what is installed there, by name; nothing when nothing is."""
    return _read(place / "versions.json")


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        return {}


def install(place: Path) -> None:
    """Make the environment, or complete it, and see that it reads audio."""
    place = place.resolve()  # peers run in folders of their own
    pins = [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in SAME]
    if not peer_python(place).exists():
        make = ["uv", "venv", "--quiet", "--python", sys.executable] if shutil.which("uv") else None
        subprocess.run([*(make or [sys.executable, "-m", "venv"]), str(place)], check=True)
    python = str(peer_python(place))
    pip = (
        ["uv", "pip", "install", "--quiet", "--python", python]
        if shutil.which("uv")
        else [python, "-m", "pip", "install"]
    )
    subprocess.run([*pip, *pins, "-r", str(REQUIREMENTS)], check=True)
    folders = [] if find_library("avcodec") else link_libraries(place)
    found = {"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}
    (place / "environment.json").write_text(json.dumps(found), encoding="utf-8")
    _check(place)


def _check(place: Path) -> None:
    """Read a clip as nkululeko does, in another folder, so that a missing library is told now and once."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(peer_python(place)), "-c", READS],
            cwd=folder,
            env=os.environ | peer_environment(place),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SystemExit(f"the environment {place} cannot read audio: {last}")
    (place / "versions.json").write_text(done.stdout, encoding="utf-8")
    told = ", ".join(f"{name} {version}" for name, version in peer_versions(place).items())
    print(f"the peers are installed in {place}: {told}")


def link_libraries(place: Path) -> list[str]:
    """Link PyAV's FFmpeg under the names that a linker looks for; return the folders of libraries."""
    place = place.resolve()
    libraries = next(iter(place.glob("lib/python*/site-packages/av.libs")), None)
    if libraries is None:
        return []
    folder = place / "ffmpeg"
    folder.mkdir(exist_ok=True)
    for library in libraries.iterdir():
        found = re.fullmatch(r"(lib(?:av|sw)\w+)-\w+\.so\.(\d+)[\d.]*", library.name)
        if found:
            link = folder / f"{found[1]}.so.{found[2]}"
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    return [str(folder), str(libraries)]


if __name__ == "__main__":
    install(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PLACE)
