from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    """The shared helpers; they lie beside the fault driver, which is a script."""
    place = Path(__file__).with_name("lab.py")
    spec = importlib.util.spec_from_file_location("store_lab", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["store_lab"] = module
    spec.loader.exec_module(module)
    return module
