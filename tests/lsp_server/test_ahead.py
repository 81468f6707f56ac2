"""Work ahead of requests: what follows an acceptance, spare texts, prompts made resident."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

ELSEWHERE = "file:///work/elsewhere.py"


async def settled(engine_log: Any, wait_until: Any, count: int) -> None:
    await wait_until(lambda: len(engine_log.lines("result")) >= count, f"{count} results")
    await asyncio.sleep(0.01)  # the server has read them too


async def test_what_follows_an_acceptance_is_there_already(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    """`if x:` is completed by nothing on its line; the next line is known before Enter is pressed."""
    await client.initialize(workAhead=True)
    client.open("if x\n")
    client.insert(0, 4, ":", 2)
    assert await client.texts(0, 5) == []
    await settled(engine_log, wait_until, 2)
    client.insert(0, 5, "\n    r", 3)
    assert await client.texts(1, 5) == ["eturn total"]
    await settled(engine_log, wait_until, 3)
    asked = len(engine_log.lines("complete"))
    client.insert(1, 5, "eturn total", 4)  # accepted
    assert await client.texts(1, 16) == []
    client.insert(1, 16, "\n    ", 5)
    assert await client.texts(2, 4) == ["more"]
    assert len(engine_log.lines("complete")) == asked


async def test_accepting_word_by_word_never_asks_the_engine(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(workAhead=True)
    client.open("count(\n")
    assert await client.texts(0, 6) == ["one, two, three)"]
    await settled(engine_log, wait_until, 2)
    asked = len(engine_log.lines("complete"))
    column = 6
    for version, word in enumerate(("one,", " two,", " three"), 2):
        client.insert(0, column, word, version)
        column += len(word)
        (rest,) = await client.texts(0, column)
        assert "one, two, three)".endswith(rest)
    assert len(engine_log.lines("complete")) == asked


async def test_typing_another_branch_switches_to_it(client: Any, engine_log: Any, wait_until: Any) -> None:
    await client.initialize(workAhead=True)
    client.open("either \n")
    assert await client.texts(0, 7) == ["left"]
    await settled(engine_log, wait_until, 3)
    asked = len(engine_log.lines("complete"))
    assert await client.texts(0, 7) == ["left"], "spare texts are not shown"
    client.insert(0, 7, "r", 2)
    assert await client.texts(0, 8) == ["ight"]
    client.change([{"range": _range(7, 8), "text": "n"}], 3)
    assert await client.texts(0, 8) == ["either"]
    assert len(engine_log.lines("complete")) == asked


@pytest.mark.parametrize("step_ms", [150])
async def test_a_request_comes_before_work_ahead(client: Any, engine_log: Any) -> None:
    await client.initialize(workAhead=True, debounceMs=0)
    client.open("x.hel\ncount(\n")
    assert await client.texts(1, 6) == ["one, two, three)"]
    await engine_log.wait_for("complete", 2)
    assert await client.texts(0, 5) == ["lo()"]
    await engine_log.wait_for("cancelled")


async def test_no_work_ahead_if_switched_off(client: Any, engine_log: Any) -> None:
    await client.initialize(workAhead=False)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == ["lo()"]
    await asyncio.sleep(0.4)
    assert len(engine_log.lines("complete")) == 1 and not engine_log.lines("warm")


async def test_opening_a_small_document_makes_it_resident(client: Any, engine_log: Any) -> None:
    await client.initialize(workAhead=True)
    client.open("x.hel\n")
    await engine_log.wait_for("warm")


async def test_a_far_jump_asks_with_a_narrow_window_first(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(workAhead=True)
    client.open("value = compute(total)\n" * 5000)
    assert await client.texts(2000, 3) == ["_done"]
    await engine_log.wait_for("warm")
    await asyncio.sleep(0.05)
    client.insert(2000, 3, "x", 2)
    assert await client.texts(2000, 4) == ["_done"]
    narrow, *_, whole = [int(line.split()[3]) for line in engine_log.lines("complete")]
    assert narrow < 1200 and whole > 1500
    first, *others = engine_log.lines("complete")
    assert "excerpt" not in first, "the first ghost text does not wait for more than it must"
    client.open("".join(f"line_{k} = {k}\n" for k in range(5000)), uri=ELSEWHERE)
    assert await client.texts(2000, 3, uri=ELSEWHERE) == ["_done"]
    jump = engine_log.lines("complete")[1 + len(others)]
    assert int(jump.split()[3]) < 1200 and jump.endswith("with 1 excerpt"), "the next lines below"


async def test_without_work_ahead_the_narrow_window_has_the_lines_below_from_the_start(
    client: Any, engine_log: Any
) -> None:
    """Nothing more will follow, and a prompt that got them later would be evaluated again."""
    await client.initialize(workAhead=False)
    client.open("".join(f"line_{k} = {k}\n" for k in range(5000)))
    for version, column in enumerate((3, 4), 2):
        assert await client.texts(2000, column) == ["_done"]
        client.insert(2000, column, "x", version)
    assert all(line.endswith("with 1 excerpt") for line in engine_log.lines("complete"))


def _range(start: int, end: int) -> dict[str, Any]:
    return {"start": {"line": 0, "character": start}, "end": {"line": 0, "character": end}}
