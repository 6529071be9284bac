from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fixtures() -> ModuleType:
    """The shared helpers; they lie beside the fault driver, which is a script."""
    place = Path(__file__).with_name("fixtures.py")
    spec = importlib.util.spec_from_file_location("store_fixtures", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["store_fixtures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of fsyncs take minutes on a busy disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(os.path.realpath(folder))
