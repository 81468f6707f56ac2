"""Set up `.venv` at the root of the repository: what `make demo` and `make test` need. Standard library only.

Reuses what is there: a stamp in the venv names the project file and interpreter it was made for. Says which
system package is missing, shows how far the compiler is, keeps all output in `.venv/setup.log`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setup_progress import show_progress

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
EXTRAS = {"run": "", "test": "[dev]"}
"""Purpose → extras of the distribution."""

DEBIAN = "(Debian, Ubuntu: apt install {})"


class SetupError(Exception):
    """One sentence: what is missing, and what to do."""


def check_system(purpose: str) -> None:
    """Raises SetupError for the first system package that is missing."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"Python's venv module is missing {DEBIAN.format('python3-venv')}")
    compilers = {"C": (os.environ.get("CC", ""), "cc", "gcc", "clang"),
                 "C++": (os.environ.get("CXX", ""), "c++", "g++", "clang++")}  # fmt: skip
    for language, names in compilers.items():
        if not any(name and shutil.which(name.split()[0]) for name in names):
            need = "which llama-cpp-python is compiled with, is missing"
            raise SetupError(f"a {language} compiler, {need} {DEBIAN.format('build-essential')}")
    if purpose == "test":
        for program, package in (("node", "nodejs"), ("npm", "npm")):
            if shutil.which(program) is None:
                need = "which one of the tests runs an LSP client with, is missing"
                raise SetupError(f"{program}, {need} {DEBIAN.format(package)}")


def make_venv() -> Path:
    """The venv's Python, made if there is none. Raises SetupError if what is there does not work."""
    python = VENV / "bin" / "python"
    if not VENV.exists():
        print(f"setup: making {VENV}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    works = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        subprocess.run([str(python), "-c", works], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise SetupError(
            f"{VENV} has no working Python 3.11 with pip; delete it and run this again"
        ) from None
    return python


def fingerprint(python: Path) -> str:
    """Changes when the dependencies, the native sources, the interpreter or the repository's place change."""
    native = sorted(path for path in (ROOT / "kernels" / "native").iterdir() if path.is_file())
    project = b"".join(path.read_bytes() for path in (ROOT / "pyproject.toml", ROOT / "setup.py", *native))
    return hashlib.sha256(project + str(python.resolve()).encode() + bytes(ROOT)).hexdigest()


def is_set_up(purpose: str, mark: str) -> bool:
    """Whether everything for `purpose` was installed, and the command still starts."""
    stamps = [VENV / f"setup-{name}.stamp" for name in {purpose, "test"}]
    if not any(stamp.is_file() and stamp.read_text() == mark for stamp in stamps):
        return False
    try:
        return (
            subprocess.run([str(VENV / "bin" / "midword"), "--version"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


def install(python: Path, purpose: str) -> None:
    """Install the repository, editable, with what it needs. Raises SetupError."""
    log = VENV / "setup.log"
    cores = str(os.cpu_count() or 1)
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": cores, **os.environ, "PYTHONUNBUFFERED": "1"}
    command = [str(python), "-m", "pip", "install", "-v", "--no-input", "--progress-bar", "off",
               "--disable-pip-version-check", "-e", f".{EXTRAS[purpose]}"]  # fmt: skip
    print("setup: installing into .venv; llama-cpp-python may compile for some minutes", flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    try:
        last_error = show_progress(process, log)
    except BaseException:
        process.terminate()
        raise
    if process.wait() != 0:
        raise SetupError(
            f"pip could not install midword: {last_error or 'no reason given'} (all of it: {log})"
        )


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    purpose = sys.argv[1] if len(sys.argv) > 1 else "run"
    if purpose not in EXTRAS:
        print(f"setup: {purpose!r} is unknown, expected {' or '.join(EXTRAS)}", file=sys.stderr)
        return 2
    try:
        check_system(purpose)
        python = make_venv()
        mark = fingerprint(python)
        if not is_set_up(purpose, mark):
            install(python, purpose)
            (VENV / f"setup-{purpose}.stamp").write_text(mark)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
