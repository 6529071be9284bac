"""Which device computes, and in which dtype."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from embedx.errors import ParameterError, unknown_name

__all__ = ["DTYPES", "choose_compute_dtype", "choose_device", "count_lanes", "one_thread_each"]

DTYPES = ("float32", "bfloat16", "float16")


def choose_device(device: str) -> str:
    """Turn ``"auto"`` into a device of this machine.

    Raises
    ------
    ParameterError
        Unknown, or not on this machine.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ParameterError(unknown_name("device", device, ["auto", "cpu", "cuda", "cuda:N"]))
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= count:
        raise ParameterError(
            f"device {device!r} is not on this machine ({count} CUDA devices): use --device cpu or auto"
        )
    return device


def choose_compute_dtype(dtype: str, device: str) -> str:
    """Turn ``"auto"`` into bfloat16 where the device computes it in hardware, else float32."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ParameterError(unknown_name("dtype", dtype, ["auto", *DTYPES]))
        return dtype
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    return "bfloat16" if _cpu_has_bfloat16() else "float32"


def count_lanes(device: str, threads: int = 0) -> int:
    """Return how many clips (CPU) or batches (GPU) are computed at a time.

    Parameters
    ----------
    device : str
        Where.
    threads : int
        As many lanes on a CPU; 0 takes torch's choice (cores, or ``OMP_NUM_THREADS``).
    """
    import torch

    return 2 if device.startswith("cuda") else max(1, threads or torch.get_num_threads())


@contextlib.contextmanager
def one_thread_each() -> Iterator[Callable[[], None]]:
    """Give an initialiser for threads that each compute alone; torch's own number of threads comes back after."""
    import torch

    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(before)


def _cpu_has_bfloat16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
