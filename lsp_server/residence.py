"""Which windows the engine most likely has resident, so that a cursor elsewhere gets a small one first.

A window of 4 KB is a thousand tokens: seconds of evaluation on a small machine. Where little of it is
resident, the first question is asked with a *narrow* window, and the whole one is made resident when the
engine has nothing else to do. What the engine really holds is its own affair: a wrong guess costs time, and
never a wrong answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from engine.types import Excerpt
from lsp_server.windows import Place

MOST_WINDOWS = 4
NARROW_BYTES = 1024
"""Shown above the line where most of the window would have to be evaluated; also what counts as little."""
NARROW_BELOW_BYTES = 256
"""Shown with it of the lines below, but not before the very first ghost text, which is waited for, if the
whole window follows."""


class Residence:
    """The windows of the last evaluations, as far as they differ."""

    def __init__(self) -> None:
        self._windows: deque[bytes] = deque(maxlen=MOST_WINDOWS)

    def shown(self, place: Place, related: Sequence[Excerpt] = ()) -> Place:
        """What to show of `place`: all of it if little is new to the engine, otherwise the narrow window."""
        return place if self.new_bytes(place, related) <= NARROW_BYTES else place.narrowed(NARROW_BYTES)

    @property
    def is_empty(self) -> bool:
        """Whether no window was evaluated yet."""
        return not self._windows

    def new_bytes(self, place: Place, related: Sequence[Excerpt] = ()) -> int:
        """How much is not resident of the window above the line and of the excerpts shown before it."""
        window = _window(place, related)
        return len(window) - max((_shared(other, window) for other in self._windows), default=0)

    def evaluated(self, place: Place, related: Sequence[Excerpt] = ()) -> None:
        """The engine has evaluated this window behind these excerpts."""
        window = _window(place, related)
        longer = [w for w in self._windows if not window.startswith(w)]
        self._windows = deque([*longer, window], maxlen=MOST_WINDOWS)

    def forget(self) -> None:
        """The engine is another one."""
        self._windows.clear()


def _window(place: Place, related: Sequence[Excerpt]) -> bytes:
    """In the order of the prompt: the first excerpt stands last."""
    return b"".join(excerpt.text for excerpt in reversed(related)) + place.above


def _shared(a: bytes, b: bytes) -> int:
    """Number of equal leading bytes."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low
