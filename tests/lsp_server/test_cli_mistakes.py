"""What a newcomer gets wrong: one sentence on stderr that says what to do, an exit code, never a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lsp_server.__main__ import main

CODE = "def add_numbers(first_number, second_number):\n    return first_number\n\n\n" * 9


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of several kinds, and no model on the machine."""
    monkeypatch.setenv("MIDWORD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "empty.py").write_bytes(b"")
    (tmp_path / "latin.py").write_bytes(b"caf\xe9 = 1\n")
    (tmp_path / "binary").write_bytes(b"a\0b\n")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0")
    (tmp_path / "folder").mkdir()
    return tmp_path


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run `midword` and return the one line of its complaint."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert status == code and line.startswith("midword")
    return line


def at(line: int, column: int) -> list[str]:
    return ["--line", str(line), "--column", str(column)]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "COMMAND; see `midword --help`"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["complete"], "FILE, --line, --column; see `midword complete --help`"),
        (["complete", "code.py", "--line", "x", "--column", "1"], "invalid int value: 'x'"),
        (
            ["complete", "code.py", *at(1, 1), "--context", "0"],
            "'0' found, a whole number from 1 on expected",
        ),
        (["complete", "code.py", *at(1, 1), "--seed", "-1"], "'-1' found, a whole number from 0 on expected"),
        (["explain", "code.py", *at(1, 1), "--rows", "none"], "'none' found"),
        (["next-bytes", "--prefix-file", "code.py", "--contexts", "0"], "'0' found"),
        (["bench", "start", "--times", "0"], "'0' found, a whole number from 1 on expected"),
        (["bench", "replay", "--keys", "-3"], "'-3' found"),
        (["bench", "replay", "--speed", "0"], "'0' found, a number above 0 expected"),
        (["bench", "replay", "--speed", "nan"], "'nan' found"),
        (["bench", "replay", "--peer", "llama-server"], ".venv-peers/bin/python cannot be run; try: make"),
        (["eval", "sweep", "--items", "0"], "'0' found"),
        (["lsp", "--tcp", "abc"], "'abc' found, a port, a whole number from 0 to 65535 expected"),
        (["lsp", "--tcp", "65536"], "'65536' found"),
    ],
)
def test_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    assert part in sentence(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nothing.py", *at(1, 1)], "cannot read nothing.py: No such file"),
        (["folder", *at(1, 1)], "folder is a directory, expected a file"),
        (["latin.py", *at(1, 1)], "latin.py is not UTF-8 text (byte 3 is 0xe9)"),
        (["binary", *at(1, 1)], "binary is a binary file (byte 1 is 0x00), expected text"),
        (["code.py", *at(99, 1)], "line 99 is outside the file, which has 37 lines"),
        (["code.py", *at(0, 1)], "line 0 is outside the file"),
        (["code.py", *at(1, 99)], "column 99 is outside line 1"),
        (["empty.py", *at(2, 1)], "line 2 is outside the file, which has 1 line"),
        (["code.py", *at(1, 1), "--model", "nothing"], "there is no model named 'nothing'"),
        (["code.py", *at(1, 1), "--model", "smollm2-135m:q9"], "'q9' is not a weight type"),
        (["code.py", *at(1, 1), "--model", "nothing.gguf"], "there is no file nothing.gguf"),
        (["code.py", *at(1, 1), "--model", "cut.gguf"], "cut.gguf is truncated"),
        (["code.py", *at(1, 1), "--model", "./code.py"], "code.py is not a GGUF file"),
    ],
)
def test_files_cursors_and_models(
    capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert part in sentence(capsys, "complete", *arguments)


def test_a_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDWORD_HOME", "code.py")
    for arguments in (["complete", "code.py", *at(1, 1)], ["models", "pull"], ["stats", "--delete"]):
        assert "Not a directory" in sentence(capsys, *arguments)


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = sentence(capsys, "lsp", "--tcp", str(port))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another port" in said


def test_a_measurement_of_a_model_that_does_not_exist(capfd: pytest.CaptureFixture[str]) -> None:
    """The server says why it shows nothing, and that is passed on."""
    assert main(["bench", "start", "--file", "code.py", "--model", "nothing", "--times", "1"]) == 2
    assert "midword: there is no model named 'nothing'" in capfd.readouterr().err.splitlines()[-1]


@contextmanager
def running(command: list[str], **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that an interrupt reaches, even where this one ignores it, as a job of a shell does."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings)
    finally:
        signal.signal(signal.SIGINT, former)
    with process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str]) -> str:
    """What the process says once it is interrupted; it has ended then."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[1]


@pytest.mark.skipif(os.name != "posix", reason="interrupts as a terminal of Unix does")
def test_control_c() -> None:
    with running([sys.executable, "-P", "-m", "lsp_server", "lsp", "--tcp", "0"]) as process:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        assert interrupted(process) == "midword: interrupted\n"
        assert process.returncode == 130


@pytest.mark.skipif(os.name != "posix", reason="interrupts as a terminal of Unix does")
def test_control_c_during_a_download(folder: Path) -> None:
    """pip is stopped too, and nothing half is left; its stand-in says when it is at work."""
    pip = folder / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text("import time\nopen('started', 'w').close()\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "lsp_server", "models", "pull", "smollm2-135m"]
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    with running(command, env={**os.environ, "PYTHONPATH": paths}) as process:
        while not (folder / "started").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
        said = interrupted(process)
        assert process.returncode == 130
    assert said.splitlines()[-1] == "midword: interrupted" and "Traceback" not in said
    assert not [path for path in (folder / "home" / "models" / "smollm2-135m").rglob("*") if path.is_file()]
