"""Linear layers laid out for the device: on a CPU, oneDNN's packed weights with the activation fused."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

__all__ = ["Linear", "can_pack"]

_ROWS_HINT = 512


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Say whether oneDNN takes packed weights of this dtype here, and computes with them as fast as this CPU can.

    In float32 torch's own products are MKL's, which leaves half of an AMD core with AVX-512 idle; oneDNN does not.
    """
    has_ops = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if device.type != "cpu" or not has_ops:
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class Linear:
    """``x @ weight.T + bias``, then exact GELU where asked.

    Weights in plain layout are packed anew by every call of torch's own linear, which costs a third of the
    time on a CPU; here that is done once.

    Parameters
    ----------
    weight : tensor of shape (n_out, n_in)
        In any dtype.
    bias : tensor of shape (n_out,), optional
        Nothing is added when absent.
    gelu : bool
        Whether GELU (erf) follows.
    dtype : torch.dtype
        What is computed in.
    pack : bool
        Whether weights are packed where that can be.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        gelu: bool = False,
        dtype: torch.dtype,
        pack: bool = True,
    ) -> None:
        self.weight: Any = weight.detach().to(dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(dtype).contiguous()
        self.gelu, self.packed = gelu, pack and can_pack(dtype, weight.device)
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS_HINT)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to a tensor of shape (..., n_in)."""
        if self.packed:
            activation: tuple[Any, ...] = ("gelu", [], "none") if self.gelu else ("none", [], "")
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *activation)
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y
