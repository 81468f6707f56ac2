"""Neovim's own inline completion (0.12): the plugin's option for it, and the settings of docs/clients.md."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neovim.editor import PROGRAM, ROOT, Neovim
from tests.e2e.terminal import until

pytestmark = [pytest.mark.e2e]
LINE = "# 😀 é; x.hel"


def has_own_client() -> bool:
    """Whether the Neovim under test is 0.12 or newer."""
    if not PROGRAM.exists():
        return False
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"NVIM v(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= (0, 12)


def assert_shown_and_taken(editor: Neovim, path: Path) -> None:
    """Typed in the middle of the first line; the second is below it."""
    editor.type("ggA" + LINE)
    editor.wait_for_screen(LINE + "lo()")
    assert editor.lines() == [LINE, "end"], "it is not in the buffer"
    editor.press("Tab")
    until(lambda: editor.lines() == [LINE + "lo()", "end"], lambda: "\n".join(editor.screen()))
    editor.leave_insert_mode()
    assert editor.written(path) == f"{LINE}lo()\nend\n".encode()


if has_own_client():

    def test_the_plugin_leaves_it_to_neovim(
        open_editor: Any, tmp_path: Path, scripted: list[str], attached: Callable[[Neovim], None]
    ) -> None:
        path = tmp_path / "a.py"
        path.write_text("\nend\n")
        editor = open_editor(path, cmd=scripted, plugin={"native": True}, alternatives=3)
        attached(editor)
        assert_shown_and_taken(editor, path)
        editor.type("Goeither ")
        editor.wait_for_screen("either left")
        editor.press("M-n")
        editor.wait_for_screen("either right")
        editor.press("M-p")
        editor.wait_for_screen("either left")
        editor.press("Tab")
        until(lambda: editor.lines()[-1] == "either left", lambda: str(editor.lines()))

    @pytest.fixture
    def without_plugin(tmp_path: Path, scripted: list[str]) -> Iterator[Neovim]:
        """The settings of docs/clients.md, with this repository's command and an engine of known texts."""
        (settings,) = re.findall(r"```lua\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)
        command = "{ " + ", ".join(map(json.dumps, scripted)) + " }"
        assert '{ "midword", "lsp", "--stdio" }' in settings
        init = tmp_path / "init.lua"
        init.write_text(settings.replace('{ "midword", "lsp", "--stdio" }', command))
        editor = Neovim(tmp_path, {}, init)
        yield editor
        editor.stop()

    def test_the_settings_of_the_documentation(
        without_plugin: Neovim, tmp_path: Path, attached: Callable[[Neovim], None]
    ) -> None:
        path = tmp_path / "a.py"
        path.write_text("\nend\n")
        without_plugin.start(path)
        attached(without_plugin)
        assert_shown_and_taken(without_plugin, path)

else:

    def test_an_older_neovim_says_that_it_has_none(
        open_editor: Any, tmp_path: Path, scripted: list[str]
    ) -> None:
        editor = open_editor(tmp_path / "a.py", cmd=scripted, plugin={"native": True})
        editor.wait_for_screen("option native needs Neovim 0.12 or newer")
