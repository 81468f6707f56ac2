"""The engine as the language server sees it: a child process that answers, and may die.

One supervisor task starts the child, reads its answers, and when it ends fails the requests it owed and
starts it again after a back-off. After `PATIENCE` failures in a row it waits for a request before it
tries again, so that an engine that cannot start does not cost power. An *outage* runs from the child's
end to the next successful answer; it is reported once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal

from engine.errors import Cancelled, EngineDied, ProtocolError, from_code
from engine.protocol import HEADER, VERSION, Message, body_length, pack, result_from_wire, unpack
from engine.types import Request, Result
from lsp_server.engine_state import EngineState

BACKOFF_S = (0.1, 10.0)
PATIENCE = 5
GRACE_S = 1.0
_STREAM_LIMIT_BYTES = 2**20


def engine_argv(model: str = "") -> list[str]:
    """The command of the engine process; an empty `model` means the default one.

    `-P` keeps the editor's folder off sys.path: a project with a package named `engine` would be run.
    """
    return [sys.executable, "-P", "-m", "engine", "serve", *(["--model", model] if model else [])]


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """How a request ended in the engine, which for a cancelled one is after the caller has left."""

    outcome: Literal["done", "cancelled", "failed"]
    usage: Message
    """Counts as in `engine.types.Usage`; for a request that was not done, of what was spent on it."""
    cancel_ms: float | None = None
    """From the message that cancelled it to the engine's last word on it."""


class _Pending:
    """A request the engine owes an answer, even if nobody waits for it any more."""

    def __init__(
        self, on_partial: Callable[[bytes], None] | None, on_end: Callable[[End], None] | None
    ) -> None:
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._on_partial = on_partial
        self._on_end = on_end
        self._withdrawn_s: float | None = None

    def withdraw(self) -> None:
        """Note that the caller has left and the engine has been told."""
        self._withdrawn_s = time.monotonic()

    def settle(self, message: Message) -> bool:
        """Take one message; True when it was the last."""
        if message.get("event") == "partial":
            if self._on_partial and not self.answer.done():
                self._on_partial(message["data"]["text"])
            return False
        is_result = message.get("event") == "result"
        if not self.answer.done():
            if is_result:
                self.answer.set_result(message["data"])
            else:
                self.answer.set_exception(from_code(message["code"], message["message"]))
        data = message["data"] if is_result else message
        self._end("done" if is_result else "failed", data.get("usage") or {})
        return True

    def fail(self, reason: str) -> None:
        """The engine has ended."""
        if not self.answer.done():
            self.answer.set_exception(EngineDied(reason))
        self._end("failed", {})

    def _end(self, outcome: Literal["done", "failed"], usage: Message) -> None:
        if self._on_end is None:
            return
        if self._withdrawn_s is None:
            self._on_end(End(outcome, usage))
        else:
            self._on_end(End("cancelled", usage, (time.monotonic() - self._withdrawn_s) * 1000))


