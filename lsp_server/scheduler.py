"""Latest wins: at most one request per document is worked on.

Superseding cancels the older request's task, which is exactly what `$/cancelRequest` does. So there is
one way out for both: CancelledError at the handler's await, a `cancel` message to the engine, and the
answer -32800. (Rejected: a generation counter looked at after the engine answered. It leaves the engine
working on text that nobody wants.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Scheduler:
    """Owns which task works on which document."""

    def __init__(self) -> None:
        self._current: dict[str, asyncio.Task[Any]] = {}

    async def run(
        self, uri: str, work: Callable[[], Awaitable[T]], *, debounce_ms: float, limit_ms: float
    ) -> T:
        """The result of `work`, after cancelling older work on `uri` and waiting `debounce_ms`.

        Raises CancelledError when superseded, TimeoutError when `work` takes longer than `limit_ms`.
        """
        self.cancel(uri)
        task = asyncio.current_task()
        assert task is not None, "run() is awaited from a task"
        self._current[uri] = task
        try:
            if debounce_ms:
                await asyncio.sleep(debounce_ms / 1000)
            async with asyncio.timeout(limit_ms / 1000):
                return await work()
        finally:
            if self._current.get(uri) is task:
                del self._current[uri]

    def cancel(self, uri: str) -> None:
        """Cancel the work on `uri`, if there is any."""
        older = self._current.pop(uri, None)
        if older is not None and older is not asyncio.current_task():
            older.cancel()
