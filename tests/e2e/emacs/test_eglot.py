"""Emacs with eglot in a terminal: the same text as ordinary completion, by the option `completionItems`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal, until

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.long]
ROOT = Path(__file__).parents[3]
INIT = Path(__file__).with_name("init.el")
SERVER = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--stdio"]


class Emacs(Terminal):
    """Emacs in a terminal, and what it answers to Lisp."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def start(self, path: Path) -> None:
        """Open `path` and wait until eglot has a server for it."""
        assert shutil.which("emacs"), "Emacs is missing: run `make test-emacs`"
        command = ["emacs", "-nw", "-q", "--load", INIT, path]
        environment = {
            "MIDWORD_TEST_COMMAND": " ".join(SERVER),
            "MIDWORD_TEST_FOLDER": str(self._folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        self.run(command, environment)
        until((self._folder / "server").exists, lambda: "\n".join(self.screen()))
        until(lambda: self.lisp("(if (eglot-current-server) 1)"), lambda: "\n".join(self.screen()))

    def lisp(self, expression: str) -> object:
        """The value of an expression in the buffer that is shown."""
        here = f"(with-current-buffer (window-buffer) (json-encode {expression}))"
        command = ["emacsclient", "--socket-name", self._folder / "server", "--eval", here]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        return json.loads(json.loads(run.stdout))


@pytest.fixture
def emacs(tmp_path: Path) -> Iterator[Emacs]:
    emacs = Emacs(tmp_path)
    yield emacs
    emacs.stop()


def press_until(emacs: Emacs, condition: Callable[[], object]) -> None:
    """Ask for completion, again if nothing came: eglot gives up after 10 s, and a model may be loading."""
    for _ in range(5):
        emacs.press("F5")
        with contextlib.suppress(AssertionError):
            until(condition, lambda: "nothing came", patience_s=20)
            return
    raise AssertionError("\n".join(emacs.screen()))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_half_an_identifier_is_completed_at_point(emacs: Emacs, tmp_path: Path, ending: str) -> None:
    subprocess.run([*SERVER[:4], "models", "pull"], check=True, capture_output=True, timeout=600)
    source = "# 😀é\n" + (ROOT / "demo" / "orders.py").read_text()
    path = tmp_path / "orders.py"
    before, _, after = source.partition("mer] += order.order_total()")
    path.write_bytes((before + after).replace("\n", ending).encode())
    emacs.start(path)
    emacs.lisp(f"(progn (goto-char {len(before) + 1}) 1)")
    assert emacs.lisp("(buffer-substring (line-beginning-position) (point))") == "        totals[order.custo"
    moved = (
        f"(if (and (> (point) {len(before) + 1}) (string-suffix-p {json.dumps(after)} (buffer-string))) 1)"
    )
    press_until(emacs, lambda: emacs.lisp(moved))
    taken = emacs.lisp(f"(buffer-substring {len(before) + 1} (point))")
    assert isinstance(taken, str) and taken.startswith("mer") and "\n" not in taken
    assert any(f"totals[order.custo{taken}" in line for line in emacs.screen())
    emacs.press("C-x", "C-s")
    until(lambda: emacs.lisp("(if (buffer-modified-p) 0 1)") == 1, lambda: "\n".join(emacs.screen()))
    assert path.read_bytes() == (before + taken + after).replace("\n", ending).encode()
