"""What a training stands on: its processes, how much fits into memory, checkpoints, and Ctrl-C."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch

from embedx.encoders.device import choose_device, is_out_of_memory, release_memory
from embedx.errors import CheckpointWarning, ModelFormatError, ParameterError, RunnerError
from embedx.files import replace_folder
from embedx.heads.finetune.settings import FineTuneSettings

__all__ = ["Checkpoints", "Interrupt", "MemoryBudget", "Processes", "training_dtype", "wait_for_step"]

_T = TypeVar("_T")
_LEAST_SECONDS = 0.5
_CPU_BATCH_SECONDS, _GPU_BATCH_SECONDS = 20.0, 160.0
_FORMAT = 1
_STATE, _TENSORS = "state.json", "tensors.safetensors"


class Processes:
    """This process among those that train one network together; alone without torchrun.

    Parameters
    ----------
    device : str
        As `Resources.device`; with torchrun on GPUs, ``"auto"`` and ``"cuda"`` are the process's own one.

    Raises
    ------
    RunnerError
        The launcher promised another number of processes than found each other, or started fewer than it was told.
    """

    def __init__(self, device: str = "auto") -> None:
        from accelerate import PartialState

        chosen = choose_device(device)
        self._state = PartialState(cpu=chosen == "cpu")
        self.count, self.number = int(self._state.num_processes), int(self._state.process_index)
        self._require_promised()
        own = self.count > 1 and chosen.startswith("cuda")
        self.device = torch.device(self._state.device if own else chosen)
        if self.count > 1:
            atexit.register(self._state.destroy_process_group)  # left alone, a group may abort at the end

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.number == 0

    def _require_promised(self) -> None:
        promised = int(os.environ.get("WORLD_SIZE", "1"))
        if promised != self.count:
            raise RunnerError(f"{promised} processes were started to train together, {self.count} found each other")
        if self.count == 1 and _is_left_alone(os.environ):
            raise RunnerError(
                "accelerate launch was asked for several processes and started one: "
                "run torchrun --nproc-per-node N -m embedx ... instead"
            )

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors (float32, on this process's device) by their sums over all processes."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        flat: Any = reduce(torch.cat([tensor.reshape(-1) for tensor in tensors]), reduction="sum")
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    def wait(self) -> None:
        """Return when every process has come here."""
        self._state.wait_for_everyone()


def _is_left_alone(environment: Mapping[str, str]) -> bool:
    """Say whether accelerate names a meeting place, as for several processes, but no number of them."""
    launched = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    return launched and "WORLD_SIZE" not in environment


class MemoryBudget:
    """How much is computed at a time, and in which dtype: changes speed and memory, not the result.

    Parameters
    ----------
    seconds : float
        Padded seconds of audio in a batch; one longer clip is a batch of its own.
    sample_rate : int
        Hertz.
    device : torch.device
        Where it is computed.
    compute_dtype : {'float32', 'bfloat16'}
        In bfloat16 weights stay float32 and torch's autocast casts (CUDA only: on CPUs the backward pass of
        convolutions is many times slower in bfloat16).

    Examples
    --------
    >>> budget = MemoryBudget(8.0, sample_rate=16_000, device=torch.device("cpu"))
    >>> def compute():
    ...     if budget.seconds > 3:
    ...         raise torch.OutOfMemoryError("no room")
    ...     return "done"
    >>> budget.spend(compute), budget.seconds
    ('done', 2.0)
    """

    def __init__(
        self, seconds: float, *, sample_rate: int, device: torch.device, compute_dtype: str = "float32"
    ) -> None:
        self.seconds, self.sample_rate, self.device = float(seconds), sample_rate, device
        self.compute_dtype = compute_dtype

    @classmethod
    def of(cls, settings: FineTuneSettings, processes: Processes, *, sample_rate: int) -> MemoryBudget:
        """Return what settings say for the device of this process."""
        device = processes.device
        seconds = settings.batch_seconds or (_GPU_BATCH_SECONDS if device.type == "cuda" else _CPU_BATCH_SECONDS)
        dtype = training_dtype(settings.compute_dtype, device.type)
        return cls(seconds, sample_rate=sample_rate, device=device, compute_dtype=dtype)

    @property
    def samples(self) -> int:
        """The budget in samples."""
        return round(self.seconds * self.sample_rate)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that the network runs in."""
        if self.compute_dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def spend(self, compute: Callable[[], _T], *, undo: Callable[[], None] | None = None) -> _T:
        """Call ``compute`` until it fits, with half the budget after each time that memory ran out.

        Parameters
        ----------
        compute : callable
            Reads the budget anew each time.
        undo : callable, optional
            Takes back what a failed call left, such as gradients.

        Raises
        ------
        RunnerError
            Half a second at a time is too much.
        """
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
            if undo is not None:
                undo()
            release_memory(self.device.type)

    def _halve(self, error: BaseException) -> None:
        if self.seconds <= _LEAST_SECONDS:
            raise RunnerError(
                "memory ran out with a single clip: use shorter windows (--window-seconds), "
                "--gradient-checkpointing, --freeze encoder or a smaller encoder"
            ) from error
        self.seconds /= 2


