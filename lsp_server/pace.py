"""How fast the user types and the engine answers, and how long a request should wait therefore."""

from __future__ import annotations

PAUSE_S = 1.0
"""A longer gap between two edits is a pause, not a rhythm."""
MOST_WAIT_S = 0.15
_WEIGHT = 0.2
"""Of the newest value in a running mean."""


class Pace:
    """Running means, in seconds. Every time is a reading of one monotonic clock."""

    def __init__(self) -> None:
        self.typing_s = 0.2
        self.answer_s = 0.0
        self._last_edit: float | None = None

    def edited(self, now: float) -> None:
        """The user changed the text."""
        if self._last_edit is not None and now - self._last_edit <= PAUSE_S:
            self.typing_s += _WEIGHT * (now - self._last_edit - self.typing_s)
        self._last_edit = now

    def answered(self, seconds: float) -> None:
        """The engine took `seconds` for an answer, or was cancelled after that long without one."""
        self.answer_s += _WEIGHT * (seconds - self.answer_s)

    def wait_s(self) -> float:
        """How long to wait for the next key before the engine is asked.

        Nothing while the engine keeps up with the keys: its answer comes before the next one. When it does
        not, a request that the next key makes void only takes time from the one after it; the wait grows
        with the delay, but never beyond one typing interval, after which the user has probably paused.
        """
        behind_s = self.answer_s - self.typing_s
        return max(0.0, min(behind_s, self.typing_s, MOST_WAIT_S))
