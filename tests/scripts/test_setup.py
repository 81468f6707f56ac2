"""The set-up says what is missing before it makes anything, and reads what pip, ninja and make say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with nothing in it."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def refusal(command: list[str], path: Path, **environment: str) -> str:
    """The one sentence of a set-up that cannot be done."""
    answer = subprocess.run(
        command, env={"PATH": str(path), **environment}, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 2 and answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    return line


def test_without_a_compiler(bare_path: Path) -> None:
    said = refusal([sys.executable, str(SCRIPTS / "setup_venv.py"), "run"], bare_path)
    assert said.startswith("setup: a C compiler") and "apt install build-essential" in said


def test_without_a_cxx_compiler(bare_path: Path) -> None:
    said = refusal([sys.executable, str(SCRIPTS / "setup_venv.py"), "run"], bare_path, CC=sys.executable)
    assert said.startswith("setup: a C++ compiler") and "apt install build-essential" in said


def test_without_node(bare_path: Path) -> None:
    compilers = {"CC": sys.executable, "CXX": sys.executable}
    said = refusal([sys.executable, str(SCRIPTS / "setup_venv.py"), "test"], bare_path, **compilers)
    assert said.startswith("setup: node") and "apt install nodejs" in said


@pytest.mark.parametrize("python", [None, "#!/bin/sh\nexit 1\n"])
def test_without_a_python_that_is_new_enough(bare_path: Path, python: str | None) -> None:
    (bare_path / "dirname").write_text('#!/bin/sh\necho "${1%/*}"\n')
    (bare_path / "dirname").chmod(0o755)
    if python:
        (bare_path / "python3").write_text(python)
        (bare_path / "python3").chmod(0o755)
    said = refusal(["/bin/sh", str(SCRIPTS / "setup")], bare_path)
    assert said.startswith("setup: Python 3.11 or newer is missing") and "apt install python3" in said


def test_an_unknown_purpose(bare_path: Path) -> None:
    assert "expected run or test" in refusal([sys.executable, str(SCRIPTS / "setup_venv.py"), "x"], bare_path)


@pytest.fixture(scope="module")
def step_of() -> Callable[[str], str | None]:
    spec = importlib.util.spec_from_file_location("setup_progress", SCRIPTS / "setup_progress.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[str], str | None] = module.step_of
    return function


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  [37/193] Building CXX object vendor/x.o", "compiling llama.cpp, 37 of 193 files"),
        ("  [  4%] Building C object vendor/x.o", "compiling llama.cpp, 4 %"),
        ("Collecting pygls<3,>=2.1.1 (from midword==0.1.0)", "looking for pygls<3,>=2.1.1"),
        ("  Downloading https://x.org/a/rich-14-py3.whl (1 kB)", "downloading rich-14-py3.whl"),
        ("Installing collected packages: regex, numpy", "installing packages"),
        ("  Created temporary directory: /tmp/x", None),
    ],
)  # fmt: skip
def test_steps(step_of: Callable[[str], str | None], line: str, step: str | None) -> None:
    assert step_of(line) == step


@pytest.mark.parametrize(("script", "program"), [("setup_neovim.py", "luacheck"), ("setup_emacs.py", "tmux")])
def test_without_a_program_that_tests_run_in(bare_path: Path, script: str, program: str) -> None:
    said = refusal([sys.executable, str(SCRIPTS / script)], bare_path)
    assert said.startswith(f"setup: {program}, ") and "apt install" in said
