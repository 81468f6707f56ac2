"""Node with Microsoft's protocol library: an LSP client that this project did not write."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.models.lock import exclusive

NODE_CLIENT = Path(__file__).with_name("node_client")
SCRIPTED_ENGINE = Path(__file__).parents[1] / "lsp_server" / "scripted_engine.py"
SERVER = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--stdio"]
Step = dict[str, Any]


def node_with_packages() -> str:
    """Node, with the client's packages installed from the lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node and npm, "Node is missing; `scripts/setup test` says how to get it"
    with exclusive(NODE_CLIENT / ".cache" / "npm.lock"):
        if not (NODE_CLIENT / "node_modules").is_dir():
            subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=NODE_CLIENT, check=True, timeout=120)
    return node


@dataclass
class Scenario:
    """Steps for `node_client/steps.mjs`, and what came of them."""

    encodings: Sequence[str] = ("utf-16",)
    folders: Sequence[str] = ()
    options: dict[str, Any] = field(default_factory=lambda: {"workAhead": False})
    steps: list[Step] = field(default_factory=list)
    step_ms: float = 1

    def add(self, action: str, **values: Any) -> None:
        """Append a step."""
        self.steps.append({"do": action, **values})

    def start(self, node: str, folder: Path) -> subprocess.Popen[str]:
        """Start client, server and scripted engine."""
        path = folder / "scenario.json"
        scenario = {name: getattr(self, name) for name in ("encodings", "folders", "options", "steps")}
        path.write_text(json.dumps(scenario))
        engine = [sys.executable, str(SCRIPTED_ENGINE), "--step-ms", str(self.step_ms)]
        engine += ["--log", str(folder / "engine.log")]
        argv = [node, "steps.mjs", str(path), *SERVER, "--engine-command", shlex.join(engine)]
        return subprocess.Popen(
            argv, cwd=NODE_CLIENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, node: str, folder: Path) -> Outcome:
        """Carry the steps out."""
        return Outcome.of(self.start(node, folder), folder)


@dataclass
class Outcome:
    """What a scenario came to."""

    answers: dict[str, list[str] | int]
    """By the ask's name: the texts, or the error's code."""
    places: dict[str, tuple[int, int]]
    """By the ask's name: line and column of the first text."""
    encoding: str
    messages: list[str]
    engine_log: list[str]

    @classmethod
    def of(cls, process: subprocess.Popen[str], folder: Path) -> Outcome:
        """Wait for a started scenario; the server must have ended well."""
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0 and "Traceback" not in stderr, stderr
        told = json.loads(stdout)
        assert told["exitCode"] == 0
        answers: dict[str, list[str] | int] = {}
        places = {}
        for name, outcome in told["outcomes"].items():
            items = outcome.get("items")
            answers[name] = outcome["code"] if items is None else [item["insertText"] for item in items]
            if items:
                start = items[0]["range"]["start"]
                places[name] = start["line"], start["character"]
        log = folder / "engine.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return cls(answers, places, told["encoding"], told["messages"], lines)

    def prefix_bytes(self) -> list[int]:
        """How many bytes before the cursor the engine was shown, for each time that it was asked."""
        return [int(line.split()[3]) for line in self.engine_log if line.startswith("complete")]