def training_dtype(dtype: str, device: str) -> str:
    """Turn ``"auto"`` into what trains fastest: bfloat16 on GPUs that have it, float32 on CPUs.

    Examples
    --------
    >>> training_dtype("auto", "cpu")
    'float32'
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


class Checkpoints:
    """The newest checkpoint of one training, in a folder.

    A checkpoint is written beside the one before and renamed when it is complete, so there is a whole
    one at any moment after the first.

    Parameters
    ----------
    folder : path-like or None
        None keeps none.
    identity : mapping
        What the training is: settings and data. A checkpoint of another training is refused.
    writes : bool
        False in all processes but the first.

    Examples
    --------
    >>> Checkpoints(None, {}).load() is None
    True
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, identity: Mapping[str, Any], *, writes: bool = True
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self.writes, self._warned = writes, False

    def require_folder(self) -> Checkpoints:
        """Make the folder, before anything is trained.

        Raises
        ------
        ParameterError
            It cannot be made.
        """
        try:
            if self.folder is not None and self.writes:
                self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"no folder for checkpoints can be made at {self.folder} ({error.strerror}): give another place"
            ) from error
        return self

    def save(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bool:
        """Write one checkpoint and remove those before it; say whether that could be done.

        Warns
        -----
        CheckpointWarning
            It could not, for lack of room, say. The one before stays; a training need not end for that.
        """
        if self.folder is None or not self.writes:
            return False
        from safetensors import SafetensorError

        draft = self.folder / ".draft"
        try:
            self._write(draft, state, tensors)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            self._warn(error)
            return False
        return True

    def _write(self, draft: Path, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file

        place = draft.with_name(f"step-{state['attempt']}-{state['step']:09d}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        record = {"format": _FORMAT, "identity": self.identity, "state": state}
        (draft / _STATE).write_text(json.dumps(record), encoding="utf-8")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, draft / _TENSORS)
        replace_folder(draft, place)
        for older in self._found():
            if older != place:
                shutil.rmtree(older, ignore_errors=True)

    def _warn(self, error: Exception) -> None:
        """Say it once: the next checkpoint may find room again."""
        if self._warned:
            return
        self._warned = True
        kept = "the one before is kept" if self._found() else "there is none yet"
        why = getattr(error, "strerror", None) or error
        warnings.warn(
            f"no checkpoint could be written to {self.folder} ({why}): the training goes on, {kept}; make room there",
            CheckpointWarning,
            stacklevel=2,
        )

    def load(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Return the newest state and its tensors; None when there is none.

        Raises
        ------
        ParameterError
            It belongs to another training; the message says what differs.
        ModelFormatError
            It cannot be read.
        """
        found = self._found()
        if not found:
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            record = json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(found[-1] / _TENSORS)
            identity, state, known = record["identity"], record["state"], record["format"] == _FORMAT
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelFormatError(f"checkpoint {found[-1]} cannot be read ({error}): delete it") from error
        if not known:
            raise ModelFormatError(f"checkpoint {found[-1]} is of another format: delete it")
        self._require_same(identity)
        return state, tensors

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else lies in it."""
        if self.folder is None or not self.writes or not self.folder.is_dir():
            return
        for place in [*self._found(), self.folder / ".draft"]:
            shutil.rmtree(place, ignore_errors=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def what_is_kept(self) -> str:
        """What an interrupted training leaves, and how it is resumed, in one line."""
        found = self._found()
        if not found:
            return f"no checkpoint could be kept in {self.folder}"
        return f"its state is kept in {found[-1]}: the same training with resume=True (--resume) goes on from there"

    def warn_if_replaced(self) -> None:
        """Warn that a training begins anew where another one left a checkpoint, which goes with the first new one."""
        if self._found() and self.writes:
            warnings.warn(
                f"{self._found()[-1]} is the checkpoint of a training whose model was not saved: it is replaced now; "
                "resume=True (--resume) would have resumed it",
                CheckpointWarning,
                stacklevel=2,
            )

    def _found(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("step-*-*"))

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        names = sorted({*identity, *self.identity})
        other = [name for name in names if identity.get(name) != self.identity.get(name)]
        if other:
            pairs = ", ".join(
                f"{name} {identity.get(name)!r} there, {self.identity.get(name)!r} here" for name in other
            )
            raise ParameterError(
                f"the checkpoint in {self.folder} belongs to another training ({pairs}): give the same options and "
                "data to resume it, or leave --resume out to start anew"
            )


class Interrupt:
    """Whether somebody asked for the end.

    Attributes
    ----------
    asked : bool
        True after the first Ctrl-C; the second one ends everything at once.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: Any) -> None:
        """Take a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def wait_for_step(*, wanted: bool) -> Iterator[Interrupt]:
    """Hold Ctrl-C back while a training runs that can keep its state.

    Parameters
    ----------
    wanted : bool
        False leaves Ctrl-C as it is; so does a thread other than the main one, or a handler of somebody else.

    Examples
    --------
    >>> with wait_for_step(wanted=True) as interrupt:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interrupt.asked
    True
    """
    interrupt = Interrupt()
    alone = threading.current_thread() is threading.main_thread()
    if not wanted or not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
