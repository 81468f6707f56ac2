"""The status bar's view: what is told when, and that nothing is told to a client that did not ask."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

CANCELLED = -32800
URI = "file:///work/a.py"


async def command(client: Any, name: str, *arguments: Any) -> Any:
    return await client.call("workspace/executeCommand", {"command": name, "arguments": list(arguments)})


def told(client: Any) -> list[dict[str, Any]]:
    """The status notifications so far; they count as looked at."""
    found = [n["params"] for n in client.notifications if n["method"] == "didChangeStatus"]
    client.notifications = [n for n in client.notifications if n["method"] != "didChangeStatus"]
    return found


async def until_told(client: Any, wait_until: Any, **wanted: Any) -> list[dict[str, Any]]:
    """Waits for a status with these values; returns all up to it."""
    seen: list[dict[str, Any]] = []

    def arrived() -> bool:
        seen.extend(told(client))
        return any(wanted.items() <= status.items() for status in seen)

    await wait_until(arrived, f"a status with {wanted}, not {seen}")
    return seen


async def test_nothing_is_told_unless_asked_for(client: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    assert told(client) == []


@pytest.mark.parametrize("engine_options", [["--hold"]])
async def test_from_loading_to_ready_to_an_answer(client: Any, engine_log: Any, wait_until: Any) -> None:
    await client.initialize(reportStatus=True)
    (loading,) = await until_told(client, wait_until, kind="Normal", busy=True)
    assert loading["message"] == "the model is being loaded"
    engine_log.let_go()
    await until_told(client, wait_until, kind="Normal", busy=False, message="ready", model="scripted")
    client.open("x.hel")
    await until_told(client, wait_until, uri=URI)
    assert await client.texts(0, 5) == ["lo()"]
    busy, idle = told(client)
    assert busy["busy"] and busy["message"] == "completing" and "latencyMs" not in busy
    assert not idle["busy"] and idle["latencyMs"] >= 1 and idle["restarts"] == 0 and "reason" not in idle
    client.insert(0, 5, "l", 2)
    assert await client.texts(0, 6) == ["o()"]
    assert told(client) == [], "what needs no engine is no news"


async def test_nothing_is_sent_before_the_client_is_ready(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    options = {"reportStatus": True, "statistics": False}
    params = {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": options}
    await client.call("initialize", params)
    await engine_log.wait_for("info")
    await client.call("workspace/executeCommand", {"command": "midword.status"})
    assert client.notifications == []
    client.notify("initialized", {})
    await until_told(client, wait_until, message="ready", model="scripted")


async def test_an_engine_that_dies_is_an_error_and_then_ready_again(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(reportStatus=True)
    await until_told(client, wait_until, message="ready")
    os.kill(engine_log.pids[-1], signal.SIGKILL)
    seen = await until_told(client, wait_until, message="ready", restarts=1)
    (down,) = [status for status in seen if status["kind"] == "Error"]
    assert "signal 9" in down["message"] and "model" not in down
    assert len(client.take("window/showMessage")) == 1


async def test_the_reasons_of_empty_answers(client: Any, wait_until: Any) -> None:
    await client.initialize(reportStatus=True)
    client.open("nothing\nblank\nERROR\nx.hel")
    await until_told(client, wait_until, message="ready", uri=URI)

    async def after(line: int, column: int) -> tuple[str, str | None]:
        await client.texts(line, column)
        last = told(client)[-1]
        assert last == await command(client, "midword.status", {"uri": URI})
        return last["kind"], last.get("reason")

    assert await after(0, 7) == ("Normal", "nothing-to-add")
    assert await after(1, 5) == ("Normal", "nothing-new")
    assert await after(2, 5) == ("Warning", "engine-refused")
    assert await after(3, 5) == ("Normal", None)
    client.take("window/logMessage")


async def test_switched_off_broken_and_unknown_documents(client: Any, wait_until: Any) -> None:
    await client.initialize(reportStatus=True, enabled=False)
    client.open("x")
    await until_told(client, wait_until, kind="Inactive", reason="disabled", uri=URI)
    client.notify(
        "workspace/didChangeConfiguration", {"settings": {"reportStatus": True, "maxTokens": "many"}}
    )
    (last,) = [s for s in await until_told(client, wait_until, kind="Warning") if s["kind"] == "Warning"]
    assert "'maxTokens'" in last["message"]
    client.insert(0, 0, "\ud800", 2)
    found = await command(client, "midword.status", {"uri": URI})
    assert (found["kind"], found["reason"]) == ("Warning", "unknown-text")
    found = await command(client, "midword.status", {"uri": "file:///elsewhere.py"})
    assert (found["kind"], found["reason"]) == ("Inactive", "not-open")
    await asyncio.sleep(0)
    told(client)
    client.take("window/showMessage"), client.take("window/logMessage")


async def test_status_without_a_document(client: Any) -> None:
    await client.initialize()
    found = await command(client, "midword.status")
    assert "uri" not in found and found["restarts"] == 0


@pytest.mark.parametrize(
    "engine_options", [["--loading", "downloading x:0:98,downloading x:49:98,making:0:0"]]
)
@pytest.mark.parametrize("step_ms", [50])
async def test_progress_of_a_download(client: Any, wait_until: Any) -> None:
    await client.initialize(reportStatus=True)
    seen = await until_told(client, wait_until, message="ready")
    steps = [(s["message"], s.get("progress")) for s in seen]
    assert ("downloading x", 50) in steps and ("making", None) in steps
    assert all(s["busy"] for s in seen[:-1]) and "progress" not in seen[-1]


@pytest.mark.parametrize("engine_options", [["--refuse", "there is no such model"]])
async def test_a_model_that_cannot_be_had_and_a_restart(
    client: Any, engine_log: Any, wait_until: Any
) -> None:
    await client.initialize(reportStatus=True)
    await until_told(client, wait_until, kind="Error", message="there is no such model")
    assert await command(client, "midword.restart") is None
    await until_told(client, wait_until, kind="Error", message="there is no such model")
    assert len(engine_log.pids) == 2


@pytest.mark.parametrize("step_ms", [20])
async def test_restarts_during_work_leave_one_engine(client: Any, engine_log: Any, wait_until: Any) -> None:
    await client.initialize()
    client.open("SLOW\nx.hel")
    _, future = client.ask(0, 4)
    await engine_log.wait_for("step")
    await asyncio.gather(*(command(client, "midword.restart") for _ in range(3)))
    assert await client.outcome(future) == CANCELLED
    assert await client.texts(1, 5) == ["lo()"]

    def alive() -> int:
        return sum(Path(f"/proc/{pid}").exists() for pid in engine_log.pids)

    assert len(engine_log.pids) >= 2
    await wait_until(lambda: alive() == 1, "one engine")


async def test_explaining_asks_the_running_engine(client: Any, engine_log: Any) -> None:
    await client.initialize()
    client.open("a<b>\nx.hel\nnothing")
    here = {"uri": URI, "position": {"line": 1, "character": 5}}
    html = (await command(client, "midword.explain", here))["html"]
    assert html.startswith("<!doctype html>") and "a.py, line 2, column 6" in html and "a&lt;b&gt;" in html
    assert len(engine_log.pids) == 1 and engine_log.lines("explain") == ["explain"]
    assert await client.texts(2, 7) == []
    there = {"uri": URI, "position": {"line": 2, "character": 7}}
    assert "nothing-to-add" in (await command(client, "midword.explain", there))["html"]


async def test_a_page_that_explains_another_text_than_was_shown_says_so(client: Any) -> None:
    await client.initialize()
    client.open("x.hel\nself.comp")
    assert await client.texts(0, 5) == ["lo()"] and await client.texts(1, 9) == ["ute_total(items)"]
    cursors = [{"uri": URI, "position": {"line": 0, "character": 5}}]
    cursors.append({"uri": URI, "position": {"line": 1, "character": 9}})
    same, other = [(await command(client, "midword.explain", cursor))["html"] for cursor in cursors]
    assert "What was shown before" not in same, "the scripted engine explains lo() everywhere"
    assert "What was shown before" in other and "ute_total(items)" in other


async def test_explaining_where_nothing_is_completed(client: Any, engine_log: Any, new_client: Any) -> None:
    await client.initialize(enabled=False)
    client.open("x.hel")
    place = {"line": 0, "character": 5}
    html = (await command(client, "midword.explain", {"uri": URI, "position": place}))["html"]
    assert "switched off" in html and "(disabled)" in html
    assert engine_log.pids == []
    for wrong in ({"uri": "file:///no.py", "position": place}, {"position": place}, None):
        _, future = client.request(
            "workspace/executeCommand", {"command": "midword.explain", "arguments": [wrong]}
        )
        assert await client.outcome(future) == -32602


@pytest.mark.parametrize("engine_options", [["--refuse", "there is no such model"]])
async def test_an_engine_error_while_explaining_is_said(client: Any) -> None:
    await client.initialize()
    client.open("x.hel")
    here = {"uri": URI, "position": {"line": 0, "character": 5}}
    with pytest.raises(Exception, match="there is no such model"):
        await command(client, "midword.explain", here)
