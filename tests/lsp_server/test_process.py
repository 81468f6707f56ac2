"""Real processes: start-up, transports, kill -9 of either side, no orphans, a clean stderr."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_stdio_from_a_folder_with_misleading_names(start_process: Any, tmp_path: Path) -> None:
    for name in ("engine", "lsp_server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    process, client = await start_process(cwd=tmp_path)
    await client.initialize(["utf-8"])
    client.open("self.comp")
    assert await client.texts(0, 9) == ["ute_total(items)"]
    await client.call("shutdown")
    client.notify("exit")
    assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize("step_ms", [20])
async def test_kill_9_of_the_engine_during_a_request(start_process: Any, engine_log: Any) -> None:
    _, client = await start_process()
    await client.initialize()
    client.open("SLOW\nx.hel")
    _, future = client.ask(0, 4)
    await engine_log.wait_for("step")
    os.kill(engine_log.pids[-1], signal.SIGKILL)
    assert await client.outcome(future) == []
    assert await client.texts(1, 5) == ["lo()"]
    (message,) = client.take("window/showMessage")
    assert "signal 9" in message
    client.insert(1, 5, "p = x.hel", 2)
    assert await client.texts(1, 14) == ["lo()"]


@pytest.mark.parametrize("how", ["eof", "kill"])
@pytest.mark.parametrize("step_ms", [20])
async def test_the_engine_ends_with_the_server(
    start_process: Any, engine_log: Any, wait_until: Callable[..., Any], how: str
) -> None:
    process, client = await start_process()
    await client.initialize()
    client.open("SLOW")
    client.ask(0, 4)
    await engine_log.wait_for("step")
    (pid,) = engine_log.pids
    if how == "eof":
        process.stdin.close()
    else:
        process.kill()
    assert await asyncio.wait_for(process.wait(), 10) == (1 if how == "eof" else -9)
    await wait_until(lambda: not alive(pid), "the engine has ended")


async def test_exit_without_shutdown_is_an_error_code(start_process: Any, engine_log: Any) -> None:
    process, client = await start_process()
    await client.initialize()
    await engine_log.wait_for("pid")
    client.notify("exit")
    assert await asyncio.wait_for(process.wait(), 10) == 1
    assert not alive(engine_log.pids[0])


async def test_initialize_does_not_wait_for_the_engine() -> None:
    """Nor does anything before it: the model libraries are not imported in this process."""
    script = (
        "import sys, lsp_server.transport, lsp_server.cli.lsp;"
        "print([m for m in ('torch', 'llama_cpp', 'numpy', 'transformers') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("engine_options", [["--loading", "opening:0:0"]])
@pytest.mark.parametrize("step_ms", [60_000])
async def test_initialize_is_answered_while_the_model_is_opened(client: Any, engine_log: Any) -> None:
    await client.initialize()
    await engine_log.wait_for("pid")
    assert not engine_log.lines("info"), "it is opening its model for a minute"


def test_version_imports_neither_pygls_nor_a_model_library() -> None:
    script = (
        "import sys\n"
        "from lsp_server.__main__ import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pygls', 'lsprotocol', 'torch', 'llama_cpp', 'numpy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    version, modules = answer.stdout.splitlines()
    assert version.startswith("midword ") and modules == "[]"


async def test_tcp_serves_one_editor_on_loopback_and_ends(engine_log: Any, new_client: Any) -> None:
    argv = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--tcp", "0"]
    process = await asyncio.create_subprocess_exec(
        *argv, "--engine-command", shlex.join(engine_log.argv), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 10)).decode()
    assert line.startswith("midword: listening on 127.0.0.1:")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(line.rsplit(":", 1)[1]))
    client = new_client(writer.write)
    reading = asyncio.create_task(client.read(reader))
    await client.initialize()
    client.open("x.hel")
    assert await client.texts(0, 5) == ["lo()"]
    await client.call("shutdown")
    client.notify("exit")
    assert await asyncio.wait_for(process.wait(), 10) == 0
    await reading
    writer.close()
    client.check()
    assert not alive(engine_log.pids[0])


async def test_stderr_holds_nothing_of_the_users(engine_log: Any) -> None:
    secret = "s3cr3t_in_the_code"
    argv = [sys.executable, "-P", "-m", "lsp_server", "lsp", "--engine-command", shlex.join(engine_log.argv)]
    bad_change = {"textDocument": {"uri": secret, "version": secret}, "contentChanges": secret}
    messages = [
        {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
        {"method": "textDocument/didChange", "params": bad_change},
        {"id": 2, "method": "textDocument/inlineCompletion", "params": {"textDocument": secret}},
        {"id": 3, "method": "workspace/executeCommand", "params": {"command": secret}},
        {"id": 4, "method": secret, "params": {}},
        {"id": 9, "method": "shutdown"},
        {"method": "exit"},
    ]
    bodies = [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages]
    packets = b"".join(b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    answer = await asyncio.to_thread(subprocess.run, argv, input=packets, capture_output=True, timeout=20)
    assert answer.returncode == 0
    assert secret not in answer.stderr.decode()
    lines = answer.stderr.decode().splitlines()
    assert [line for line in lines if not line.startswith("midword: ")] == []
