"""A small LSP client on raw JSON-RPC (pygls' own client would share the server's mistakes), and a
scripted engine in place of a model. A test fails at its end if any message was left unanswered,
answered twice, or not looked at."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lsp_server.transport import serve

SCRIPTED_ENGINE = Path(__file__).with_name("scripted_engine.py")
CANCELLED = -32800
URI = "file:///work/a.py"


@dataclass
class EngineLog:
    """What the scripted engine did, and the command that starts it."""

    path: Path
    step_ms: float
    options: list[str]

    @property
    def argv(self) -> list[str]:
        common = ["--step-ms", str(self.step_ms), "--log", str(self.path)]
        return [sys.executable, str(SCRIPTED_ENGINE), *common, *self.options]

    def lines(self, start: str = "") -> list[str]:
        text = self.path.read_text() if self.path.exists() else ""
        return [line for line in text.splitlines() if line.startswith(start)]

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines("pid")]

    def let_go(self) -> None:
        """An engine with the option --hold has loaded now."""
        self.path.with_suffix(".go").touch()

    async def wait_for(self, start: str, count: int = 1) -> None:
        await until(lambda: len(self.lines(start)) >= count, f"the engine's log has {count} × {start!r}")


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 8.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.01)


class LspError(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]


class Client:
    """Sends JSON-RPC, matches answers to requests, keeps notifications until a test takes them."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._ids = itertools.count(1)
        self.unanswered: dict[int, asyncio.Future[Any]] = {}
        self.notifications: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        """What the server asked for; each is granted. For tests to take."""
        self.strange: list[dict[str, Any]] = []
        self.capabilities: dict[str, Any] = {}
        self.serving: asyncio.Task[int] | None = None
        """The server, if it is in this process."""
        self.has_left = False

    def send(self, message: dict[str, Any]) -> None:
        self.send_bytes(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def send_bytes(self, body: bytes) -> None:
        self._write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def notify(self, method: str, params: Any = None) -> None:
        self.has_left |= method == "exit"
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Any = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request now; the future is its answer."""
        request_id = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self.unanswered[request_id] = future
        self.send({"id": request_id, "method": method, "params": params})
        return request_id, future

    async def call(self, method: str, params: Any = None) -> Any:
        return await asyncio.wait_for(self.request(method, params)[1], 15)

    async def read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                headers = await reader.readuntil(b"\r\n\r\n")
                length = int(headers.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                self.receive(json.loads(await reader.readexactly(length)))

    def receive(self, message: dict[str, Any]) -> None:
        future = self.unanswered.pop(message["id"], None) if "method" not in message else None
        if "method" in message and "id" not in message:
            self.notifications.append(message)
        elif "method" in message:
            self.requests.append(message)
            self.send({"id": message["id"], "result": None})
        elif future is None:
            self.strange.append(message)
        elif "error" in message:
            future.set_exception(LspError(message["error"]))
            future.exception()  # a test that does not await it has not forgotten it: see check()
        else:
            future.set_result(message["result"])

    def usage(self) -> list[dict[str, Any]]:
        """The usage notes received so far; they count as looked at."""
        notes = [n["params"] for n in self.notifications if n["method"] == "midword/usage"]
        self.notifications = [n for n in self.notifications if n["method"] != "midword/usage"]
        return notes

    def take(self, method: str) -> list[str]:
        """The texts of the window/* notifications received so far; they count as looked at."""
        texts = [n["params"]["message"] for n in self.notifications if n["method"] == method]
        self.notifications = [n for n in self.notifications if n["method"] != method]
        return texts

    def check(self) -> None:
        assert not self.unanswered, f"requests without an answer: {list(self.unanswered)}"
        assert not self.strange, f"answers nobody asked for: {self.strange}"
        assert not self.notifications, f"messages nobody looked at: {self.notifications}"
        assert not self.requests, f"requests nobody looked at: {self.requests}"

    # What an editor does.

    async def initialize(
        self, encodings: list[str] | None = None, *, hears_later: bool = False, **options: Any
    ) -> None:
        """Without work ahead, unless asked for: the tests count what the engine was asked. Nor statistics.

        `hears_later`: features of the server may be registered at any time.
        """
        general = {"positionEncodings": encodings} if encodings else {}
        completion = {"completion": {"dynamicRegistration": hears_later}}
        params = {
            "processId": None,
            "rootUri": "file:///work",
            "capabilities": {"general": general, "textDocument": completion},
            "initializationOptions": {"workAhead": False, "statistics": False, **options},
        }
        self.capabilities = (await self.call("initialize", params))["capabilities"]
        self.notify("initialized", {})

    async def leave(self) -> None:
        """Shut the server down and wait for its end."""
        assert self.serving is not None
        await self.call("shutdown")
        self.notify("exit")
        await asyncio.wait_for(asyncio.shield(self.serving), 10)

    def open(self, text: str, uri: str = URI, version: int = 1, language: str = "python") -> None:
        document = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, changes: list[dict[str, Any]], version: int, uri: str = URI) -> None:
        document = {"uri": uri, "version": version}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def insert(self, line: int, character: int, text: str, version: int, uri: str = URI) -> None:
        place = {"line": line, "character": character}
        self.change([{"range": {"start": place, "end": place}, "text": text}], version, uri)

    def ask(self, line: int, character: int, uri: str = URI) -> tuple[int, asyncio.Future[Any]]:
        return self.request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 2},
            },
        )

    async def texts(self, line: int, character: int, uri: str = URI) -> list[str]:
        answer = await asyncio.wait_for(self.ask(line, character, uri)[1], 15)
        return [item["insertText"] for item in answer["items"]]

    async def outcome(self, future: asyncio.Future[Any]) -> Any:
        """The texts of an answer, or the error's code."""
        try:
            return [item["insertText"] for item in (await asyncio.wait_for(future, 15))["items"]]
        except LspError as error:
            return error.code

    async def outcome_of_list(self, future: asyncio.Future[Any]) -> Any:
        """The labels of a completion list, or the error's code."""
        try:
            return [item["label"] for item in (await asyncio.wait_for(future, 15))["items"]]
        except LspError as error:
            return error.code


class _Collector:
    """The server's writer, in one process with the client."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def write(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def close(self) -> None:
        self._reader.feed_eof()


@pytest.fixture
def step_ms() -> float:
    """How long a step of the scripted engine takes; override with `parametrize`."""
    return 1.0


@pytest.fixture
def engine_options() -> list[str]:
    """More options of the scripted engine; override with `parametrize`."""
    return []


@pytest.fixture
def engine_log(tmp_path: Path, step_ms: float, engine_options: list[str]) -> EngineLog:
    return EngineLog(tmp_path / "engine.log", step_ms, engine_options)


@pytest.fixture
async def client(engine_log: EngineLog) -> AsyncIterator[Client]:
    """A client connected to a server in this process, whose engine is the scripted one."""
    to_server, to_client = asyncio.StreamReader(), asyncio.StreamReader()
    client = Client(to_server.feed_data)
    serving = asyncio.create_task(serve(to_server, _Collector(to_client), engine_log.argv))
    client.serving = serving
    reading = asyncio.create_task(client.read(to_client))
    yield client
    if not client.has_left and not serving.done():
        await client.leave()
    assert await asyncio.wait_for(serving, 10) == 0
    to_client.feed_eof()
    await reading
    client.check()


StartProcess = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, Client]]]


@pytest.fixture
async def start_process(engine_log: EngineLog) -> AsyncIterator[StartProcess]:
    """Starts `midword lsp --stdio` as an editor does, with the scripted engine or another."""
    started: list[tuple[asyncio.subprocess.Process, Client, asyncio.Task[None]]] = []

    async def start(
        cwd: Path | None = None, engine: list[str] | None = None
    ) -> tuple[asyncio.subprocess.Process, Client]:
        argv = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--stdio"]
        argv += ["--engine-command", shlex.join(engine or engine_log.argv)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, cwd=cwd)
        assert process.stdin is not None and process.stdout is not None
        client = Client(process.stdin.write)
        started.append((process, client, asyncio.create_task(client.read(process.stdout))))
        return process, client

    yield start
    for process, client, reading in started:
        if process.returncode is None:
            await client.call("shutdown")
            client.notify("exit")
        await asyncio.wait_for(process.wait(), 10)
        await reading
        if process.returncode == 0:
            client.check()


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture
def new_client() -> type[Client]:
    return Client
