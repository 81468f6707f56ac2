"""Traffic of editors with habits of their own, imitated: none of it may cost more work or a wrong text."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CANCELLED = -32800
URI = "file:///work/a.py"


@pytest.mark.parametrize("step_ms", [30])
async def test_neovim_0_12_debounces_and_never_cancels(client: Any, engine_log: Any) -> None:
    """It asks a while after the last key, goes on typing meanwhile, asks again, and takes whatever comes
    back: so every answer but the newest must be an error, and the engine must never do two things."""
    await client.initialize(["utf-8", "utf-16"])
    client.open("")
    futures = []
    column = 0
    for burst in ("x = SLOW", "SLOW", "count("):
        for letter in burst:
            client.insert(0, column, letter, 2 + column)
            column += 1
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        futures.append(client.ask(0, column)[1])
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED, CANCELLED, ["one, two, three)"]]
    running = most = 0
    for line in engine_log.lines():
        running += line.startswith("complete") - line.startswith(("result", "cancelled"))
        most = max(most, running)
    assert most <= 1 and len(engine_log.lines("complete")) <= 3


@pytest.mark.parametrize("step_ms", [20])
async def test_an_answer_to_an_older_text_fits_the_newer_or_is_an_error(client: Any) -> None:
    """The request's position is that of the text before a change that overtakes the answer."""
    await client.initialize()
    client.open("SLOW")
    _, first = client.ask(0, 4)
    await asyncio.sleep(0.01)
    client.insert(0, 4, "x", 2)
    assert await client.outcome(first) == CANCELLED
    client.change([{"text": "count("}], 3)
    _, second = client.ask(0, 6)
    client.insert(0, 6, "one", 4)
    assert await client.outcome(second) == [", two, three)"]
    _, third = client.ask(0, 6)  # a position from before the last change
    assert await client.outcome(third) == ["one, two, three)"]


async def test_helix_asks_with_a_trigger_and_again_for_an_incomplete_list(
    client: Any, engine_log: Any
) -> None:
    await client.initialize(["utf-8"], completionItems=True)
    client.open("x")
    answers = []
    for column, letter in enumerate(".hel", 1):
        client.insert(0, column, letter, 1 + column)
        context = {"triggerKind": 2, "triggerCharacter": "."} if letter == "." else {"triggerKind": 3}
        place = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": column + 1}}
        answers.append(client.request("textDocument/completion", {**place, "context": context})[1])
    outcomes = [await client.outcome_of_list(answer) for answer in answers]
    assert outcomes[:3] == [CANCELLED] * 3 and outcomes[3] == ["hello()"]
