"""Where the last tokens of a text stood before, and what followed there (prompt lookup).

Source: Saxena, "Prompt Lookup Decoding", 2023. The longest match decides, as a suffix automaton would find
it, but only the newest places of the last two tokens are looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MOST_TOKENS = 60_000
"""Of all texts together; some 150 bytes each in the index."""
PLACES = 16
"""Newest places of a pair of tokens that are kept."""
LONGEST_MATCH = 12
"""Longer matches are as good."""


class Lookup:
    """Texts as tokens, by name, and an index of their pairs; the least recently used text goes first."""

    def __init__(self, most_tokens: int = MOST_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._texts: OrderedDict[str, list[int]] = OrderedDict()
        self._places: dict[tuple[int, int], list[tuple[str, int]]] = {}
        self._held = self._indexed = 0

    def learn(self, name: str, tokens: Sequence[int]) -> None:
        """The text `name` consists of these tokens now. Costs what is new behind its unchanged beginning."""
        text = self._texts.setdefault(name, [])
        self._texts.move_to_end(name)
        kept = _shared(text, tokens)
        self._held += len(tokens) - len(text)
        del text[kept:]
        text += tokens[kept:]
        self._index(name, text, kept)
        while self._held > self._most_tokens and len(self._texts) > 1:
            _, dropped = self._texts.popitem(last=False)
            self._held -= len(dropped)
        if self._indexed > 2 * self._most_tokens:
            self._places.clear()
            self._indexed = 0
            for other, whole in self._texts.items():
                self._index(other, whole, 0)

    def forget(self, name: str) -> None:
        """Nothing of the text is found any more."""
        self._held -= len(self._texts.pop(name, ()))

    def _index(self, name: str, text: Sequence[int], start: int) -> None:
        for end in range(max(1, start), len(text)):
            places = self._places.setdefault((text[end - 1], text[end]), [])
            places.append((name, end))
            if len(places) > 2 * PLACES:
                del places[:PLACES]
        self._indexed += len(text) - start

    def after(self, history: Sequence[int]) -> list[tuple[int, int]]:
        """(token, length of the match) that followed the end of `history` before, the longest match first.

        Matches are of at least two tokens and at most LONGEST_MATCH.
        """
        if len(history) < 2:
            return []
        found: dict[int, int] = {}
        for name, end in reversed(self._places.get((history[-2], history[-1]), [])[-PLACES:]):
            text = self._texts.get(name, [])
            if end + 1 < len(text):
                length = _match(text, end, history)
                if length > max(1, found.get(text[end + 1], 0)):
                    found[text[end + 1]] = length
        return sorted(found.items(), key=lambda item: -item[1])


def _match(text: Sequence[int], end: int, history: Sequence[int]) -> int:
    """Number of equal tokens of text[: end + 1] and `history`, from their ends backwards."""
    most = min(end + 1, len(history), LONGEST_MATCH)
    for length in range(most):
        if text[end - length] != history[-1 - length]:
            return length
    return most


def _shared(text: list[int], tokens: Sequence[int]) -> int:
    """Number of equal leading tokens."""
    low, high = 0, min(len(text), len(tokens))
    while low < high:
        middle = (low + high + 1) // 2
        same = text[low:middle] == list(tokens[low:middle])
        low, high = (middle, high) if same else (low, middle - 1)
    return low