class EngineClient:
    """Requests to one engine process, which is started on first use and restarted when it dies."""

    def __init__(
        self,
        argv: Sequence[str],
        on_outage: Callable[[str], None],
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        """`on_outage` gets one sentence per outage; `backoff_s` is the first and the longest wait."""
        self._argv = list(argv)
        self.on_outage = on_outage
        self.state = EngineState("starting")
        self.on_change: Callable[[], None] = lambda: None
        """Called when `state` is another one."""
        self._first_wait_s, self._longest_wait_s = backoff_s
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._running = asyncio.Event()
        self._wanted = asyncio.Event()
        self._failures = 0
        self._lives = 0
        self._last_words = ""
        self._closed = False

    def start(self) -> None:
        """Start the engine in the background, if it is not; a running loop is needed."""
        if self._supervisor is None and not self._closed:
            self._supervisor = asyncio.create_task(self._supervise())

    async def launched(self, patience_s: float = 0.5) -> None:
        """Start, and return when the process has been made, or cannot be made for so long."""
        self.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._running.wait()

    async def complete(
        self,
        request: Request,
        on_partial: Callable[[bytes], None] | None = None,
        on_end: Callable[[End], None] | None = None,
    ) -> Result:
        """The engine's answer; `on_partial` gets the growing text. Cancelling the task cancels the work.

        `on_end` is called once when the engine is done with it. Raises EngineDied if the process ends
        first, and the engine's own MidwordError.
        """
        return result_from_wire(await self._call("complete", dataclasses.asdict(request), on_partial, on_end))

    async def warm(self, request: Request, on_end: Callable[[End], None] | None = None) -> bool:
        """Make a request's prompt resident, at the lowest priority; False if something else came first.

        Cancelling the task cancels the work. Raises as `complete` does.
        """
        shown = ("prefix", "suffix", "path", "related")
        params = {name: value for name, value in dataclasses.asdict(request).items() if name in shown}
        try:
            await self._call("warm", params, None, on_end)
        except Cancelled:
            return False
        return True

    async def learn(self, path: str, text: bytes) -> None:
        """Let drafts look the text of a document up, at the lowest priority; b"": forget it. Raises as
        `complete` does."""
        await self._call("learn", {"path": path, "text": text})

    async def ask(
        self, op: Literal["next_bytes", "info", "health", "explain"], params: Message | None = None
    ) -> Message:
        """The answer to one of the plain operations. Raises as `complete` does."""
        return await self._call(op, params or {})

    async def close(self) -> None:
        """End the process: ask, then wait GRACE_S, then kill. Owed answers fail with EngineDied."""
        self._closed = True
        if self._supervisor is None:
            return
        if self._process is not None and self._process.stdin is not None and self._running.is_set():
            self._send("shutdown", {})
            self._process.stdin.close()
        _, late = await asyncio.wait([self._supervisor], timeout=GRACE_S if self._running.is_set() else 0)
        for task in late:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._fail_pending("the engine was closed")
        self._running.set()  # wakes the requests that were waiting for a start

    async def _call(
        self,
        op: str,
        params: Message,
        on_partial: Callable[[bytes], None] | None = None,
        on_end: Callable[[End], None] | None = None,
    ) -> Message:
        if self._closed:
            raise EngineDied("the engine was closed")
        self.start()
        self._wanted.set()
        while not self._running.is_set():  # it may have died again before this task had its turn
            await self._running.wait()
            if self._closed:
                raise EngineDied("the engine was closed")
        pending = _Pending(on_partial, on_end)
        request_id = self._send(op, params)
        self._pending[request_id] = pending
        try:
            answer = await pending.answer
        except asyncio.CancelledError:
            if self._running.is_set() and not self._closed:
                self._send("cancel", {"target": request_id})
            pending.withdraw()
            raise
        self._failures = 0
        return answer

    def _send(self, op: str, params: Message) -> int:
        """Write one message. Not drained: latest-wins bounds what can wait in the pipe."""
        assert self._process is not None and self._process.stdin is not None
        request_id = next(self._ids)
        self._process.stdin.write(pack({"v": VERSION, "id": request_id, "op": op, "params": params}))
        return request_id

    async def _supervise(self) -> None:
        while not self._closed:
            reason = await self._live()
            self._fail_pending(reason)
            if self._closed:
                return
            self._become(EngineState("down", sentence=reason, restarts=self.state.restarts))
            if self._failures == 0:
                self.on_outage(f"{reason}; it is being restarted")
            self._failures += 1
            await asyncio.sleep(self._wait_s())
            if self._failures >= PATIENCE:
                await self._wanted.wait()

    def _wait_s(self) -> float:
        return float(min(self._longest_wait_s, self._first_wait_s * 2 ** min(self._failures - 1, 20)))

    async def _live(self) -> str:
        """One life of the process, from start to end. Returns why it ended, as a sentence."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=pipe, stdout=pipe, stderr=pipe, limit=_STREAM_LIMIT_BYTES
            )
        except OSError as error:
            return f"the engine could not be started: {error.strerror or error}"
        self._process = process
        self._last_words = ""
        stderr = asyncio.create_task(self._drain(process))
        self._running.set()
        self._wanted.clear()
        self._lives += 1
        self._become(EngineState("loading", restarts=self._lives - 1))
        self._inquire()
        try:
            await self._read_answers(process)
            async with asyncio.timeout(GRACE_S):
                await process.wait()
            await asyncio.wait([stderr], timeout=0.2)
            return _ending(process.returncode, self._last_words)
        except TimeoutError:
            return "the engine process closed its output and did not end"
        except ProtocolError as error:
            return f"the engine broke the protocol: {error}"
        finally:
            self._running.clear()
            await _reap(process)
            stderr.cancel()

    def _inquire(self) -> None:
        """Ask which model it is: the answer comes when the model is there, or cannot be had.

        It is no sign that the outage is over: an engine that dies of every request answers this too.
        """
        pending = _Pending(None, None)
        self._pending[self._send("info", {})] = pending
        pending.answer.add_done_callback(self._opened)

    def _opened(self, answer: asyncio.Future[Message]) -> None:
        error = answer.exception()
        if error is None:
            self._become(EngineState("ready", str(answer.result()["model"]), restarts=self.state.restarts))
        elif not isinstance(error, EngineDied):
            self._become(EngineState("failed", sentence=str(error), restarts=self.state.restarts))

    def _become(self, state: EngineState) -> None:
        if state != self.state and not self._closed:
            self.state = state
            self.on_change()

    async def _read_answers(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = body_length(await process.stdout.readexactly(HEADER.size))
                self._dispatch(unpack(await process.stdout.readexactly(length)))

    def _dispatch(self, message: Message) -> None:
        pending = self._pending.get(message.get("id", -1))
        try:
            if message.get("event") == "progress":
                self._become(self.state.at(**message["data"]))
            if pending is None:  # the answer to a shutdown
                return
            if pending.settle(message):
                del self._pending[message["id"]]
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"an answer cannot be read: {error!r}") from None

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        """Keep the pipe empty, and its last line for the report; the engine prints no user's code."""
        assert process.stderr is not None
        rest = b""
        while block := await process.stderr.read(4096):
            rest = (rest + block)[-4096:]
            lines = rest.decode("utf-8", "replace").split("\n")
            self._last_words = next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def _fail_pending(self, reason: str) -> None:
        for pending in self._pending.values():
            pending.fail(reason)
        self._pending.clear()


def _ending(returncode: int | None, last_words: str) -> str:
    how = (
        f"was killed by signal {-returncode}"
        if returncode and returncode < 0
        else f"ended with code {returncode}"
    )
    return f"the engine process {how}" + (f" ({last_words})" if last_words else "")


async def _reap(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
