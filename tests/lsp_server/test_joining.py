"""A request joins what the engine is saying already, as long as the user types that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CANCELLED = -32800
TEXT = "one, two, three)"


def key(client: Any, typed: int, letter: str) -> Any:
    """Type the letter number `typed` behind `count(` and ask."""
    client.insert(0, 6 + typed, letter, 2 + typed)
    return client.ask(0, 7 + typed)


@pytest.mark.parametrize("step_ms", [20])
async def test_typing_what_the_engine_is_saying_needs_one_request(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("count(\n")
    futures = [client.ask(0, 6)[1]]
    await engine_log.wait_for("step", 2)
    for typed, letter in enumerate(TEXT[:6]):
        futures.append(key(client, typed, letter)[1])
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED] * 6 + [[TEXT[6:]]]
    assert len(engine_log.lines("complete")) == 1 and not engine_log.lines("cancelled")


@pytest.mark.parametrize("step_ms", [20])
async def test_as_vs_code_does_it_cancelling_first_and_asking_later(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("count(\n")
    request_id, future = client.ask(0, 6)
    futures = [future]
    for typed, letter in enumerate(TEXT[:4]):
        await engine_log.wait_for("step", 2 + 2 * typed)
        client.notify("$/cancelRequest", {"id": request_id})
        client.insert(0, 6 + typed, letter, 2 + typed)
        await asyncio.sleep(0.03)
        request_id, future = client.ask(0, 7 + typed)
        futures.append(future)
    outcomes = [await client.outcome(future) for future in futures]
    assert outcomes == [CANCELLED] * 4 + [[TEXT[4:]]]
    assert len(engine_log.lines("complete")) == 1 and not engine_log.lines("cancelled")


@pytest.mark.parametrize("step_ms", [20])
async def test_typing_something_else_cancels_at_the_change(client: Any, engine_log: Any) -> None:
    """Not at the next request: an editor may take its time for that."""
    await client.initialize()
    client.open("count(\n")
    _, future = client.ask(0, 6)
    await engine_log.wait_for("step", 3)
    client.insert(0, 6, "X", 2)
    assert await client.outcome(future) == CANCELLED
    await engine_log.wait_for("cancelled")
    assert await client.texts(0, 7) == ["_done"]


@pytest.mark.parametrize("step_ms", [40])
async def test_typing_ahead_of_the_engine_waits_until_it_says_something_else(
    client: Any, engine_log: Any
) -> None:
    await client.initialize()
    client.open("count(\n")
    client.ask(0, 6)
    await engine_log.wait_for("step")
    client.insert(0, 6, "one, X", 2)
    _, future = client.ask(0, 12)
    assert await client.outcome(future) == ["_done"]
    await engine_log.wait_for("cancelled")
    assert len(engine_log.lines("complete")) == 2
    assert len(engine_log.lines("step")) < len(TEXT) / 2 + 2, "left at the sixth letter"


@pytest.mark.parametrize("step_ms", [30])
async def test_a_flight_that_nobody_waits_for_any_more_is_cancelled(client: Any, engine_log: Any) -> None:
    """A change that agrees makes it wait for the request that is due, but not forever."""
    await client.initialize()
    client.open("count(\n")
    request_id, future = client.ask(0, 6)
    await engine_log.wait_for("step", 2)
    client.notify("$/cancelRequest", {"id": request_id})
    client.insert(0, 6, "o", 2)
    assert await client.outcome(future) == CANCELLED
    await engine_log.wait_for("cancelled")
    assert len(engine_log.lines("step")) < len(TEXT)


@pytest.mark.parametrize("step_ms", [20])
async def test_each_document_has_its_own_flight(client: Any, engine_log: Any) -> None:
    other = "file:///work/b.py"
    await client.initialize()
    client.open("count(\n")
    client.open("count(\n", other)
    first = client.ask(0, 6)[1]
    await engine_log.wait_for("step", 2)
    second = client.ask(0, 6, other)[1]
    assert [await client.outcome(first), await client.outcome(second)] == [[TEXT]] * 2
    assert len(engine_log.lines("complete")) == 2


async def test_usage_tells_work_and_answers_and_no_text(client: Any) -> None:
    await client.initialize(reportUsage=True)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == ["lo()"]
    client.insert(0, 5, "l", 2)
    assert await client.texts(0, 6) == ["o()"]
    start, end, asked, known = client.usage()
    assert start == {"kind": "start", "number": 1, "purpose": "asked"}
    assert (end["kind"], end["number"], end["outcome"], end["cancel_ms"]) == ("end", 1, "done", None)
    assert end["usage"]["tokens_evaluated"] == 1
    assert asked == {"kind": "answer", "number": 1, "source": "asked", "shown": True}
    assert known == {"kind": "answer", "number": 1, "source": "known", "shown": True}


@pytest.mark.parametrize("step_ms", [20])
async def test_usage_of_cancelled_work_comes_when_the_engine_is_done_with_it(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(reportUsage=True)
    client.open("SLOW")
    request_id, future = client.ask(0, 4)
    await engine_log.wait_for("step", 2)
    client.notify("$/cancelRequest", {"id": request_id})
    assert await client.outcome(future) == CANCELLED
    await wait_until(lambda: len(client.notifications) == 2, "the work is accounted for")
    _, work = client.usage()
    assert work["outcome"] == "cancelled" and 0 < work["cancel_ms"] < 1000
