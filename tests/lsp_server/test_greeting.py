"""The early answer to `initialize` is the one that pygls would give, and the only one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from lsp_server import transport
from lsp_server.early import Early
from lsp_server.greeting import frame, greeting
from lsp_server.options import Settings, parse

FULL: dict[str, Any] = {
    "workspace": {"workspaceFolders": True, "configuration": True, "didChangeConfiguration": {}},
    "textDocument": {
        "inlineCompletion": {"dynamicRegistration": True},
        "synchronization": {"didSave": True, "willSave": True, "willSaveWaitUntil": True},
        "completion": {"completionItem": {"snippetSupport": True}},
    },
}
CLIENTS: list[dict[str, Any]] = [
    {},
    FULL,
    {"textDocument": {"completion": {"dynamicRegistration": True}}},
    {"general": {}},
    FULL | {"general": {"positionEncodings": []}},
    FULL | {"general": {"positionEncodings": ["utf-16"]}},
    FULL | {"general": {"positionEncodings": ["utf-8", "utf-16"]}},
    FULL | {"general": {"positionEncodings": ["utf-7", "utf-32", "utf-8"]}},
]
OFF = {"enabled": False}


def request(capabilities: Any, options: Any = OFF, **changed: Any) -> dict[str, Any]:
    params = {
        "processId": None,
        "rootUri": None,
        "capabilities": capabilities,
        "initializationOptions": options,
    }
    return {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": params} | changed


class Frames:
    """What was written, message by message."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.messages.append(json.loads(data.partition(b"\r\n\r\n")[2]))

    def close(self) -> None:
        pass


def without_false(value: Any) -> Any:
    """pygls says of some options that they are off, which is what they are when not mentioned."""
    if not isinstance(value, dict):
        return value
    return {name: without_false(part) for name, part in value.items() if part is not False}


def from_pygls(message: dict[str, Any]) -> dict[str, Any]:
    """pygls' own answer."""
    out = Frames()

    async def ask() -> None:
        server = transport._make_server(Early(Settings(enabled=False), None), None)
        server.protocol.set_writer(out)
        server.protocol.take(message)
        await asyncio.sleep(0)

    asyncio.run(ask())
    (answer,) = (found for found in out.messages if found.get("id") == message["id"])
    return answer


@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("capabilities", CLIENTS)
def test_it_is_the_answer_of_pygls(capabilities: dict[str, Any], items: bool) -> None:
    message = request(capabilities, OFF | {"completionItems": items})
    settings, _ = parse(message["params"]["initializationOptions"])
    found = greeting(message, settings.completion_items)
    assert without_false(found) == without_false(from_pygls(message))


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        request({}, method="shutdown"),
        request({}, id=None),
        request({}, id=[1]),
        request({}, jsonrpc="1.0"),
        request({}, params=None),
        request(None),
        request({"general": 3}),
        request({"general": {"positionEncodings": 3}}),
    ],
)
def test_what_pygls_may_refuse_is_left_to_it(message: Any) -> None:
    assert greeting(message, False) is None


def serve(*messages: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """What a client gets that sends these and hangs up, and the exit code."""
    out = Frames()

    async def run() -> int:
        reader = asyncio.StreamReader()
        for message in messages:
            reader.feed_data(frame(message))
        reader.feed_eof()
        return await transport.serve(reader, out)

    return out.messages, asyncio.run(run())


def test_one_answer_to_each_request() -> None:
    status = request({}, id=8, method="workspace/executeCommand", params={"command": "midword.status"})
    answers, code = serve(request({}), status)
    assert [answer["id"] for answer in answers if "id" in answer] == [7, 8] and code == 1
    assert answers[0] == greeting(request({}), False)


def test_a_client_that_is_refused_after_all_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Its capabilities look sound from afar only."""
    answers, code = serve(request({"textDocument": {"synchronization": 3}}), request({}, id=8))
    assert [answer.get("id") for answer in answers] == [7]
    assert code == 1 and "cannot be read" in capsys.readouterr().err
