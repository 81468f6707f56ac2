"""What the engine said, what of it is still ahead of the cursor, what was shown and accepted."""

from __future__ import annotations

from collections import deque

from lsp_server.known_texts import KnownTexts

SHOWN_ITEMS = 256


class Suggestions:
    """The known texts, and counts of what was shown and accepted."""

    def __init__(self) -> None:
        self.known = KnownTexts()
        self._shown: deque[str] = deque(maxlen=SHOWN_ITEMS)
        self._next_id = 0
        self.accepted = 0

    def show(self) -> str:
        """A fresh id for an item handed to the editor."""
        self._next_id += 1
        self._shown.append(str(self._next_id))
        return self._shown[-1]

    def accept(self, item_id: str) -> bool:
        """Count an acceptance. False for an id that was never shown, is too old, or counted already."""
        if item_id not in self._shown:
            return False
        self._shown.remove(item_id)
        self.accepted += 1
        return True
