"""When a completion ends, and what of it may be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.tokenizers.utf8 import partial_length
from engine.types import Completion, StopReason


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one completion may go."""

    max_tokens: int
    """Model evaluations after the tail, about one a token."""
    max_lines: int
    is_overdue: Callable[[], bool] = lambda: False
    """Whether the deadline has passed; looked at before each evaluation."""
    before: bytes = b""
    """Text before the cursor."""

    @property
    def begun(self) -> bytes:
        """The beginning of a character at the end of the text before the cursor: a completion finishes it."""
        return self.before[len(self.before) - partial_length(self.before) :]


class TextSoFar:
    """The bytes chosen so far, with what they have cost."""

    def __init__(self, limits: Limits, text: bytes = b"", logp: float = 0.0) -> None:
        self._limits = limits
        self._begun = limits.begun
        self.text = text
        self.logp = logp
        self._evaluations = 0
        self._is_plain = False  # whether nothing was added since the last look that could end it

    def add(self, chunk: bytes) -> None:
        """Appends bytes of a token or a single byte."""
        self.text += chunk
        self._is_plain = self._is_plain and chunk.isascii() and b"\n" not in chunk

    def evaluated(self) -> None:
        """Counts one model evaluation."""
        self._evaluations += 1

    def may_evaluate(self) -> bool:
        """Whether budget and deadline allow one more evaluation."""
        return self._evaluations < self._limits.max_tokens and not self._limits.is_overdue()

    @property
    def ended(self) -> StopReason | None:
        """ "lines" once the text passes the line budget, "end-of-middle" once it is no UTF-8 any more."""
        if self._is_plain:
            return None
        if self.text.count(b"\n") >= self._limits.max_lines:
            return "lines"
        if not may_become_text(self.text, self._begun):
            return "end-of-middle"
        self._is_plain = not partial_length(self._begun + self.text)
        return None

    def completion(self, reason: StopReason) -> Completion:
        """What may be shown: within the line budget, whole characters, no half CRLF."""
        if reason == "deadline" and self._evaluations >= self._limits.max_tokens:
            reason = "tokens"
        text = within_lines(self.text, self._limits.max_lines)
        text = text[: whole_length(text, self._begun)].rstrip(b"\r")
        return Completion(text, self.logp, reason)


def within_lines(text: bytes, max_lines: int) -> bytes:
    """`text` before its `max_lines`-th newline."""
    end = -1
    for _ in range(max_lines):
        end = text.find(b"\n", end + 1)
        if end < 0:
            return text
    return text[:end]


def whole_length(text: bytes, begun: bytes = b"") -> int:
    """Length of the longest beginning of `text` that is whole UTF-8 characters behind `begun`."""
    try:
        (begun + text).decode()
    except UnicodeDecodeError as error:
        return max(0, error.start - len(begun))
    return len(text)


def may_become_text(text: bytes, begun: bytes = b"") -> bool:
    """Whether `text` is whole UTF-8 characters behind `begun`, the last one perhaps unfinished."""
    both = begun + text
    if both.isascii():
        return True
    finished = both[: len(both) - partial_length(both)]
    return whole_length(finished) == len(finished)
