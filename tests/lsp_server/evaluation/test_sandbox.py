"""The sandbox ends what does not end, and keeps code from memory, disk, network and early exits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lsp_server.evaluation.sandbox import Limits, run, run_program

QUICK = Limits(wall_s=20.0, cpu_s=1, memory_bytes=1 << 28, file_bytes=1 << 16)


def test_a_program_that_comes_to_its_end_has_run() -> None:
    assert run_program("assert sum(range(5)) == 10", QUICK)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "def f(:",
        "raise KeyboardInterrupt",
        "while True: pass",
        "x = bytearray(1 << 29)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "open('big', 'wb').write(bytes(1 << 20)); open('big', 'rb')",
    ],
    ids=[
        "fails",
        "exits",
        "leaves",
        "no syntax",
        "interrupts",
        "loops",
        "hoards",
        "hoards slowly",
        "fills disk",
    ],
)
def test_a_program_that_does_not_come_to_its_end_has_not(program: str) -> None:
    assert not run_program(program, QUICK)


def test_a_sleeper_is_ended_by_the_clock() -> None:
    before = time.monotonic()
    assert not run_program("import time; time.sleep(60)", Limits(wall_s=2.0))
    assert time.monotonic() - before < 30


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
    ],
)
def test_there_is_no_network(program: str) -> None:
    refused = "except OSError as e:\n    assert 'no network in here' in str(e)"
    caught = f"try:\n    {program}\n{refused}\nelse:\n    1 / 0"
    assert run_program(caught, QUICK)
    assert not run_program(program, QUICK)


def test_what_a_program_starts_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], stdout=-3)"
    run_program(program, Limits(wall_s=20.0))
    time.sleep(4)
    assert not mark.exists()


def test_pytest_runs_in_here(tmp_path: Path) -> None:
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    (tmp_path / "test_it.py").write_text("def test_it(): assert True")
    assert run(argv, tmp_path, Limits(wall_s=60.0))
    (tmp_path / "test_it.py").write_text("def test_it(): assert False")
    assert not run(argv, tmp_path, Limits(wall_s=60.0))
