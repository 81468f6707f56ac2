"""The language server over JSON-RPC, with a scripted engine: what an editor sees."""

from __future__ import annotations

from typing import Any

CANCELLED = -32800
INVALID_PARAMS = -32602


async def test_a_completion_in_the_middle_of_an_identifier(client: Any) -> None:
    await client.initialize()
    assert client.capabilities["inlineCompletionProvider"] == {}
    assert client.capabilities["textDocumentSync"]["change"] == 2
    client.open("self.comp")
    answer = await client.ask(0, 9)[1]
    (item,) = answer["items"]
    assert item["insertText"] == "ute_total(items)"
    assert item["range"] == {"start": {"line": 0, "character": 9}, "end": {"line": 0, "character": 9}}
    assert item["command"]["command"] == "midword.accepted" and item["command"]["title"]
