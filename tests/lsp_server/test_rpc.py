"""Messages no good client sends: each request is answered once, nothing ends the server."""

from __future__ import annotations

from typing import Any

import pytest


async def test_requests_before_initialize_are_refused(client: Any) -> None:
    assert await client.outcome(client.ask(0, 0)[1]) == -32002
    await client.initialize()


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        {},
        {"textDocument": {"uri": "file:///work/a.py"}, "position": {"line": "one", "character": 0}},
        {"textDocument": {"uri": 5}, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}},
    ],
)
async def test_unreadable_params_are_answered(client: Any, params: Any) -> None:
    await client.initialize()
    code = await client.outcome(client.request("textDocument/inlineCompletion", params)[1])
    assert code in (-32602, -32603)
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]


async def test_unknown_methods_and_commands(client: Any) -> None:
    await client.initialize()
    assert await client.outcome(client.request("textDocument/unheardOf", {})[1]) == -32601
    assert await client.outcome(client.request("workspace/executeCommand", {"command": "no"})[1]) == -32602
    client.notify("textDocument/unheardOf", {})
    accepted: dict[str, Any] = {"command": "midword.accepted"}
    assert await client.call("workspace/executeCommand", accepted) is None
    assert await client.call("workspace/executeCommand", accepted | {"arguments": ["99", {}]}) is None


async def test_bodies_that_are_no_messages(client: Any) -> None:
    await client.initialize()
    for body in (b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'"x"', b"{}"):
        client.send_bytes(body)
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    assert [answer["error"]["code"] for answer in client.strange] == [-32700] * 3
    client.strange.clear()
    assert len(client.take("window/logMessage")) == 3


async def test_nested_objects_are_not_taken_for_messages(client: Any) -> None:
    await client.initialize()
    nested = {"jsonrpc": "2.0", "id": 1, "method": "shutdown"}
    command = {"command": "midword.accepted", "arguments": [nested]}
    assert await client.call("workspace/executeCommand", command) is None
