"""Which device computes, and in which dtype."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from embedx.errors import ParameterError, unknown_name

__all__ = [
    "DTYPES",
    "as_memory_error",
    "choose_compute_dtype",
    "choose_device",
    "choose_devices",
    "count_cores",
    "count_decoders",
    "count_encode_threads",
    "exact_float32",
    "is_out_of_memory",
    "one_thread_each",
    "release_memory",
    "share_threads",
    "torch_threads",
]

DTYPES = ("float32", "bfloat16", "float16")

_GPU_FILES = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
_SHORTAGES = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED")
_MOST_DECODERS = 32
"""A GPU at 40 % of its peak eats what 25 to 45 cores decode."""


def choose_device(device: str) -> str:
    """Turn ``"auto"`` into a device of this machine.

    Raises
    ------
    ParameterError
        Unknown, or not on this machine.
    """
    if device == "auto":
        return "cuda" if _count_gpus() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ParameterError(unknown_name("device", device, ["auto", "cpu", "cuda", "cuda:N"]))
    count = _count_gpus() if kind == "cuda" else 1
    if kind == "cpu" and int(number or 0) >= count:
        raise ParameterError(f"device {device!r}: a machine's processors are one device, 'cpu'")
    if int(number or 0) >= count:
        raise ParameterError(
            f"device {device!r} is not on this machine ({count} CUDA devices): use --device cpu or auto"
        )
    return device


def choose_devices(device: str, devices: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the devices that work beside each other, a process each.

    Parameters
    ----------
    device : str
        ``"auto"`` takes every GPU that is visible (``CUDA_VISIBLE_DEVICES``), or the CPU where there is none;
        anything else is one device.
    devices : sequence of str
        Taken instead where given; one named twice gets two processes.

    Raises
    ------
    ParameterError
        Unknown, or not on this machine.

    Examples
    --------
    >>> choose_devices("cpu"), choose_devices("auto", ["cpu", "cpu"])
    (('cpu',), ('cpu', 'cpu'))
    """
    if devices:
        return tuple(map(choose_device, devices))
    n_gpus = _count_gpus() if device == "auto" else 0
    return tuple(f"cuda:{i}" for i in range(n_gpus)) if n_gpus > 1 else (choose_device(device),)


def share_threads(devices: Sequence[str], threads: int) -> tuple[int, ...]:
    """Share the threads of this machine among the processes that compute on its CPU.

    Parameters
    ----------
    devices : sequence of str
        One a process.
    threads : int
        Threads in all; 0 takes torch's choice in this process, as far as it is known.

    Returns
    -------
    tuple of int
        Threads of each process; 0 leaves it to the process.

    Examples
    --------
    >>> share_threads(["cpu", "cuda:0", "cpu"], 4)
    (2, 4, 2)
    """
    total = threads or (sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 0)
    n_on_cpu = sum(device == "cpu" for device in devices)
    if n_on_cpu > 1 and not total:
        total = int(os.environ.get("OMP_NUM_THREADS", "0").partition(",")[0] or 0) or count_cores()
    return tuple(max(1, total // n_on_cpu) if device == "cpu" and n_on_cpu > 1 else total for device in devices)


def choose_compute_dtype(dtype: str, *devices: str) -> str:
    """Turn ``"auto"`` into bfloat16 where the devices compute it in hardware, else what all of them do compute."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ParameterError(unknown_name("dtype", dtype, ["auto", *DTYPES]))
        return dtype
    best = {_best_dtype(device) for device in devices}
    return best.pop() if len(best) == 1 else "float32" if "float32" in best else "float16"


def _best_dtype(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    return "bfloat16" if _cpu_has_bfloat16() else "float32"


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_encode_threads(device: str, threads: int = 0) -> int:
    """Return how many clips (CPU) or batches (GPU) are computed at a time.

    Parameters
    ----------
    device : str
        Where.
    threads : int
        So many on a CPU; 0 takes torch's choice (cores, or ``OMP_NUM_THREADS``).
    """
    import torch

    return 2 if device.startswith("cuda") else max(1, threads or torch.get_num_threads())


def count_decoders(device: str, workers: int | None = None) -> int:
    """Return how many processes decode for one encoder.

    Parameters
    ----------
    device : str
        Where the encoder computes.
    workers : int, optional
        As many; None takes one for every four cores beside a CPU that encodes, and a GPU's share of the cores beside a
        GPU (2 to 32).

    Examples
    --------
    >>> count_decoders("cpu") >= 2, count_decoders("cuda", 5)
    (True, 5)
    """
    if workers is not None:
        return workers
    n_cores = count_cores()
    wanted = n_cores // max(1, _count_gpus()) - 1 if device.startswith("cuda") else n_cores // 4
    return max(2, min(_MOST_DECODERS, wanted))


@contextlib.contextmanager
def as_memory_error() -> Iterator[None]:
    """Turn every shortage of memory, on a GPU or on a CPU, into Python's own `MemoryError`."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(str(error)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error of torch means that there was no memory left.

    On a GPU that is `torch.OutOfMemoryError`; the allocator of a CPU and the libraries of both raise a plain
    `RuntimeError`, which only its text tells from a bug.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    >>> is_out_of_memory(RuntimeError("shape mismatch"))
    False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without its import
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORTAGES)


class _ExactFloat32:
    """Keeps cuDNN from rounding float32 convolutions to TF32 (torch's default for convolutions alone).

    The switch is the whole process's: it goes back when the last of several threads leaves.
    """

    def __init__(self) -> None:
        self._guard, self._n_inside, self._switch = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._guard:
            if not self._n_inside:
                import torch

                self._switch.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            self._n_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._guard:
            self._n_inside -= 1
            if not self._n_inside:
                self._switch.close()


exact_float32 = _ExactFloat32()


def release_memory(device: str) -> None:
    """Give a GPU's memory that no tensor holds any more back, so that another shape of it can be had."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


@contextlib.contextmanager
def one_thread_each() -> Iterator[Callable[[], None]]:
    """Give an initialiser for threads that each compute alone; torch's own number of threads comes back after."""
    import torch

    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let torch's operations use so many threads meanwhile; 0 leaves what this process has chosen."""
    import torch

    before = torch.get_num_threads()
    if n in (0, before):
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _count_gpus() -> int:
    """Count the CUDA devices; torch is not even imported where the system has no graphics device at all."""
    if "torch" not in sys.modules and not any(map(glob.glob, _GPU_FILES)):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _cpu_has_bfloat16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
