"""The engine's process: streams, cancels, dies in several ways, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.errors import BackendError, EngineDied
from engine.types import Request
from lsp_server.engine_client import EngineClient, engine_argv

FAST = (0.02, 0.1)


@asynccontextmanager
async def running(argv: list[str], outages: list[str] | None = None) -> AsyncIterator[EngineClient]:
    engine = EngineClient(argv, on_outage=(outages if outages is not None else []).append, backoff_s=FAST)
    try:
        yield engine
    finally:
        await engine.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_completion_streams_and_ends(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        partials: list[bytes] = []
        result = await engine.complete(Request(prefix=b"x.hel"), partials.append)
        assert result.completions[0].text == b"lo()" and result.model == "scripted"
        assert partials == [b"l", b"lo"]


async def test_plain_operations(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        assert await engine.ask("health") == {"ok": True}
        assert (await engine.ask("info"))["model"] == "scripted"
        assert await engine.ask("next_bytes", {"prefix": b"\xff"}) == {"tail": b"\xff"}


async def test_a_warm_up_says_whether_it_was_finished(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        assert await engine.warm(Request(b"x.hel"))
        assert not await engine.warm(Request(b"BUSY"))


async def test_the_engines_own_error_keeps_its_kind(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        with pytest.raises(BackendError, match="the model refused"):
            await engine.complete(Request(prefix=b"ERROR"))
        assert await engine.ask("health") == {"ok": True}


@pytest.mark.parametrize("step_ms", [20])
async def test_cancelling_the_task_cancels_the_work(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        task = asyncio.create_task(engine.complete(Request(prefix=b"SLOW")))
        await engine_log.wait_for("step")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine_log.wait_for("cancelled")
        assert (await engine.complete(Request(prefix=b"x.hel"))).completions


@pytest.mark.parametrize(
    ("end", "said"), [(b"CRASH", "code 3 (fatal: scripted crash)"), (b"GARBAGE", "protocol")]
)
async def test_a_death_is_an_answer_one_report_and_a_restart(engine_log: Any, end: bytes, said: str) -> None:
    outages: list[str] = []
    async with running(engine_log.argv, outages) as engine:
        assert await engine.ask("health") == {"ok": True}
        with pytest.raises(EngineDied):
            await engine.complete(Request(prefix=end))
        with pytest.raises(EngineDied):
            await engine.complete(Request(prefix=end))
        assert (await engine.complete(Request(prefix=b"x.hel"))).completions
        assert len(outages) == 1 and said in outages[0]
        with pytest.raises(EngineDied):
            await engine.complete(Request(prefix=end))
        await engine.ask("health")
        assert len(outages) == 2
        assert len(engine_log.pids) == 4


@pytest.mark.parametrize("step_ms", [20])
async def test_kill_9_fails_every_owed_answer(engine_log: Any) -> None:
    outages: list[str] = []
    async with running(engine_log.argv, outages) as engine:
        tasks = [asyncio.create_task(engine.complete(Request(prefix=b"SLOW"))) for _ in range(3)]
        await engine_log.wait_for("step")
        os.kill(engine_log.pids[-1], signal.SIGKILL)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [EngineDied] * 3
        assert (await engine.complete(Request(prefix=b"x.hel"))).completions
        assert len(outages) == 1 and "signal 9" in outages[0]


async def test_an_engine_that_cannot_start_is_not_tried_for_ever(
    tmp_path: Any, wait_until: Callable[..., Any]
) -> None:
    outages: list[str] = []
    starts = tmp_path / "starts"
    script = (
        f"open({str(starts)!r}, 'a').write('x'); print('no model', file=__import__('sys').stderr); exit(2)"
    )
    async with running([sys.executable, "-c", script], outages) as engine:
        engine.start()
        await wait_until(lambda: starts.exists() and len(starts.read_text()) == 5, "five starts")
        await asyncio.sleep(0.3)
        assert len(starts.read_text()) == 5
        assert outages == ["the engine process ended with code 2 (no model); it is being restarted"]
        with pytest.raises(EngineDied, match="no model"):
            await asyncio.wait_for(engine.ask("health"), 5)
        assert len(starts.read_text()) == 6


async def test_a_command_that_does_not_exist_is_an_outage(wait_until: Callable[..., Any]) -> None:
    outages: list[str] = []
    async with running(["/nonexistent/engine"], outages) as engine:
        engine.start()
        await wait_until(lambda: len(outages) == 1, "an outage")
        assert "No such file" in outages[0]


async def test_an_engine_that_closes_its_output_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.engine_client.GRACE_S", 0.1)
    outages: list[str] = []
    async with running(
        [sys.executable, "-c", "import os, time; os.close(1); time.sleep(60)"], outages
    ) as engine:
        with pytest.raises(EngineDied, match="closed its output"):
            await asyncio.wait_for(engine.ask("health"), 5)
    assert len(outages) == 1


async def test_close_ends_the_process_even_a_stuck_one(engine_log: Any) -> None:
    async with running(engine_log.argv) as engine:
        await engine.ask("health")
    (pid,) = engine_log.pids
    assert not alive(pid)
    async with running([sys.executable, "-c", "import time; time.sleep(60)"]) as engine:
        engine.start()
        task = asyncio.create_task(engine.ask("health"))
        await asyncio.sleep(0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    with pytest.raises(EngineDied):
        await task


def test_the_editors_folder_is_not_searched_for_the_engine() -> None:
    """A project may well have a package named `engine`; `python -m` would run it without -P."""
    assert engine_argv("m")[:4] == [sys.executable, "-P", "-m", "engine"]
    assert engine_argv("m")[4:] == ["serve", "--model", "m"]
    assert engine_argv()[4:] == ["serve"]
