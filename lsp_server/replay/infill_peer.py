"""llama.cpp's server as a peer: `/infill`, asked as the llama.vim and llama.vscode extensions ask it."""

from __future__ import annotations

import asyncio
import json
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.errors import InputError
from engine.types import SHOWN_SUFFIX_BYTES
from lsp_server.replay.buffer import Buffer, Change
from lsp_server.replay.peer import Cost, Ghost
from lsp_server.windows import ABOVE_BYTES

CONTEXT_TOKENS = 4096
_SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
params.n_ctx = int(sys.argv[3])
params.n_parallel, params.n_gpu_layers, params.port = 1, 0, 0
params.cache_prompt, params.n_cache_reuse = True, 256
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
"""Runs in a virtual environment that has xllamacpp and nothing of midword; ends with its input."""


class InfillPeer:
    """One llama.cpp server. Implements `replay.peer.Peer`.

    It is shown as many bytes around the cursor as midword shows at most, in whole lines, and says as many
    tokens as it may: stand-ins for FIM sentinels would make it stop at once.
    """

    def __init__(self, python: Path, model: Path, threads: int, max_tokens: int) -> None:
        """`python` is one that has xllamacpp; `model` names its FIM sentinels."""
        self.name = "llama.cpp /infill"
        self.costs: list[Cost] = []
        self.start_ms: dict[str, float] = {}
        self._argv = [str(python), "-c", _SERVER, str(model), str(threads), str(CONTEXT_TOKENS)]
        self._max_tokens = max_tokens
        self._process: asyncio.subprocess.Process | None = None

    async def open(self, buffer: Buffer) -> None:
        """Start the server. Raises InputError if it does not start."""
        self._started = time.perf_counter()
        pipe = asyncio.subprocess.PIPE
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=pipe, stdout=pipe, stderr=quiet
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        address = urlsplit(line.decode().strip())
        if not address.hostname or not address.port:
            raise InputError(
                "llama.cpp's server did not start; is xllamacpp installed? try: make bench-peers"
            )
        self._address = address.hostname, address.port

    def changed(self, buffer: Buffer, change: Change) -> None:
        """The whole context is sent with each question."""

    async def ask(self, buffer: Buffer, key: int) -> Ghost:
        """POST /infill and wait."""
        answer = await asyncio.to_thread(self._post, _question(buffer, self._max_tokens))
        timings = answer["timings"]
        self.costs.append(
            Cost(
                key=key,
                purpose="asked",
                outcome="done",
                prompt_tokens=timings["prompt_n"],
                decode_tokens=timings["predicted_n"],
                evaluations=1 + timings["predicted_n"],
                prompt_ms=timings["prompt_ms"],
                total_ms=timings["prompt_ms"] + timings["predicted_ms"],
                was_used=bool(answer["content"].strip()),
            )
        )
        text = answer["content"]
        if not text.strip():
            return Ghost()
        self.start_ms.setdefault("first ghost text", (time.perf_counter() - self._started) * 1000)
        return Ghost(text)

    def pids(self) -> list[int]:
        """The server."""
        return [self._process.pid] if self._process else []

    async def close(self) -> None:
        """End its input, and with it the server."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _post(self, question: dict[str, Any]) -> dict[str, Any]:
        connection = HTTPConnection(*self._address, timeout=60)
        try:
            body = json.dumps(question)
            connection.request("POST", "/infill", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise InputError(f"/infill answered {response.status}: {answer.get('error')}")
        return answer


def _question(buffer: Buffer, max_tokens: int) -> dict[str, Any]:
    before, after = buffer.text[: buffer.cursor], buffer.text[buffer.cursor :]
    line_start = before.rfind("\n") + 1
    above, cut = before[:line_start], max(0, line_start - ABOVE_BYTES)
    above = above[above.find("\n", cut) + 1 :] if cut else above
    below = after[:SHOWN_SUFFIX_BYTES]
    return {
        "input_prefix": above,
        "prompt": before[line_start:],
        "input_suffix": below[: below.rfind("\n") + 1] or below,
        "n_predict": max_tokens,
        "temperature": 0.0,
        "top_k": 1,
        "samplers": ["top_k"],
        "ignore_eos": True,
        "cache_prompt": True,
    }
