"""When a completion ends, and what of it may be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.types import Completion, StopReason


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one completion may go."""

    max_tokens: int
    """Model evaluations after the tail, about one a token."""
    max_lines: int
    is_overdue: Callable[[], bool] = lambda: False
    """Whether the deadline has passed; looked at before each evaluation."""


class TextSoFar:
    """The bytes chosen so far, with what they have cost."""

    def __init__(self, limits: Limits, text: bytes = b"", logp: float = 0.0) -> None:
        self._limits = limits
        self.text = text
        self.logp = logp
        self._evaluations = 0

    def add(self, chunk: bytes) -> None:
        """Appends bytes of a token or a single byte."""
        self.text += chunk

    def evaluated(self) -> None:
        """Counts one model evaluation."""
        self._evaluations += 1

    def may_evaluate(self) -> bool:
        """Whether budget and deadline allow one more evaluation."""
        return self._evaluations < self._limits.max_tokens and not self._limits.is_overdue()

    @property
    def ended(self) -> StopReason | None:
        """ "lines" once the text passes the line budget."""
        return "lines" if self.text.count(b"\n") >= self._limits.max_lines else None

    def completion(self, reason: StopReason) -> Completion:
        """What may be shown: within the line budget, whole characters, no half CRLF."""
        if reason == "deadline" and self._evaluations >= self._limits.max_tokens:
            reason = "tokens"
        text = within_lines(self.text, self._limits.max_lines)
        text = text[: whole_length(text)].removesuffix(b"\r")
        return Completion(text, self.logp, reason)


def within_lines(text: bytes, max_lines: int) -> bytes:
    """`text` before its `max_lines`-th newline."""
    end = -1
    for _ in range(max_lines):
        end = text.find(b"\n", end + 1)
        if end < 0:
            return text
    return text[:end]


def whole_length(text: bytes) -> int:
    """Length of `text` without an unfinished UTF-8 character at its end."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(text) if back >= size else len(text) - back
        if byte < 0x80:
            break
    return len(text)
