"""Get what `make test-emacs` needs: tmux, Emacs, and eglot, which is part of Emacs from 29 on.

Prints nothing if all is there. Run by the Makefile after scripts/setup; standard library only.
"""

from __future__ import annotations

import subprocess
import sys

from setup_venv import SetupError
from system_packages import need, need_program


def has_eglot() -> bool:
    """Whether Emacs finds eglot."""
    load = "(progn (package-initialize) (require 'eglot))"
    return subprocess.run(["emacs", "--batch", "-q", "--eval", load], capture_output=True).returncode == 0


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    try:
        need_program("tmux", "tmux", "which Emacs is tested in")
        need_program("emacs", "emacs-nox", "which docs/clients.md is tested with")
        need(has_eglot, "elpa-eglot", "eglot, the LSP client of Emacs")
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
