"""Neovim in a terminal of tmux: keys go in as a user types them; its screen and its state are looked at."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / ".venv-neovim" / "neovim"
SCRIPTED_ENGINE = ROOT / "tests" / "lsp_server" / "scripted_engine.py"
INIT = Path(__file__).with_name("init.lua")
WIDTH, HEIGHT = 100, 24
PATIENCE_S = 60.0
_NAMESPACE = 'vim.api.nvim_get_namespaces()["midword"]'


def until(condition: Callable[[], Any], what: Callable[[], str], patience_s: float = PATIENCE_S) -> Any:
    """Wait for a true value of `condition`, and return it; `what` tells what was there instead."""
    end = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {patience_s} s: {what()}"
        time.sleep(0.02)
    return value


class Neovim:
    """One Neovim with the plugin, in `folder`."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        """`options` go to the plugin's setup()."""
        assert PROGRAM.exists(), "Neovim is missing: run `make test-neovim`, or scripts/setup_neovim.py"
        self.folder = folder
        self._socket = folder / "nvim.sock"
        self._tmux = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]
        (folder / "options.json").write_text(json.dumps(options))

    def start(self, *paths: Path) -> None:
        """Open `paths`, and wait until there is something on the screen."""
        command = [PROGRAM, "--clean", "-n", "-u", INIT, "--listen", self._socket, *paths]
        environment = {
            "MIDWORD_TEST_OPTIONS": str(self.folder / "options.json"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "LC_ALL": "C.UTF-8",
        }
        settings = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
        self._run_tmux("new-session", "-d", *size, *settings, shlex.join(map(str, command)))
        until(lambda: self._socket.exists() and any(self.screen()), lambda: "an empty screen")

    def stop(self) -> None:
        """End Neovim and the terminal."""
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

    def leave_insert_mode(self) -> None:
        """Press Escape, and wait: with a key right behind it, a terminal means Alt and that key."""
        self.press("Escape")
        until(lambda: self.lua("vim.api.nvim_get_mode().mode") == "n", lambda: "\n".join(self.screen()))

    def screen(self) -> list[str]:
        """The lines that a user sees."""
        return self._run_tmux("capture-pane", "-p").splitlines()

    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor on the screen, from 0."""
        column, row = self._run_tmux("display-message", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def _remote(self, expression: str) -> subprocess.CompletedProcess[str]:
        command = [str(PROGRAM), "--server", str(self._socket), "--remote-expr", expression]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def lua(self, expression: str) -> Any:
        """The value of a Lua expression in the running Neovim. It must not be waiting at a message."""
        quoted = f"vim.json.encode({{ value = {expression} }})".replace("'", "''")
        run = self._remote(f"luaeval('{quoted}')")
        assert run.returncode == 0, run.stderr
        answer = json.loads(run.stdout)
        return answer["value"] if answer else None  # nil leaves the table empty

    def ghost(self) -> str:
        """The ghost text of the current buffer, from its marks; empty if there is none."""
        options = "{ details = true }"
        marks = self.lua(f"vim.api.nvim_buf_get_extmarks(0, {_NAMESPACE}, 0, -1, {options})")
        assert len(marks) <= 1, marks
        lines = [[mark["virt_text"], *mark.get("virt_lines", [])] for *_, mark in marks]
        return "\n".join("".join(text for text, _ in line) for line in (lines[0] if lines else []))

    def wait_for_ghost(self, condition: Callable[[str], Any] = bool) -> str:
        """The ghost text, once it is as `condition` wants it."""
        last = ""

        def is_there() -> bool:
            nonlocal last
            last = self.ghost()
            return bool(condition(last))

        until(is_there, lambda: f"the ghost text, last {last!r}, on\n" + "\n".join(self.screen()))
        return last

    def lines(self) -> list[str]:
        """The current buffer's lines."""
        lines: list[str] = self.lua("vim.api.nvim_buf_get_lines(0, 0, -1, true)")
        return lines

    def written(self, path: Path) -> bytes:
        """The bytes of the current buffer on disk, written now."""
        self.lua("vim.cmd.write({ mods = { silent = true } })")
        return path.read_bytes()

    def status(self) -> str:
        """The plugin's words for the statusline."""
        words: str = self.lua('require("midword").status()')
        return words

    def messages(self) -> str:
        """What `:messages` has."""
        messages: str = self.lua('vim.api.nvim_exec2("messages", { output = true }).output')
        return messages

    def engine_calls(self) -> int:
        """How often the engine was asked for anything, as the server tells."""
        return len([note for note in self.lua("_G.usage") if note["kind"] == "start"])

    def engine_pids(self) -> list[int]:
        """The engine processes below this Neovim."""
        pane = int(self._run_tmux("display-message", "-p", "#{pane_pid}"))
        return [pid for pid in _below(pane) if _is_engine(pid)]


def _is_engine(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in words or str(SCRIPTED_ENGINE).encode() in words


def _below(ancestor: int) -> list[int]:
    """All processes that `ancestor` started, directly or not."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]
