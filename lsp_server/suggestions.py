"""What the engine said, what of it is still ahead of the cursor, and what was handed to the editor."""

from __future__ import annotations

from collections import OrderedDict

from lsp_server.known_texts import KnownTexts
from lsp_server.statistics import Shown

SHOWN_ITEMS = 256


class Suggestions:
    """The known texts, and the items that the editor may tell something about."""

    def __init__(self) -> None:
        self.known = KnownTexts()
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._next_id = 0
        self.accepted = 0

    def show(self, shown: Shown) -> str:
        """A fresh id for an item handed to the editor."""
        self._next_id += 1
        self._shown[str(self._next_id)] = shown
        if len(self._shown) > SHOWN_ITEMS:
            self._shown.popitem(last=False)
        return str(self._next_id)

    def find(self, item_id: str) -> Shown | None:
        """What was shown under an id; None for one that was never given, is too old, or was accepted."""
        return self._shown.get(item_id)

    def accept(self, item_id: str) -> Shown | None:
        """Count an acceptance, and forget the id. None as in `find`."""
        shown = self._shown.pop(item_id, None)
        self.accepted += shown is not None
        return shown
