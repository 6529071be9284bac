"""Operations that wav2vec2-base needs, and what the machine can do at most."""

from __future__ import annotations

import time

import torch


def gflop(seconds: float) -> float:
    """Count GFLOP (a multiply-add is two) of one clip of so many seconds, layer by layer."""
    n = round(seconds * 16_000)
    total, channels = 0.0, 1
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        n = (n - kernel) // stride + 1
        total += 2 * n * kernel * channels * 512
        channels = 512
    dim = 768
    total += 2 * n * 512 * dim  # projection
    total += 2 * n * dim * (dim // 16) * 128  # positional convolution
    total += 12 * (2 * n * (4 * dim * dim + 2 * dim * 4 * dim) + 4 * n * n * dim)
    return total / 1e9


def peak_gflops(dtype: torch.dtype, *, size: int = 2048, repeats: int = 4) -> float:
    """Return the best rate of a square matrix product in this thread alone, by its CPU time."""
    a = torch.randn(size, size).to(dtype)
    n_threads, best = torch.get_num_threads(), 1e9
    torch.set_num_threads(1)  # another thread's share would not count into the time, but into the rate
    try:
        for _ in range(repeats):
            start = time.thread_time()
            a @ a
            best = min(best, time.thread_time() - start)
    finally:
        torch.set_num_threads(n_threads)
    return 2 * size**3 / best / 1e9
