"""The engine process: one thread reads messages, one works, so that a cancellation is heard at once.

A request is *queued* until the worker takes it, then *running* until its one result or error is written.
`cancel` reaches it in both states: a queued request is answered without any work, a running one ends
before its next model evaluation. Warm-ups wait until nothing else does, and anything else ends them.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from engine import __version__
from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.errors import BackendError, Cancelled, InputError, MidwordError, ProtocolError
from engine.model import Model
from engine.models.progress import Report
from engine.protocol import VERSION, Message, pack, read_message, request_from_wire, result_to_wire

PROGRESS_PER_S = 5


@dataclasses.dataclass(order=True, slots=True)
class _Work:
    """A queued request. Ordered: warm-ups after all others, otherwise as they came."""

    is_warm: bool
    turn: int
    number: int = dataclasses.field(compare=False)
    operation: str = dataclasses.field(compare=False)
    params: Message = dataclasses.field(compare=False)
    signal: StopSignal = dataclasses.field(compare=False)


_END = _Work(False, -1, 0, "", {}, StopSignal())
"""Ends the working thread; sorted before everything."""


class Service:
    """Answers messages from `incoming` on `outgoing` with one model."""

    def __init__(
        self, incoming: BinaryIO, outgoing: BinaryIO, load: Callable[[Report], Model], options: Message
    ) -> None:
        """`load` opens the model, in the working thread, and tells how far it is; `options` is what `info`
        tells about it."""
        self._incoming, self._outgoing = incoming, outgoing
        self._load, self._options = load, options
        self._write_lock = threading.Lock()
        self._queue: queue.PriorityQueue[_Work] = queue.PriorityQueue()
        self._turns = itertools.count()
        self._signals: dict[int, StopSignal] = {}
        self._warm_ups: list[StopSignal] = []
        self._completer: Completer | None = None
        self._load_error: MidwordError | None = None

    # -- reading thread ---------------------------------------------------------------------------

    def run(self) -> int:
        """Serves until end of input or `shutdown`. Returns 0, or 1 after a broken frame."""
        worker = threading.Thread(target=self._work, name="worker", daemon=True)
        worker.start()
        status = 0
        try:
            while (message := read_message(self._incoming)) is not None:
                if self._dispatch(message):
                    break
        except ProtocolError:
            status = 1
        for signal in list(self._signals.values()):
            signal.cancel()
        self._queue.put(_END)
        worker.join(timeout=0.2)
        return status

    def _dispatch(self, message: Message) -> bool:
        """Queues one message, or handles it at once. Returns True for `shutdown`."""
        number, operation = message.get("id"), message.get("op")
        params = message.get("params") or {}
        if not isinstance(number, int):
            raise ProtocolError("a message without an integer id")
        if message.get("v") != VERSION:
            self._fail(number, ProtocolError(f"protocol version {message.get('v')}, expected {VERSION}"))
        elif operation == "cancel":
            if signal := self._signals.get(params.get("target", -1)):
                signal.cancel()
        elif operation == "health":
            self._reply(number, "result", {"ok": self._load_error is None, "state": self._state()})
        elif operation == "shutdown":
            self._reply(number, "result", {})
            return True
        elif operation in _OPERATIONS:
            self._enqueue(number, operation, params)
        else:
            self._fail(number, ProtocolError(f"unknown operation {operation!r}"))
        return False

    def _enqueue(self, number: int, operation: str, params: Message) -> None:
        signal = StopSignal(params.get("deadline_ms"))
        self._signals[number] = signal
        if operation == "warm":
            self._warm_ups.append(signal)
        elif operation not in ("info", "learn"):
            for warm_up in self._warm_ups:
                warm_up.cancel()
            self._warm_ups.clear()
        can_wait = operation in ("warm", "learn")
        self._queue.put(_Work(can_wait, next(self._turns), number, operation, params, signal))

    def _state(self) -> str:
        if self._load_error:
            return "failed"
        return "ready" if self._completer else "loading"

    # -- working thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._completer = Completer(self._load(self._report()))
        except MidwordError as error:
            self._load_error = error
        except Exception as error:
            self._load_error = BackendError(f"the engine could not start ({type(error).__name__}: {error})")
        while (work := self._queue.get()) is not _END:
            self._answer(work)

    def _answer(self, work: _Work) -> None:
        """Exactly one result or error for one request."""
        number, operation, signal = work.number, work.operation, work.signal
        try:
            if self._load_error:
                raise self._load_error
            signal.check()
            assert self._completer is not None
            self._reply(number, "result", _OPERATIONS[operation](self, number, work.params, signal))
        except MidwordError as error:
            self._fail(number, error)
        except Exception as error:
            # The trace names our code, never the user's text.
            traceback.print_tb(error.__traceback__)
            self._fail(number, BackendError(f"internal error ({type(error).__name__}) in {operation}"))
        finally:
            self._signals.pop(number, None)

    def _complete(self, number: int, params: Message, signal: StopSignal) -> Message:
        assert self._completer is not None

        def on_text(text: bytes) -> None:
            self._reply(number, "partial", {"text": text})

        return result_to_wire(self._completer.complete(request_from_wire(params), signal, on_text))

    def _warm(self, number: int, params: Message, signal: StopSignal) -> Message:
        assert self._completer is not None
        return dataclasses.asdict(self._completer.warm(request_from_wire(params), signal))

    def _learn(self, number: int, params: Message, signal: StopSignal) -> Message:
        assert self._completer is not None
        self._completer.learn(params.get("path", ""), params.get("text", b""))
        return {}

    def _next_bytes(self, number: int, params: Message, signal: StopSignal) -> Message:
        assert self._completer is not None
        law = params.get("law", "canonical")
        if law not in ("canonical", "all"):
            raise InputError(f"unknown law {law!r}, expected canonical or all")
        found = self._completer.next_bytes(params.get("prefix", b""), params.get("suffix", b""), law, signal)
        return dataclasses.asdict(found)

    def _explain(self, number: int, params: Message, signal: StopSignal) -> Message:
        from engine.explain import explain  # most sessions do without

        assert self._completer is not None
        return dataclasses.asdict(explain(self._completer, request_from_wire(params), signal))

    def _info(self, number: int, params: Message, signal: StopSignal) -> Message:
        assert self._completer is not None
        model = self._completer.model
        return {
            "model": model.name,
            "version": __version__,
            "context": model.backend.context_length,
            "vocabulary": len(model.tokenizer.vocab),
            "template": model.template.order,
            "process": os.getpid(),
            **self._options,
        }

    def _report(self) -> Report:
        """Sends progress: each hundredth of a step, or `PROGRESS_PER_S` a second while its end is unknown.

        No message waits for a next block, which a slow source may not send for minutes.
        """
        last: tuple[str, int] = "", 0

        def report(step: str, done_bytes: int, total_bytes: int | None) -> None:
            nonlocal last
            part = 100 * done_bytes // total_bytes if total_bytes else int(time.monotonic() * PROGRESS_PER_S)
            if last != (step, part):
                last = step, part
                self._reply(
                    0, "progress", {"step": step, "done_bytes": done_bytes, "total_bytes": total_bytes}
                )

        return report

    # -- writing ----------------------------------------------------------------------------------

    def _fail(self, number: int, error: MidwordError) -> None:
        usage = error.usage if isinstance(error, Cancelled) else None
        answer = {"id": number, "event": "error", "code": error.code, "message": str(error)}
        self._write(answer | {"usage": dataclasses.asdict(usage) if usage else None})

    def _reply(self, number: int, event: str, data: Message) -> None:
        self._write({"id": number, "event": event, "data": data})

    def _write(self, message: dict[str, Any]) -> None:
        with self._write_lock:
            self._outgoing.write(pack(message))
            self._outgoing.flush()


_OPERATIONS: dict[str, Callable[[Service, int, Message, StopSignal], Message]] = {
    "complete": Service._complete,
    "warm": Service._warm,
    "learn": Service._learn,
    "explain": Service._explain,
    "next_bytes": Service._next_bytes,
    "info": Service._info,
}
