"""The processes of one training (torchrun), through accelerate: who am I, and sums over all."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from embedx.encoders.device import choose_device
from embedx.errors import RunnerError

__all__ = ["Processes"]


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
            _leave_at_exit(self._state)

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


_LEAVING: list[Any] = []


def _leave_at_exit(state: Any) -> None:
    """Without this a process group may abort when the interpreter ends."""
    if not _LEAVING:
        _LEAVING.append(state)
        atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        _LEAVING[0].destroy_process_group()
