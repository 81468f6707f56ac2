"""Helix in a terminal, with the settings of docs/clients.md: items of its completion menu."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal, until

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROOT = Path(__file__).parents[3]
SCRIPTED_ENGINE = ROOT / "tests" / "lsp_server" / "scripted_engine.py"
SERVER = ["-P", "-m", "lsp_server", "lsp", "--stdio", "--engine-command"]
IN_DOCUMENT = 'command = "midword"\nargs = ["lsp", "--stdio"]\n'


class Helix(Terminal):
    """Helix in a terminal, and what a user sees in it."""

    def start(self, path: Path, configuration: Path) -> None:
        """Open `path` and wait until the server has been told of it; Helix does not ask before."""
        assert shutil.which("hx"), "Helix is missing: run `make test-helix`"
        folders = {"XDG_CONFIG_HOME": configuration, "XDG_CACHE_HOME": configuration / "cache"}
        log = configuration / "log"
        command = ["hx", "-v", "--log", log, path]
        self.run(command, {name: str(folder) for name, folder in folders.items()})
        told = 'midword -> {"jsonrpc":"2.0","method":"textDocument/didOpen"'
        until(lambda: log.exists() and told in log.read_text(), lambda: "\n".join(self.screen()))

    def wait_for(self, words: str) -> None:
        until(lambda: words in "\n".join(self.screen()), lambda: "\n".join(self.screen()))


def settings() -> str:
    """Those of docs/clients.md, with this repository's command and an engine of known texts."""
    (found,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)
    assert IN_DOCUMENT in found
    argv = [*SERVER, shlex.join([sys.executable, str(SCRIPTED_ENGINE)])]
    command = f"command = {json.dumps(sys.executable)}\nargs = {json.dumps(argv)}\n"
    return str(found).replace(IN_DOCUMENT, command)


@pytest.fixture
def helix(tmp_path: Path) -> Iterator[Helix]:
    (tmp_path / "helix").mkdir()
    (tmp_path / "helix" / "languages.toml").write_text(settings())
    helix = Helix(tmp_path)
    yield helix
    helix.stop()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_half_an_identifier_is_completed_in_the_menu(helix: Helix, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(f"# ü{ending}label = '😀é';  # end{ending}".encode())
    helix.start(path, tmp_path)
    helix.wait_for("label")
    helix.type("jf;a x.hel")
    helix.wait_for(" hello() ")
    helix.press("C-n", "Enter", "Escape")
    helix.wait_for("label = '😀é'; x.hello()  # end")
    helix.wait_for(" NOR ")  # with a key right behind it, Escape means Alt and that key
    helix.type(":w")
    helix.press("Enter")
    expected = f"# ü{ending}label = '😀é'; x.hello()  # end{ending}".encode()
    until(lambda: path.read_bytes() == expected, lambda: repr(path.read_bytes()))
