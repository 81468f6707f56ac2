"""What the engine said, what of it is still ahead of the cursor, what was shown and accepted.

An entry says: at this path, between exactly this prefix and exactly this suffix, the engine's texts are
these. It answers a later cursor whose suffix is the same and whose prefix is the entry's prefix plus the
first k bytes of a text: what remains of that text is still the completion, without asking the engine.
Nothing is kept on disk.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

CACHE_BYTES = 8 * 2**20
"""Budget of the kept entries; prefix and suffix are kept whole, so that a hit is exact, not probable."""
SHOWN_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """The engine's answer at one cursor: texts before any post-processing, best first."""

    uri: str
    prefix: bytes
    suffix: bytes
    texts: tuple[bytes, ...]

    def remaining(self, uri: str, prefix: bytes, suffix: bytes) -> tuple[bytes, ...]:
        """What is left of each text that the user has typed along so far; empty if there is none.

        With `texts` of `lo()` after `x.hel`: `(b"o()",)` after `x.hell`, `()` after `x.help`.
        """
        typed_bytes = len(prefix) - len(self.prefix)
        if uri != self.uri or typed_bytes < 0 or suffix != self.suffix or not prefix.startswith(self.prefix):
            return ()
        typed = prefix[len(self.prefix) :]
        rests = (text[typed_bytes:] for text in self.texts if text.startswith(typed))
        return tuple(rest for rest in rests if rest)

    @property
    def size_bytes(self) -> int:
        """Memory the entry holds."""
        return len(self.prefix) + len(self.suffix) + sum(map(len, self.texts))


class Suggestions:
    """Recent entries within a budget of bytes, and counts of what was shown and accepted."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache_bytes = cache_bytes
        self._entries: deque[Entry] = deque()
        self._shown: deque[str] = deque(maxlen=SHOWN_ITEMS)
        self._next_id = 0
        self.accepted = 0

    def lookup(self, uri: str, prefix: bytes, suffix: bytes) -> tuple[bytes, ...]:
        """Texts known to continue this cursor, newest answer first; empty if the engine must be asked."""
        for entry in reversed(self._entries):
            if rests := entry.remaining(uri, prefix, suffix):
                return rests
        return ()

    def remember(self, entry: Entry) -> None:
        """Keep an answer, dropping the oldest ones beyond the budget."""
        if not entry.texts:
            return
        self._entries.append(entry)
        held = sum(e.size_bytes for e in self._entries)
        while self._entries and held > self._cache_bytes:
            held -= self._entries.popleft().size_bytes

    def forget(self, uri: str | None = None) -> None:
        """Drop the answers for `uri`, or all of them."""
        self._entries = deque(e for e in self._entries if uri is not None and e.uri != uri)

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
