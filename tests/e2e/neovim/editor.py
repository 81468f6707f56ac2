"""Neovim in a terminal: keys go in as a user types them; its screen and its state are looked at."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.terminal import Terminal, until

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / ".venv-neovim" / "neovim"
SCRIPTED_ENGINE = ROOT / "tests" / "lsp_server" / "scripted_engine.py"
INIT = Path(__file__).with_name("init.lua")
_NAMESPACE = 'vim.api.nvim_get_namespaces()["midword"]'


class Neovim(Terminal):
    """One Neovim with the plugin, in `folder`."""

    def __init__(self, folder: Path, options: dict[str, Any], init: Path = INIT) -> None:
        """`options` go to the plugin's setup(), if `init` has one."""
        assert PROGRAM.exists(), "Neovim is missing: run `make test-neovim`, or scripts/setup_neovim.py"
        super().__init__(folder)
        self.folder = folder
        self._init = init
        self._socket = folder / "nvim.sock"
        (folder / "options.json").write_text(json.dumps(options))

    def start(self, *paths: Path) -> None:
        """Open `paths`, and wait until there is something on the screen."""
        command = [PROGRAM, "--clean", "-n", "-u", self._init, "--listen", self._socket, *paths]
        environment = {
            "MIDWORD_TEST_OPTIONS": str(self.folder / "options.json"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        self.run(command, environment)
        until(self._socket.exists, lambda: "no socket")

    def wait_for_screen(self, words: str) -> None:
        """Wait until the user sees these words."""
        until(lambda: words in "\n".join(self.screen()), lambda: "\n".join(self.screen()))

    def leave_insert_mode(self) -> None:
        """Press Escape, and wait: with a key right behind it, a terminal means Alt and that key."""
        self.press("Escape")
        until(lambda: self.lua("vim.api.nvim_get_mode().mode") == "n", lambda: "\n".join(self.screen()))

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
        return [pid for pid in _below(self.pid()) if _is_engine(pid)]


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
