"""What is installed: native kernels wherever there is a compiler, and a package that works without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engine import frontier, kernels
from engine_kernels import numpy_reference

ROOT = Path(__file__).parents[2]
WHICH = "from engine import kernels; print(kernels.NATIVE and kernels.NATIVE.__name__)"


def says(code: str, **environment: str) -> str:
    """What the installed package prints, away from this checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True, text=True, cwd=ROOT.anchor, env=kept | environment, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


@pytest.mark.e2e
def test_the_installed_package_has_native_kernels() -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("no C++ compiler")
    assert says(WHICH) == "engine_kernels._native", "not built though there is a compiler; run scripts/setup"


@pytest.mark.e2e
def test_the_installed_package_has_the_forward_pass() -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("no C++ compiler")
    which = "from engine.backends import native_weights; print(bool(native_weights.known_instructions()))"
    has_avx2 = "avx2" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
    assert says(which) == str(has_avx2), "not built though there is a compiler; run scripts/setup"


@pytest.mark.e2e
def test_the_environment_can_keep_to_numpy() -> None:
    assert says(WHICH, MIDWORD_KERNELS="numpy") == "None"


def test_all_kernels_are_used_through_the_facade(native: ModuleType) -> None:
    """Engine code imports no implementation; what is native is offered and defined in NumPy."""
    users = [path for path in (ROOT / "engine").rglob("*.py") if "numpy_reference" in path.read_text()]
    assert {path.name for path in users} == {"kernels.py", "kept.py"}
    assert native.CONTRACT == numpy_reference.CONTRACT
    offered = {name for name in dir(native) if callable(getattr(native, name)) and not name.startswith("_")}
    classes = {name for name in offered if isinstance(getattr(native, name), type)}
    assert classes - {"Transformer"} == {"Automaton", "Canon", "Context", "Frontier", "Pending"}
    assert classes - {"Automaton", "Transformer"} <= set(dir(frontier))
    offered -= classes
    assert len(offered) > 3 and offered <= set(dir(kernels)) and offered <= set(dir(numpy_reference))


def test_without_a_compiler_the_build_succeeds(tmp_path: Path) -> None:
    """The extension is optional: `build_ext` warns and goes on."""
    for part in ("kernels", "setup.py", "pyproject.toml"):
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, tmp_path / part)
    for built in (tmp_path / "kernels" / "engine_kernels").glob("_native.*.so"):
        built.unlink()
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = os.environ | {"CC": "/nowhere/cc", "CXX": "/nowhere/c++"}
    answer = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert "_native" in answer.stderr and "failed" in answer.stderr
    assert not list((tmp_path / "kernels" / "engine_kernels").glob("_native.*.so"))
