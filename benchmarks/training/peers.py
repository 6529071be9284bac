"""Data parallel training on a crowded machine: single-threaded processes that meet once a step."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed


class Peers:
    """The processes of one run; alone, everything is a no-op."""

    def __init__(self, rank: int = 0, n: int = 1, *, meeting: Path | None = None) -> None:
        self.rank, self.n = rank, n
        if n > 1:
            distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=n)

    def share(self, gradients: list[torch.Tensor], seconds: float) -> float:
        """Average gradients in place over all processes; returns the mean of `seconds`, so that all clocks agree."""
        if self.n == 1:
            return seconds
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [torch.tensor([seconds])])
        distributed.all_reduce(flat)
        flat /= self.n
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, flat[:-1].split(sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))
        return float(flat[-1])
