"""Runs code that a model wrote: in a process of its own, with little time, memory and disk, and no network.

The process gets a network namespace without devices where the system allows that; everywhere an audit hook,
which Python cannot remove, refuses sockets. This keeps accidents in; it is no fence against malice.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BOOTSTRAP = """
import ctypes, os, resource, runpy, sys
cpu_s, memory_bytes, file_bytes, token, *argv = sys.argv[1:]
for flags in (0x40000000, 0x50000000):  # CLONE_NEWNET, alone or with CLONE_NEWUSER
    if ctypes.CDLL(None).unshare(flags) == 0:
        break
for limit, value in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory_bytes),
                     (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, "0")):
    resource.setrlimit(limit, (int(value), int(value)))
def refuse(event, arguments):
    if event.startswith("socket."):
        raise PermissionError("no network in here")
sys.addaudithook(refuse)
end, write = os.dup(1), os.write
if argv[0] == "-m":
    sys.argv = argv[1:]
    sys.path.insert(0, os.getcwd())
    try:
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        if exit_.code:
            raise
else:
    with open(argv[0]) as program:
        exec(compile(program.read(), "program", "exec"), {"__name__": "__main__"})
write(end, token.encode())
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run. `wall_s` ends it even if it sleeps."""

    wall_s: float = 10.0
    cpu_s: int = 8
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20


def run(argv: Sequence[str], folder: Path, limits: Limits) -> bool:
    """Runs `[program.py]` or `["-m", module, …]` in `folder`: whether it came to its end without an error.

    A program that leaves early, even with exit code 0, has not come to its end; a module may exit with 0.
    """
    token = secrets.token_hex(16)
    bounds = [str(limits.cpu_s), str(limits.memory_bytes), str(limits.file_bytes)]
    command = [sys.executable, "-P", "-s", "-c", _BOOTSTRAP, *bounds, token, *argv]
    env = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=limits.wall_s)
    except subprocess.TimeoutExpired:
        said = b""
    finally:
        _kill_group(process)
    return process.returncode == 0 and said.endswith(token.encode())


def run_program(program: str, limits: Limits) -> bool:
    """Whether a Python program comes to its end without an error, in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="midword-eval-") as name:
        path = Path(name) / "program.py"
        path.write_text(program, encoding="utf-8", errors="surrogateescape")
        return run([str(path)], Path(name), limits)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The process and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
