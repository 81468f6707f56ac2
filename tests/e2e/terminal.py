"""A program in a terminal of tmux: keys go in as a user types them, and the screen is looked at."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 100, 24
PATIENCE_S = 60.0


def until(condition: Callable[[], Any], what: Callable[[], str], patience_s: float = PATIENCE_S) -> Any:
    """Wait for a true value of `condition`, and return it; `what` tells what was there instead."""
    end = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {patience_s} s: {what()}"
        time.sleep(0.02)
    return value


class Terminal:
    """One program in a terminal of its own. Needs tmux."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets the socket."""
        self._tmux = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]

    def run(self, command: Sequence[str | Path], environment: dict[str, str]) -> None:
        """Start the program, and wait until there is something on the screen."""
        variables = {"LC_ALL": "C.UTF-8", **environment}
        settings = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
        size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
        self._run_tmux("new-session", "-d", *size, *settings, shlex.join(map(str, command)))
        until(lambda: any(self.screen()), lambda: "an empty screen")

    def stop(self) -> None:
        """End the program and the terminal."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)

    def _run_tmux(self, *words: str) -> str:
        run = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True, timeout=30)
        return run.stdout

    def type(self, text: str) -> None:
        """Type characters."""
        self._run_tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Tab, M-w, Escape."""
        self._run_tmux("send-keys", *keys)

    def screen(self) -> list[str]:
        """The lines that a user sees."""
        return self._run_tmux("capture-pane", "-p").splitlines()

    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor on the screen, from 0."""
        column, row = self._run_tmux("display-message", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def pid(self) -> int:
        """The program's process."""
        return int(self._run_tmux("display-message", "-p", "#{pane_pid}"))
