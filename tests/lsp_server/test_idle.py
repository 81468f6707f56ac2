"""At rest nothing runs: the clock ticks that the kernel charges to server and engine stand still."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

REST_S = 3.0
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts ticks in Linux' /proc"),
]


def ticks(pid: int) -> int:
    """User and system time of a process and its threads, in clock ticks (usually 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


async def at_rest(pids: list[int]) -> int:
    before = sum(map(ticks, pids))
    await asyncio.sleep(REST_S)
    return sum(map(ticks, pids)) - before


async def test_nothing_runs_at_rest(start_process: Any, engine_log: Any, wait_until: Any) -> None:
    process, client = await start_process()
    await client.initialize(workAhead=True)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == ["lo()"]
    await wait_until(lambda: len(engine_log.lines("result")) == 3, "the work ahead is done")
    await asyncio.sleep(0.2)
    assert await at_rest([process.pid, *engine_log.pids]) <= 1


@pytest.mark.model
async def test_nothing_runs_at_rest_with_a_model(start_process: Any, wait_until: Any) -> None:
    process, client = await start_process(engine=[sys.executable, "-P", "-m", "engine", "serve"])
    await client.initialize(workAhead=True, reportUsage=True, deadlineMs=20_000)
    client.open("import os\n\n\ndef main():\n    os.pa\n")
    assert await client.texts(4, 9)

    def done() -> bool:
        kinds = [note["params"]["kind"] for note in client.notifications]
        purposes = [note["params"].get("purpose") for note in client.notifications]
        return "others" in purposes and kinds.count("start") == kinds.count("end")

    await wait_until(done, "the work ahead is done", timeout_s=30)
    await asyncio.sleep(0.5)
    pids = [process.pid, *children(process.pid)]
    assert len(pids) == 2
    assert await at_rest(pids) <= 1
    assert {note["kind"] for note in client.usage()} == {"start", "end", "answer"}
