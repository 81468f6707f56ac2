"""Where the last tokens of a text stood before, and what followed there (prompt lookup).

Source: Saxena, "Prompt Lookup Decoding", 2023. All the newest places of the last two tokens have a vote,
or of the last one where the two never stood together; each token that a match is longer makes it weigh more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

MOST_TOKENS = 30_000
"""Of all texts together; some 300 bytes each in the index."""
PLACES = 16
"""Newest places of a token, and of a pair of tokens, that are kept."""
LONGEST_MATCH = 12
"""Longer matches are as good."""
WEIGHT_OF_LENGTH = 4.0
"""A match that is one token longer weighs so many times as much."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A token that stood behind the same tokens before."""

    token: int
    length: int
    """Tokens of the longest match that it followed."""
    share: float
    """Its part of all matches, weighted by their lengths."""


class Lookup:
    """Texts by name, and an index of their tokens and pairs; the least recently used text goes first."""

    def __init__(self, most_tokens: int = MOST_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._texts: OrderedDict[str, list[int]] = OrderedDict()
        self._places: dict[tuple[int, ...], list[tuple[str, int]]] = {}
        self._held = self._indexed = 0

    def learn(self, name: str, tokens: Sequence[int], known: int = 0) -> None:
        """The text `name` consists of these tokens now. Costs what is new behind its unchanged beginning.

        The first `known` tokens, as far as there were so many, are not compared.
        """
        text = self._texts.setdefault(name, [])
        self._texts.move_to_end(name)
        kept = _shared(text, tokens, known)
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
        for end in range(start, len(text)):
            self._add((text[end],), (name, end))
            if end:
                self._add((text[end - 1], text[end]), (name, end))
        self._indexed += len(text) - start

    def _add(self, key: tuple[int, ...], place: tuple[str, int]) -> None:
        places = self._places.setdefault(key, [])
        places.append(place)
        if len(places) > 2 * PLACES:
            del places[:PLACES]

    def after(self, history: Sequence[int]) -> list[Followed]:
        """What followed the end of `history` before, the longest match first, then the greatest share.

        Matches are of at most LONGEST_MATCH tokens, and of a single one only if there are no longer ones.
        """
        for least in (2, 1):
            found = self._voted(history, least)
            if found:
                whole = sum(weight for _, weight in found.values())
                followed = [Followed(token, n, weight / whole) for token, (n, weight) in found.items()]
                return sorted(followed, key=lambda f: (-f.length, -f.share))
        return []

    def _voted(self, history: Sequence[int], least: int) -> dict[int, tuple[int, float]]:
        """Longest match and summed weights by token, from the places of the last `least` tokens."""
        found: dict[int, tuple[int, float]] = {}
        places = self._places.get(tuple(history[-least:]), []) if len(history) >= least else []
        newest_first = dict.fromkeys(reversed(places[-PLACES:]))  # what is learned again stands there twice
        for name, end in newest_first:
            text = self._texts.get(name, [])
            if end + 1 < len(text) and (length := _match(text, end, history)) >= least:
                longest, weight = found.get(text[end + 1], (0, 0.0))
                found[text[end + 1]] = max(longest, length), weight + WEIGHT_OF_LENGTH**length
        return found


def _match(text: Sequence[int], end: int, history: Sequence[int]) -> int:
    """Number of equal tokens of text[: end + 1] and `history`, from their ends backwards."""
    most = min(end + 1, len(history), LONGEST_MATCH)
    for length in range(most):
        if text[end - length] != history[-1 - length]:
            return length
    return most


def _shared(text: list[int], tokens: Sequence[int], known: int) -> int:
    """Number of equal leading tokens, of which the `known` ones are not compared."""
    high = min(len(text), len(tokens))
    low = min(known, high)
    while low < high:
        middle = (low + high + 1) // 2
        same = text[low:middle] == list(tokens[low:middle])
        low, high = (middle, high) if same else (low, middle - 1)
    return low
