"""Python, the machine, its disks and its limits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from embedx.doctor.findings import Finding
from embedx.file_locks import has_locks
from embedx.text import as_size, count

__all__ = ["limits", "places", "python_and_machine"]

_LEAST_PYTHON = (3, 11)
_LITTLE_MEMORY, _LITTLE_DISK, _LITTLE_SHARED = 2e9, 1e9, 256e6
_FEW_FILES, _FEW_PROCESSES = 1024, 512
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16", "sve")
"""What encoders gain from: vectors of 256 and 512 bits, bfloat16 in hardware (x86 and ARM)."""


def python_and_machine() -> Iterator[Finding]:
    """Yield Python, the system, processor and memory."""
    section = "system"
    old = sys.version_info[:2] < _LEAST_PYTHON
    advice = "install Python 3.11 or later" if old else ""
    yield Finding(section, "python", f"{platform.python_version()} at {sys.executable}", _level(old), advice)
    tested = sys.platform == "linux"
    yield Finding(section, "platform", platform.platform(), "ok" if tested else "note", "" if tested else _UNTESTED)
    flags = _cpu_flags()
    dtype = "bfloat16" if {"avx512_bf16", "amx_bf16"} & flags else "float32"
    features = ", ".join(name for name in _FEATURES if name in flags) or "not told by the system"
    yield Finding(section, "processor", f"{count(_count_cores(), 'core')} ({features}); encoders compute in {dtype}")
    total, free = _memory()
    if total:
        little = free < _LITTLE_MEMORY
        advice = "close other programs, or give the container more: an encoder takes 1 to 4 GB" if little else ""
        yield Finding(section, "memory", f"{as_size(free)} free of {as_size(total)}", _level(little), advice)


_UNTESTED = "embedx is tested on Linux; elsewhere files are read and encoded in one process"


def places() -> Iterator[Finding]:
    """Yield room, permission and locks of the current folder, and room of the cache of encoders and of /dev/shm."""
    section, here = "places", Path.cwd()
    yield _room(section, "current folder", here)
    if not os.access(here, os.W_OK):
        yield Finding(section, "writing here", "no permission", "problem", "go to a folder of your own")
    elif has_locks(here):
        yield Finding(section, "file locks here", "work")
    else:
        advice = "keep stores on a local disk, or mount the network disk with locks"
        yield Finding(section, "file locks here", "two writers would not see each other", "problem", advice)
    yield _room(section, "cache of encoders", hub_cache())
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        little = size < _LITTLE_SHARED
        advice = "start the container with --shm-size=1g for a Ray cluster; nothing else needs it" if little else ""
        yield Finding(section, "/dev/shm", as_size(size), "note" if little else "ok", advice)


def hub_cache() -> Path:
    """Return the folder that huggingface_hub keeps checkpoints in, without importing it."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()


def limits() -> Iterator[Finding]:
    """Yield how many files and processes the system allows."""
    try:
        import resource
    except ImportError:
        return
    section = "limits"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = 0 <= files < _FEW_FILES
    yield Finding(section, "open files", _limit(files), _note(few), "ulimit -n 4096" if few else "")
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    few = 0 <= processes < _FEW_PROCESSES
    advice = "raise it (ulimit -u), or ask for fewer with --workers and --threads" if few else ""
    yield Finding(section, "processes and threads", _limit(processes), _note(few), advice)


def _limit(n: int) -> str:
    return "no limit" if n < 0 or n > 1 << 40 else f"{n:,}"


def _level(is_bad: bool) -> str:
    return "problem" if is_bad else "ok"


def _note(is_low: bool) -> str:
    return "note" if is_low else "ok"


def _room(section: str, name: str, folder: Path) -> Finding:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    little = free < _LITTLE_DISK
    advice = "make room: an encoder takes 0.4 to 4 GB, a store some kB a clip" if little else ""
    return Finding(section, name, f"{folder}, {as_size(free)} free", _level(little), advice)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((set(line.split()) for line in file if line.lower().startswith(("flags", "features"))), set())
    except OSError:
        return _mac_flags() if sys.platform == "darwin" else set()


def _mac_flags() -> set[str]:
    command = ["/usr/sbin/sysctl", "-n", "hw.optional.arm.FEAT_BF16", "hw.optional.AdvSIMD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {name for name, word in zip(("bf16", "asimd"), done.stdout.split(), strict=False) if word == "1"}


def _memory() -> tuple[int, int]:
    """Return bytes of memory, and those that are free, of this machine or of what a container may use; 0 unknown."""
    total = free = 0
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file if len(line.split()) > 1}
        total, free = facts["MemTotal"], facts["MemAvailable"]
    except (OSError, KeyError, ValueError):
        if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
            total = free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or "max"
        return total, free
    return min(total, limit), min(free, max(0, limit - used))
