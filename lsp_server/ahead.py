"""Work that nobody has asked for yet: done while the engine has nothing else to do, dropped when it has.

A *plan* is a list of jobs that run one after the other once the user has rested for a moment. There is one
plan at a time; a newer one replaces it, unless it has the same aim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence

from lsp_server.scheduler import Scheduler

Job = Callable[[], Awaitable[None]]


class Ahead:
    """Runs plans beside `scheduler`, which tells whether the engine is free."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._aim: Hashable = None
        self._task: asyncio.Task[None] | None = None

    def plan(self, aim: Hashable, rest_s: float, jobs: Sequence[Job]) -> None:
        """Run `jobs` in `rest_s` seconds; nothing happens if a plan with the same `aim` is under way."""
        if self._task is not None and not self._task.done() and aim == self._aim:
            return
        self.cancel()
        self._aim = aim
        self._task = asyncio.create_task(self._run(rest_s, jobs))

    def cancel(self) -> None:
        """Drop the plan, and withdraw from the engine what of it is under way."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._scheduler.ahead is not None:
            self._scheduler.ahead.cancel()

    async def _run(self, rest_s: float, jobs: Sequence[Job]) -> None:
        await asyncio.sleep(rest_s)
        for job in jobs:
            if self._scheduler.is_busy:
                return
            await job()
