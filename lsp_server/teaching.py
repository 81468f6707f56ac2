"""What the engine may find repeated: the texts of the open documents, for its drafts.

A document is taught once, when the engine has nothing to do for anybody. What changes in it later reaches the
engine with the windows that are completed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from engine.errors import MidwordError

TAUGHT_BYTES = 65_536
"""Most of one document: what lies around the last edit."""
Learn = Callable[[str, bytes], Awaitable[None]]
"""The engine learns the text of the document of that name; b"": it forgets it."""


class Teaching:
    """Which documents the engine has been taught."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        """What the engine may know, answered or not: all of it can be forgotten."""
        self._taught: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._taught

    async def teach(self, name: str, text: bytes, learn: Learn) -> None:
        """Teach a document; an error will be met by the next request too, which reports it."""
        self._sent.add(name)
        with contextlib.suppress(MidwordError):
            await learn(name, text)
            if name in self._sent:
                self._taught.add(name)

    def forget(self, name: str, learn: Learn) -> None:
        """The document was closed: its text is nobody's business any more."""
        self._taught.discard(name)
        if name in self._sent:
            self._sent.discard(name)
            task = asyncio.create_task(_unteach(name, learn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def forget_all(self, learn: Learn) -> None:
        """What may be taught is another thing now."""
        for name in list(self._sent):
            self.forget(name, learn)

    def engine_has_gone(self) -> None:
        """The next one knows nothing."""
        self._sent.clear()
        self._taught.clear()


async def _unteach(name: str, learn: Learn) -> None:
    with contextlib.suppress(MidwordError):
        await learn(name, b"")


def taught_text(lines: Sequence[bytes], around: int) -> bytes:
    """Whole lines around line `around`, at most TAUGHT_BYTES; of a longer line its beginning."""
    middle = min(around, len(lines) - 1)
    above, room = _that_fit(lines, range(middle - 1, -1, -1), TAUGHT_BYTES // 2)
    below, room = _that_fit(lines, range(middle, len(lines)), TAUGHT_BYTES // 2 + room)
    more, _ = _that_fit(lines, range(middle - above - 1, -1, -1), room)
    return b"".join(lines[middle - above - more : middle + max(1, below)])[:TAUGHT_BYTES]


def _that_fit(lines: Sequence[bytes], numbers: Iterable[int], room: int) -> tuple[int, int]:
    """How many of the first lines of those `numbers` fit into `room` bytes, and the room left."""
    count = 0
    for number in numbers:
        if len(lines[number]) > room:
            break
        count, room = count + 1, room - len(lines[number])
    return count, room
