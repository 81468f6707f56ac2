"""The native kernels, compiled from this checkout's sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from engine.models.lock import exclusive

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def native() -> ModuleType:
    """`engine_kernels._native`; built in place if it is older than its sources.

    Skipped only where there is no compiler, which `test_build` does not let pass where there is one.
    """
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("no C++ compiler")
    with exclusive(ROOT / "build" / "kernels.lock"):
        _build_if_older()
    assert find_spec("engine_kernels._native"), "the native kernels do not compile; see `pip install -v -e .`"
    return import_module("engine_kernels._native")


def _build_if_older() -> None:
    sources = [ROOT / "setup.py", *(ROOT / "kernels" / "native").iterdir()]
    built = list((ROOT / "kernels" / "engine_kernels").glob("_native.*.so"))
    if not built or built[0].stat().st_mtime < max(source.stat().st_mtime for source in sources):
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
