"""Latest wins, cancellation, and answers to a text that has moved on. Traffic as real editors send it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CANCELLED = -32800
OTHER_URI = "file:///work/b.py"


@pytest.mark.parametrize("step_ms", [400])
async def test_neovim_does_not_cancel_so_the_server_supersedes(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("")
    futures = []
    for count, letter in enumerate("self.comp"):
        client.insert(0, count, letter, 2 + count)
        futures.append(client.ask(0, count + 1)[1])
        await asyncio.sleep(0.01)
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED] * 8 + [["ute_total(items)"]]


@pytest.mark.parametrize("step_ms", [400])
async def test_vs_code_cancels_before_the_next_change(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("")
    futures: list[Any] = []
    previous_id = None
    for count, letter in enumerate("a = x.hel"):
        if previous_id is not None:
            client.notify("$/cancelRequest", {"id": previous_id})
        client.insert(0, count, letter, 2 + count)
        await asyncio.sleep(0.005)
        previous_id, future = client.ask(0, count + 1)
        futures.append(future)
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED] * 8 + [["lo()"]]


async def test_a_storm_in_one_packet(client: Any) -> None:
    """Everything is in the server's buffer at once."""
    await client.initialize()
    client.open("x.hel")
    ids_and_futures = []
    for count in range(50):
        ids_and_futures.append(client.ask(0, 5))
        client.notify("$/cancelRequest", {"id": ids_and_futures[-1][0]})
        client.insert(0, 0, "y", 2 + count)
        client.insert(0, 0, "\n" if count == 49 else "z", 100 + count)
    _, last = client.ask(1, 10_000)
    assert [await client.outcome(f) for _, f in ids_and_futures] == [CANCELLED] * 50
    assert await client.outcome(last) == ["lo()"]


async def test_a_request_sees_the_text_of_its_moment(client: Any) -> None:
    """The change is in the same packet, right behind the request: it was asked before, typed along after."""
    await client.initialize()
    client.open("x.hel\n")
    _, future = client.ask(0, 5)
    client.insert(0, 5, "lo", 2)
    (item,) = (await future)["items"]
    assert item["insertText"] == "()" and item["range"]["start"]["character"] == 7


@pytest.mark.parametrize("step_ms", [50])
async def test_cancel_is_honoured_within_one_step(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("SLOW")
    request_id, future = client.ask(0, 4)
    await engine_log.wait_for("step", 2)
    client.notify("$/cancelRequest", {"id": request_id})
    assert await client.outcome(future) == CANCELLED
    steps = len(engine_log.lines("step"))
    await engine_log.wait_for("cancelled")
    assert len(engine_log.lines("step")) <= steps + 1
    assert engine_log.lines("result") == []


async def test_cancelling_what_is_done_or_unknown_is_harmless(client: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    request_id, future = client.ask(0, 5)
    assert await client.outcome(future) == ["lo()"]
    client.notify("$/cancelRequest", {"id": request_id})
    client.notify("$/cancelRequest", {"id": "never"})
    assert await client.texts(0, 5) == ["lo()"]


@pytest.mark.parametrize("step_ms", [20])
async def test_documents_do_not_supersede_each_other(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    client.open("self.comp", OTHER_URI)
    futures = [client.ask(0, 5)[1], client.ask(0, 9, OTHER_URI)[1]]
    assert [await client.outcome(f) for f in futures] == [["lo()"], ["ute_total(items)"]]


@pytest.mark.parametrize("step_ms", [50])
async def test_a_request_for_a_text_that_moved_on_is_cancelled(client: Any, engine_log: Any) -> None:
    """Never answered with nothing, whether a newer request has come or not: it would be for the new text."""
    await client.initialize()
    client.open("x.hel")
    _, future = client.ask(0, 5)
    await engine_log.wait_for("step")
    client.insert(0, 0, "other ", 2)
    assert await client.outcome(future) == CANCELLED


@pytest.mark.parametrize("step_ms", [50])
async def test_an_answer_that_was_typed_along_is_what_remains(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("x.hel\n")
    _, future = client.ask(0, 5)
    await engine_log.wait_for("step")
    client.insert(0, 5, "lo", 2)
    (item,) = (await future)["items"]
    assert item["insertText"] == "()"
    assert item["range"]["start"] == {"line": 0, "character": 7}


@pytest.mark.parametrize("step_ms", [20])
async def test_closing_the_document_cancels_its_request(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("SLOW")
    _, future = client.ask(0, 4)
    await engine_log.wait_for("step")
    client.notify("textDocument/didClose", {"textDocument": {"uri": "file:///work/a.py"}})
    assert await client.outcome(future) == CANCELLED
    await engine_log.wait_for("cancelled")


async def test_debouncing_spares_the_engine(client: Any, engine_log: Any) -> None:
    await client.initialize(debounceMs=60)
    client.open("x.hel")
    futures = [client.ask(0, column)[1] for column in range(6)]
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED] * 5 + [["lo()"]]
    assert len(engine_log.lines("complete")) == 1


@pytest.mark.parametrize("step_ms", [20])
async def test_shutdown_answers_what_is_in_flight(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("SLOW")
    client.open("SLOW", OTHER_URI)
    futures = [client.ask(0, 4)[1], client.ask(0, 4, OTHER_URI)[1]]
    await engine_log.wait_for("step")
    _, stopped = client.request("shutdown")
    assert [await client.outcome(f) for f in futures] == [CANCELLED] * 2
    assert await stopped is None
    late = client.request("workspace/executeCommand", {"command": "midword.accepted"})[1]
    assert await client.outcome(late) == -32600
    client.notify("exit")
