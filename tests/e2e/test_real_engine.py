"""The engine process with the default model: killed in the middle of a request, it is replaced."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from engine.errors import EngineDied
from engine.types import Request
from lsp_server.engine_client import EngineClient, engine_argv

pytestmark = [pytest.mark.e2e, pytest.mark.model]
PREFIX = b"def total(numbers):\n    result = 0\n    for number in numbers:\n        result += num"
LONG = Request(PREFIX, max_tokens=400, max_lines=60)
SHORT = Request(PREFIX, max_tokens=8)


async def test_a_killed_engine_is_replaced_and_the_next_request_is_served() -> None:
    outages: list[str] = []
    client = EngineClient(engine_argv(), outages.append)
    try:
        first = await asyncio.wait_for(client.complete(SHORT), 120)
        assert first.completions[0].text.startswith(b"ber")
        started = asyncio.Event()
        running = asyncio.create_task(client.complete(LONG, lambda text: started.set()))
        await asyncio.wait_for(started.wait(), 30)
        assert client._process is not None
        os.kill(client._process.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="was killed by signal 9"):
            await asyncio.wait_for(running, 30)
        again = await asyncio.wait_for(client.complete(SHORT), 120)
        assert again.completions[0].text == first.completions[0].text
        assert len(outages) == 1 and "it is being restarted" in outages[0]
    finally:
        await client.close()


async def test_a_cancelled_request_ends_and_costs_the_next_one_nothing() -> None:
    client = EngineClient(engine_argv(), lambda reason: pytest.fail(reason))
    try:
        await asyncio.wait_for(client.complete(SHORT), 120)
        started = asyncio.Event()
        running = asyncio.create_task(client.complete(LONG, lambda text: started.set()))
        await asyncio.wait_for(started.wait(), 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        after = await asyncio.wait_for(client.complete(SHORT), 10)
        assert after.usage.prompt_tokens_evaluated <= 1, "the prompt is still resident"
    finally:
        await client.close()
