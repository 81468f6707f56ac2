"""An LSP client this project did not write types half an identifier and is given the rest of it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node import NODE_CLIENT, SCRIPTED_ENGINE, SERVER

pytestmark = pytest.mark.e2e
CANCELLED = -32800
SOURCE = """\
# Stored items, with a total. Äöü 😀
class Storage:
    def __init__(self) -> None:
        self.items: list[float] = []

    def compute_total(self, items: list[float]) -> float:
        return sum(items)

    def report(self) -> str:
        total = self.
        return f"{total:.2f}"
"""


def type_into_the_file(node: str, folder: Path, server: list[str], key_ms: int, wait_ms: int) -> Any:
    source = folder / "storage.py"
    source.write_text(SOURCE)
    line = next(n for n, text in enumerate(SOURCE.splitlines()) if text.endswith("self."))
    scenario = {
        "path": str(source),
        "uri": source.as_uri(),
        "line": line,
        "character": len(SOURCE.splitlines()[line]),
        "typed": "comp",
        "keyMs": key_ms,
        "waitMs": wait_ms,
    }
    (folder / "scenario.json").write_text(json.dumps(scenario))
    argv = [node, "client.mjs", str(folder / "scenario.json"), *server]
    answer = subprocess.run(
        argv, cwd=NODE_CLIENT, capture_output=True, text=True, timeout=60 + wait_ms / 1000
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def assert_completed(answer: Any) -> str:
    """What every engine owes: one item at the cursor, a clean end. Returns the item's text."""
    assert answer["capabilities"]["inlineCompletionProvider"] == {}
    assert answer["messages"] == [] and answer["exitCode"] == 0
    assert answer["codes"][-1] is None
    assert set(answer["codes"][:-1]) <= {None, CANCELLED}
    item = answer["items"][0]
    cursor = {"line": 9, "character": len("        total = self.comp")}
    assert item["range"] == {"start": cursor, "end": cursor}
    assert item["command"]["command"] == "midword.accepted"
    text: str = item["insertText"]
    return text


def test_half_an_identifier_with_the_scripted_engine(node: str, tmp_path: Path) -> None:
    engine = shlex.join([sys.executable, str(SCRIPTED_ENGINE), "--step-ms", "30"])
    answer = type_into_the_file(node, tmp_path, [*SERVER, "--engine-command", engine], 20, 20_000)
    assert answer["codes"] == [CANCELLED] * 3 + [None]
    assert assert_completed(answer) == "ute_total(items)"


@pytest.mark.model
def test_half_an_identifier_with_the_default_model(
    node: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--engine", default="scripted") != "real":
        pytest.skip("run with --engine real")
    answer = type_into_the_file(node, tmp_path, SERVER, 80, 60_000)
    assert assert_completed(answer).startswith("ute_total")
