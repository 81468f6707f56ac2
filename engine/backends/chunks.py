"""How many tokens of a prompt are evaluated at once."""

from __future__ import annotations

SMALLEST_CHUNK = 32


class ChunkSize:
    """Halved by each aborted evaluation, so that prompts get on; doubled again by each whole one."""

    def __init__(self, largest: int) -> None:
        self.tokens = self._largest = largest
        """Most tokens of the next evaluation."""

    def aborted(self) -> None:
        """An evaluation was cancelled while it ran."""
        self.tokens = max(SMALLEST_CHUNK, self.tokens // 2)

    def evaluated(self, tokens: int) -> None:
        """An evaluation of so many tokens was carried out."""
        if tokens == self.tokens:
            self.tokens = min(self._largest, self.tokens * 2)

    def limit(self) -> None:
        """From now on at most half as many as were just tried."""
        self.tokens = self._largest = max(SMALLEST_CHUNK, self.tokens // 2)
