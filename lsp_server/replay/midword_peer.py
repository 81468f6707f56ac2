"""midword as a peer: the real language server process over stdio, asked as VS Code asks it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsp_server.replay.buffer import Buffer, Change
from lsp_server.replay.peer import Cost, Ghost
from lsp_server.replay.process import children
from lsp_server.replay.rpc_client import AnswerError, Params, RpcClient

URI = "file:///replay/document.py"
CANCELLED = -32800


class MidwordPeer:
    """One server with one document. Implements `replay.peer.Peer`."""

    def __init__(self, name: str, options: Params, engine_command: str | None = None) -> None:
        """`options` are the server's initialization options."""
        self.name = name
        self.costs: list[Cost] = []
        self.start_ms: dict[str, float] = {}
        self.problems: list[str] = []
        """What the server told the user."""
        self._options = {**options, "reportUsage": True, "statistics": False}
        self._engine_command = engine_command
        self._by_number: dict[int, Cost] = {}
        self._key = 0
        self._answers: list[dict[str, Any]] = []

    async def open(self, buffer: Buffer) -> None:
        """Start the server and open the document; times are counted from the start of the process."""
        started = time.perf_counter()
        self._client = await RpcClient.start(self._argv(), self._hear)
        _, initialized = self._client.request(
            "initialize",
            {
                "processId": None,
                "rootUri": "file:///replay",
                "capabilities": {"general": {"positionEncodings": ["utf-16"]}},
                "initializationOptions": self._options,
            },
        )
        await initialized
        self.start_ms["initialize"] = (time.perf_counter() - started) * 1000
        self._client.notify("initialized", {})
        document = {"uri": URI, "languageId": "python", "version": buffer.version, "text": buffer.text}
        self._client.notify("textDocument/didOpen", {"textDocument": document})
        self._started = started

    def changed(self, buffer: Buffer, change: Change) -> None:
        """Send didChange."""
        place = {"start": _place(change.start), "end": _place(change.end)}
        self._client.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": URI, "version": buffer.version},
                "contentChanges": [{"range": place, "text": change.text}],
            },
        )

    async def ask(self, buffer: Buffer, key: int) -> Ghost:
        """Send a request; a withdrawn one is cancelled as VS Code does."""
        self._key = key
        number, answer = self._client.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": URI},
                "position": _place(buffer.position()),
                "context": {"triggerKind": 2},
            },
        )
        try:
            items = (await asyncio.shield(answer))["items"]
        except asyncio.CancelledError:
            self._client.cancel(number)
            raise
        except AnswerError as error:
            if error.number != CANCELLED:
                raise
            items = []
        if not items:
            return Ghost()
        self.start_ms.setdefault("first ghost text", (time.perf_counter() - self._started) * 1000)
        start = items[0]["range"]["start"]
        return Ghost(items[0]["insertText"], (start["line"], start["character"]))

    def pids(self) -> list[int]:
        """The server and its engine."""
        return [self._client.process.pid, *children(self._client.process.pid)]

    async def close(self) -> None:
        """Shut down as an editor does."""
        await self._client.close()

    def _argv(self) -> Sequence[str]:
        argv = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--stdio"]
        return [*argv, "--engine-command", self._engine_command] if self._engine_command else argv

    def _hear(self, method: str, params: Params) -> None:
        if method == "midword/usage":
            self._account(params)
        elif method in ("window/showMessage", "window/logMessage"):
            self.problems.append(params["message"])

    def _account(self, note: Params) -> None:
        number = note["number"]
        if note["kind"] == "start":
            self._by_number[number] = Cost(self._key, note["purpose"])
            self.costs.append(self._by_number[number])
        elif number in self._by_number and note["kind"] == "answer":
            self._by_number[number].was_used |= note["shown"]
        elif number in self._by_number:
            _fill(self._by_number[number], note)


def _fill(cost: Cost, note: Params) -> None:
    usage = note["usage"] or {}
    cost.outcome, cost.cancel_ms = note["outcome"], note["cancel_ms"]
    cost.prompt_tokens = usage.get("prompt_tokens_evaluated", 0)
    cost.decode_tokens = usage.get("tokens_evaluated", 0) - cost.prompt_tokens
    cost.evaluations = usage.get("model_evaluations", 0)
    cost.prompt_ms, cost.total_ms = usage.get("prompt_ms", 0.0), usage.get("total_ms", 0.0)


def _place(position: tuple[int, int]) -> dict[str, int]:
    return {"line": position[0], "character": position[1]}


def source_text(path: Path) -> str:
    """A source file's text. Raises InputError."""
    from lsp_server.cli.source import read_source

    return read_source(path).decode()
