"""Libraries: which are there, whether they load, and how to get those that are not."""

from __future__ import annotations

import glob
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedx.child_process import program_of, python_command
from embedx.doctor.findings import Finding
from embedx.versions import installed_versions

__all__ = ["download", "extras", "installed"]

_IMPORT_NAMES = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
    "yt-dlp": "yt_dlp",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
}
_LOADING_SECONDS = 120.0
_TOLD_ELSEWHERE = "youtube"
"""An extra of a library that is needed anyway: `download` says what it brings."""


def installed() -> Iterator[Finding]:
    """Yield every library that embedx needs: its version, and whether it loads; then the GPU and FFmpeg.

    Each is imported in a process of its own kind, since a broken one can end Python.
    """
    needed = [text for extra, text in _requirements() if not extra] or _STACK
    names = [_name_of(text) for text in needed if _applies(text)]
    told = dict(_probe(names))
    for text in needed:
        name = _name_of(text)
        if name in told:
            yield _library(name, text, told[name])
    yield from _gpu(told.get("torch", {}))
    yield from _ffmpeg(told.get("av", {}))


_STACK = [
    *("av", "h5py", "lightgbm", "numpy", "optuna", "scikit-learn", "scipy", "skops", "soundfile"),
    *("torch", "torchaudio", "transformers", "yt-dlp"),
]
"""What is looked at where embedx itself runs out of a folder and is not installed."""


def extras() -> Iterator[Finding]:
    """Yield the extras: whole, or the command that installs what is missing."""
    of: dict[str, list[str]] = {}
    for extra, text in _requirements():
        if extra and extra != _TOLD_ELSEWHERE and _applies(text):
            of.setdefault(extra, []).append(text)
    for extra, texts in of.items():
        there = {_name_of(text): _version(_name_of(text)) for text in texts}
        missing = [name for name, version in there.items() if version is None]
        if missing:
            value, advice = f"not installed ({', '.join(missing)})", f"pip install 'embedx[{extra}]'"
            yield Finding("extras", extra, value, "note", advice)
        else:
            yield Finding("extras", extra, ", ".join(f"{name} {version}" for name, version in there.items()))


def download() -> Iterator[Finding]:
    """Yield what the download of links needs."""
    from embedx.download.prerequisites import find_js_runtime, has_solver

    runtime, solver = find_js_runtime(), has_solver()
    value = f"{runtime.name} {runtime.version} at {runtime.path}" if runtime else "none"
    level, advice = ("ok", "") if runtime and solver else ("note", "for YouTube: pip install 'embedx[youtube]'")
    scripts = "with" if solver else "without"
    yield Finding("download", "JavaScript", f"{value}, {scripts} yt-dlp's scripts", level, advice)


def _requirements() -> list[tuple[str, str]]:
    """Return what this package's own record says it needs, each with the extra that it belongs to ("" for none)."""
    try:
        texts = importlib.metadata.requires("embedx") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for text in texts:
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", text)
        found.append((extra[1] if extra else "", text))
    return found


def _name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match[0].lower().replace("_", "-") if match else requirement


def _applies(requirement: str) -> bool:
    """Say whether a requirement is for this system."""
    asked = re.search(r"""sys_platform\s*==\s*['"]([^'"]+)""", requirement)
    return asked is None or asked[1] == sys.platform


def _version(name: str) -> str | None:
    return installed_versions([name]).get(name)


def _is_wanted_version(requirement: str, version: str) -> bool:
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it comes with many libraries, and may be among those that are missing
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _library(name: str, requirement: str, told: Mapping[str, Any]) -> Finding:
    wanted = requirement.partition(";")[0].strip()
    version, install = _version(name), f"pip install '{wanted}'"
    if version is None and told.get("error"):
        return Finding("libraries", name, "not installed", "problem", install)
    if told.get("error"):
        again = f"pip install --force-reinstall '{wanted}'"
        return Finding("libraries", name, f"{version} does not load: {told['error']}", "problem", again)
    if version is not None and not _is_wanted_version(requirement, version):
        return Finding("libraries", name, f"{version}, but {wanted} is needed", "problem", install)
    return Finding("libraries", name, version or "there")


def _gpu(torch: Mapping[str, Any]) -> Iterator[Finding]:
    cards = glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dxg")
    if torch.get("cuda"):
        yield Finding("gpu", "CUDA", f"{', '.join(torch['cuda'])} (torch for {torch.get('built')})")
    elif torch.get("mps"):
        yield Finding("gpu", "MPS", "there; embedx computes on CPU and CUDA", "note")
    elif cards and torch.get("built") is None:
        advice = "install torch for CUDA: pip install --force-reinstall 'torch>=2.11,<2.14' from the wheels for CUDA"
        yield Finding("gpu", "CUDA", "there is a card, but this torch is for CPU only", "problem", advice)
    elif cards:
        advice = "look at nvidia-smi: the driver may be older than torch's CUDA, or CUDA_VISIBLE_DEVICES hides the card"
        value = f"there is a card, but torch (for CUDA {torch.get('built')}) does not see it"
        yield Finding("gpu", "CUDA", value, "problem", advice)
    else:
        yield Finding("gpu", "GPU", "none: encoders run on the CPU")


def _ffmpeg(av: Mapping[str, Any]) -> Iterator[Finding]:
    if "codecs" not in av:
        return
    missing = [name for name, there in av["codecs"].items() if not there]
    there = ", ".join(name for name, is_there in av["codecs"].items() if is_there)
    advice = "install PyAV's own wheel: pip install --force-reinstall --only-binary av av" if missing else ""
    lack = f"; no decoder of {', '.join(missing)}" if missing else ""
    value = f"{av.get('ffmpeg', '')} in PyAV decodes {there}{lack}"
    yield Finding("audio", "FFmpeg", value, "problem" if missing else "ok", advice)


def _probe(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Import libraries in child processes; one that ends its process is named, and the others go on in a new one."""
    left = list(names)
    while left:
        told, how = _probe_once(left)
        yield from told
        left = left[len(told) :]
        if left:
            yield left.pop(0), {"error": how}


def _probe_once(names: Sequence[str]) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    modules = [_IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names]
    command = python_command(program_of("embedx.doctor.probe"), *modules)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LOADING_SECONDS)
        output, how = done.stdout, f"it ends Python (exit status {done.returncode})"
    except subprocess.TimeoutExpired as late:
        output, how = late.stdout or b"", f"not within {_LOADING_SECONDS:g} s"
    lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("{")]
    return [(name, json.loads(line)) for name, line in zip(names, lines, strict=False)], how
