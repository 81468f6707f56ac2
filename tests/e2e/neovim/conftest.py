"""Neovim with the plugin, the real server and, with `--engine real`, the default model."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neovim.editor import ROOT, SCRIPTED_ENGINE, Neovim
from tests.e2e.terminal import until

SERVER = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--stdio"]
# The tests count what the engine is asked: no work ahead. A busy machine may take long to load the model.
OPTIONS = {"workAhead": False, "reportUsage": True, "deadlineMs": 60_000, "maxTokens": 16}
OpenEditor = Callable[..., Neovim]


@pytest.fixture
def open_editor(tmp_path: Path) -> Iterator[OpenEditor]:
    """Starts Neovim on files, with the server's options as keywords; `plugin` has those of setup()."""
    editors: list[Neovim] = []

    def start(*paths: Path, cmd: list[str], plugin: dict[str, Any] | None = None, **server: Any) -> Neovim:
        options = {"cmd": cmd, **(plugin or {}), "server": {**OPTIONS, **server}}
        editors.append(Neovim(tmp_path, options))
        editors[-1].start(*paths)
        return editors[-1]

    yield start
    for editor in editors:
        editor.stop()


@pytest.fixture(scope="session")
def default_model(pytestconfig: pytest.Config) -> list[str]:
    """The command of the real server, once the default model is here."""
    if pytestconfig.getoption("--engine", default="scripted") != "real":
        pytest.skip("run with --engine real")
    pull = [sys.executable, "-P", "-m", "lsp_server", "models", "pull"]
    subprocess.run(pull, check=True, capture_output=True, timeout=600)
    return SERVER


@pytest.fixture
def scripted(tmp_path: Path) -> list[str]:
    """The command of the real server with the scripted engine, for texts that a test has to know."""
    return [*SERVER, "--engine-command", shlex.join([sys.executable, str(SCRIPTED_ENGINE)])]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A copy of the demo's real Python file."""
    return Path(shutil.copy(ROOT / "demo" / "orders.py", tmp_path / "orders.py"))


@pytest.fixture
def attached() -> Callable[[Neovim], None]:
    """Waits until the server has answered for the current buffer."""

    def wait(editor: Neovim) -> None:
        ready = '#vim.lsp.get_clients({ bufnr = 0, name = "midword" }) == 1'
        until(lambda: editor.lua(ready), lambda: "\n".join(editor.screen()))

    return wait
