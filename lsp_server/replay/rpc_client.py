"""A small JSON-RPC client over the pipes of a child process. It shares no code with the server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import MidwordError, ProtocolError

Params = dict[str, Any]


class AnswerError(MidwordError):
    """The server answered with an error; `number` is JSON-RPC's code."""

    def __init__(self, error: Params) -> None:
        super().__init__(f"the server answered: {error.get('message')}")
        self.number = error.get("code")


class RpcClient:
    """Requests to one server process, and its notifications."""

    def __init__(self, process: asyncio.subprocess.Process, hear: Callable[[str, Params], None]) -> None:
        """`hear` gets the method and the parameters of each notification."""
        self.process = process
        self._hear = hear
        self._ids = itertools.count(1)
        self._owed: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, argv: Sequence[str], hear: Callable[[str, Params], None]) -> RpcClient:
        """Start the server. Raises ProtocolError if it cannot be started."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=2**24)
        except OSError as error:
            raise ProtocolError(f"{argv[0]} cannot be started: {error.strerror or error}") from None
        return cls(process, hear)

    def notify(self, method: str, params: Params | None = None) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def request(self, method: str, params: Params | None = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request; the future is its result. It raises AnswerError, or ProtocolError at the end."""
        number = next(self._ids)
        self._owed[number] = asyncio.get_running_loop().create_future()
        # The answer to a withdrawn request has no reader.
        self._owed[number].add_done_callback(lambda future: future.cancelled() or future.exception())
        self._send({"id": number, "method": method, "params": params})
        return number, self._owed[number]

    def cancel(self, number: int) -> None:
        """Withdraw a request; its answer still comes."""
        self.notify("$/cancelRequest", {"id": number})

    async def close(self) -> None:
        """Shut the server down, and wait until it has ended."""
        with contextlib.suppress(MidwordError):
            await self.request("shutdown")[1]
            self.notify("exit")
        await self.process.wait()
        await self._reading

    def _send(self, message: Params) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self.process.stdout.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n"))
                self._take(json.loads(await self.process.stdout.readexactly(int(fields[b"Content-Length"]))))
        for future in self._owed.values():
            future.set_exception(ProtocolError("the server ended while it owed an answer"))

    def _take(self, message: Params) -> None:
        if "method" in message:
            self._hear(message["method"], message.get("params") or {})
        elif (future := self._owed.pop(message["id"], None)) is not None and not future.done():
            if "error" in message:
                future.set_exception(AnswerError(message["error"]))
            else:
                future.set_result(message["result"])
