"""One piece of the engine's work that is under way, and who of the cursors may wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from lsp_server.known_texts import Answer
from lsp_server.windows import Place, typed_between

Work = Callable[["Flight"], Awaitable[Answer]]
"""Asks the engine; lets the flight `hear` the growing text, and returns the whole answer."""


class Diverged(Exception):
    """What was typed is not what the flight is saying."""


class Flight:
    """The engine is saying what follows at `place`. Anyone whose cursor lies on that text may wait for it.

    A flight *agrees* with a place that lies behind its own by some typed bytes, as long as these and the
    text so far do not contradict each other. It ends with an answer, an error, or by being cancelled.
    """

    def __init__(self, number: int, place: Place, work: Work) -> None:
        """Starts at once; a running loop is needed. `number` names it in accounts of usage."""
        self.number = number
        self.place = place
        self.text = b""
        """What the engine has said so far (of its first text)."""
        self.waiting = 0
        """How many requests wait for it."""
        self._answer: Answer | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._fly(work))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # may have no waiter

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    def cancel(self) -> None:
        """Withdraw the work from the engine; whoever waits sees `Diverged`."""
        self._task.cancel()

    def agrees(self, place: Place) -> bool:
        """Whether what follows at `place` may still come from here."""
        return self._typed(place) is not None

    async def answer_at(self, place: Place, max_lines: int, patience_s: float | None = None) -> Answer:
        """What follows at `place`, as soon as that is known: when `max_lines` lines are whole, or the flight
        has ended, or, after `patience_s`, as much as there is by then.

        Raises Diverged, and the engine's own MidwordError.
        """
        late = asyncio.get_running_loop().time() + (patience_s if patience_s is not None else 1e9)
        self.waiting += 1
        try:
            while (answer := self._known_at(place, max_lines, late)) is None:
                timeout = late - asyncio.get_running_loop().time()
                await _wait(self._changed, timeout if timeout > 0 else None)
            return answer
        finally:
            self.waiting -= 1

    def _known_at(self, place: Place, max_lines: int, late: float) -> Answer | None:
        typed = self._typed(place)
        if typed is None:
            raise Diverged
        if self._task.done():
            if self._task.cancelled():
                raise Diverged
            error = self._task.exception()
            if error is not None:
                raise error
            assert self._answer is not None
            return self._answer.rest(typed)
        rest = self.text[len(typed) :]
        if rest.count(b"\n") >= max_lines:
            return Answer((rest,), True, self.number)
        if rest.strip() and asyncio.get_running_loop().time() >= late:
            return Answer((rest,), False, self.number)
        return None

    def _typed(self, place: Place) -> bytes | None:
        """The bytes between the flight's place and `place`, if they do not contradict what is known."""
        text = self._answer.texts[0] if self._answer and self._answer.texts else self.text
        typed = typed_between(self.place, place, text)
        return typed if typed is not None and self._may_follow(typed) else None

    def _may_follow(self, typed: bytes) -> bool:
        if self._answer is not None:
            return not typed or any(text.startswith(typed) for text in self._answer.texts)
        return self.text.startswith(typed) or typed.startswith(self.text)

    def hear(self, text: bytes) -> None:
        """Take the text so far from the engine."""
        # With several alternatives the engine goes on to the others after the first.
        if text.startswith(self.text):
            self.text = text
            self._wake()

    async def ended(self) -> None:
        """Returns when the flight has ended, in whatever way."""
        await asyncio.wait([self._task])

    async def _fly(self, work: Work) -> None:
        try:
            self._answer = await work(self)
        finally:
            # Woken in the next turn of the loop, when this task counts as done.
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
