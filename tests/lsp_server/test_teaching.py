"""The texts of open documents reach the engine while it is free, and leave it when they are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lsp_server.teaching import TAUGHT_BYTES, Teaching, taught_text

OTHER = "file:///work/other.py"


async def test_open_documents_are_taught_once_and_forgotten_when_closed(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(workAhead=True, drafts="lookup")
    client.open("x.hel\n")
    client.open("value = 1\n", uri=OTHER)
    for _ in range(2):
        assert await client.texts(0, 5) == ["lo()"]
        await wait_until(lambda: len(engine_log.lines("learn")) == 2, "both documents are taught")
    assert engine_log.lines("learn") == ["learn 6 bytes", "learn 10 bytes"]
    client.notify("textDocument/didClose", {"textDocument": {"uri": OTHER}})
    await wait_until(lambda: engine_log.lines("learn")[-1] == "learn 0 bytes", "it is forgotten")


async def test_what_becomes_excluded_is_forgotten(client: Any, engine_log: Any, wait_until: Any) -> None:
    await client.initialize(workAhead=True, drafts="lookup")
    client.open("value = 1\n", uri=OTHER)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == ["lo()"]
    await wait_until(lambda: len(engine_log.lines("learn")) == 2, "both documents are taught")
    client.notify(
        "workspace/didChangeConfiguration",
        {"settings": {"midword": {"workAhead": True, "drafts": "lookup", "exclude": ["other.py"]}}},
    )
    await wait_until(lambda: len(engine_log.lines("learn 0")) == 2, "both are forgotten")
    assert await client.texts(0, 5) == ["lo()"]
    await wait_until(lambda: len(engine_log.lines("learn")) == 5, "one is taught again")
    assert engine_log.lines("learn")[-1] == "learn 6 bytes"


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_what_the_engine_is_learning_is_forgotten_too(is_cancelled: bool) -> None:
    teaching, learnt, answer = Teaching(), [], asyncio.Event()

    async def learn(name: str, text: bytes) -> None:
        learnt.append(text)
        await answer.wait()

    lesson = asyncio.create_task(teaching.teach("a.py", b"secret\n", learn))
    await asyncio.sleep(0)
    if is_cancelled:
        lesson.cancel()
        await asyncio.wait([lesson])
    teaching.forget_all(learn)
    answer.set()
    await asyncio.wait([lesson])
    assert learnt == [b"secret\n", b""]
    assert "a.py" not in teaching


@pytest.mark.parametrize(
    "options",
    [
        {"workAhead": True},
        {"workAhead": False, "drafts": "lookup"},
        {"workAhead": True, "drafts": "recycling"},
    ],
)
async def test_nothing_is_taught_if_nothing_is_looked_up(
    client: Any, engine_log: Any, options: dict[str, Any]
) -> None:
    await client.initialize(**options)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == ["lo()"]
    client.insert(0, 5, "\ntwo", 2)
    assert await client.texts(1, 3)
    assert not engine_log.lines("learn")


def test_a_large_document_is_taught_around_the_last_edit() -> None:
    lines = [b"line %06d\n" % number for number in range(20_000)]
    for around in (0, 10_000, 19_999, 25_000):
        text = taught_text(lines, around)
        assert TAUGHT_BYTES - 12 <= len(text) <= TAUGHT_BYTES
        assert lines[min(around, 19_999)] in text
    assert taught_text([b"short\n", b""], 7) == b"short\n"
    assert len(taught_text([b"x" * 10**6], 0)) == TAUGHT_BYTES
