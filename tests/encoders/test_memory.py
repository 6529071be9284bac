"""A machine that runs out of memory says so in one way, whoever noticed it."""

import subprocess
import sys

import pytest

STARVED = """
import re, resource, sys
from pathlib import Path
import numpy as np
import torch
from embedx.encoders.resolve import load_encoder, resolve_encoder
from embedx.encoders.device import is_out_of_memory
from embedx.extract.compute import ClipEncoder, Window
from embedx.extract.planning import RecipePlan
from embedx.recipe import Resources

def limit(spare):
    size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + spare, resource.RLIM_INFINITY))

plan = RecipePlan({"compute_dtype": "float32"}, encoder="tiny")
short = np.zeros(16_000, np.float32)
long = np.random.default_rng(0).standard_normal(16_000 * 300).astype(np.float32)
encoder = load_encoder(plan.info, layers=plan.recipe.layers)
encoder.pooled([short])
"""


def starved(script):
    done = subprocess.run([sys.executable, "-c", STARVED + script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_clip_for_which_a_cpu_has_no_memory_costs_only_its_own_row():
    """The allocator's own error is read as one; clips that shared the batch are computed."""
    script = """
with ClipEncoder(plan.recipe, plan.info, Resources(device="cpu", threads=1)) as starving:
    list(starving.encode([Window(0, 0, short)]))
    limit(60 * 2**20)
    rows = list(starving.encode(Window(i, 0, long if i == 1 else short) for i in range(3)))
print(*sorted((row.window.clip, row.embedding is not None) for row in rows))
try:
    torch.empty(2**33)
except RuntimeError as error:  # of a CPU: no torch.OutOfMemoryError
    print(type(error).__name__, is_out_of_memory(error))
try:
    encoder.pooled([long])
except MemoryError:
    print("MemoryError")
"""
    assert " ".join(starved(script)) == "(0, True) (1, False) (2, True) RuntimeError True MemoryError"


@pytest.mark.parametrize("text", ["CUDA out of memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_what_libraries_say_of_a_shortage_is_known(text):
    from embedx.encoders.device import as_memory_error

    with pytest.raises(MemoryError, match=text), as_memory_error():
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shape"), as_memory_error():
        raise RuntimeError("shape mismatch")
