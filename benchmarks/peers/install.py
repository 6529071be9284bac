"""Install the peers into an environment of their own.

    python -m benchmarks.peers.install [PLACE]        # default: benchmark-work/peers

torch, torchaudio, transformers and scikit-learn get the versions that embedx runs with here, so that no difference
is theirs. nkululeko reads audio by torchaudio, which needs FFmpeg's shared libraries: where the system has none, those
that PyAV brings along are linked under their plain names below PLACE.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

__all__ = ["DEFAULT_PLACE", "install", "link_libraries", "peer_environment", "peer_python"]

DEFAULT_PLACE = Path("benchmark-work/peers")
SAME = ("torch", "torchaudio", "transformers", "scikit-learn", "numpy")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def peer_python(place: Path) -> Path:
    """Return the interpreter of the environment."""
    return place / "bin" / "python"


def peer_environment(place: Path) -> dict[str, str]:
    """Return what its processes need in their environment."""
    try:
        return dict(json.loads((place / "environment.json").read_text(encoding="utf-8")))
    except OSError:
        return {}


def install(place: Path) -> None:
    """Make the environment, or complete it."""
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


def link_libraries(place: Path) -> list[str]:
    """Link PyAV's FFmpeg under the names that a linker looks for; return the folders of libraries."""
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
