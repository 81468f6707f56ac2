"""Programs of the system that tests need: found, or installed if we may. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess

from setup_venv import DEBIAN, SetupError


def need_program(program: str, package: str, why: str) -> None:
    """Make sure that `program` is there; as root on Debian, `package` is installed for it.

    `why` goes on "PROGRAM, …". Raises SetupError if it is missing and cannot be installed.
    """
    if shutil.which(program):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"setup: installing {package} with apt-get", flush=True)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True)
        subprocess.run(install, env=environment, capture_output=True)
    if shutil.which(program) is None:
        raise SetupError(f"{program}, {why}, is missing {DEBIAN.format(package)}")
