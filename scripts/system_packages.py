"""What tests need of the system: found, or installed if we may. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from setup_venv import DEBIAN, SetupError


def need(is_there: Callable[[], bool], package: str, what: str) -> None:
    """Make sure that something is there; as root on Debian, `package` is installed for it.

    Raises SetupError, a sentence that starts with `what`, if it is missing and cannot be installed.
    """
    if is_there():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"setup: installing {package} with apt-get", flush=True)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True)
        subprocess.run(install, env=environment, capture_output=True)
    if not is_there():
        raise SetupError(f"{what}, is missing {DEBIAN.format(package)}")


def need_program(program: str, package: str, why: str) -> None:
    """The same for a program; `why` goes on "PROGRAM, …"."""
    need(lambda: shutil.which(program) is not None, package, f"{program}, {why}")
