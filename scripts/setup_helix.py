"""Get what `make test-helix` needs: tmux and Helix, which Debian has from 13 on.

Prints nothing if all is there. Run by the Makefile after scripts/setup; standard library only.
"""

from __future__ import annotations

import sys

from setup_venv import SetupError
from system_packages import need_program


def main() -> int:
    """Returns 0, or 2 after one sentence on stderr."""
    try:
        need_program("tmux", "tmux", "which Helix is tested in")
        need_program("hx", "hx", "Helix, which docs/clients.md is tested with")
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
