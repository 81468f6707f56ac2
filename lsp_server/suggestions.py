"""What the engine said, what of it is still ahead of the cursor, and what was handed to the editor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from lsp_server.known_texts import KnownTexts
from lsp_server.statistics import Shown
from lsp_server.windows import Place, typed_between

SHOWN_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Part:
    """Where a text belongs: to a suggestion, `start` characters behind its beginning."""

    suggestion: int
    start: int


class Suggestions:
    """The known texts, and the items that the editor may tell something about."""

    def __init__(self) -> None:
        self.known = KnownTexts()
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._last: dict[str, tuple[Place, list[tuple[bytes, Part]]]] = {}
        """By document: what was handed out last."""
        self._next_id = 0
        self.accepted = 0

    def identify(self, place: Place, texts: Sequence[bytes]) -> list[Part]:
        """Which suggestions the texts for `place` are parts of.

        A text that goes on with the rest of one that was handed out before is the same suggestion, also if
        it is longer or shorter than that rest: the engine may have said more since, or stopped sooner.
        """
        rests = self._rests_of_last(place)
        parts = [_part_of(text, rests) or Part(_new(place, text), 0) for text in texts]
        if texts:
            self._last[place.uri] = place, list(zip(texts, parts, strict=True))
        return parts

    def _rests_of_last(self, place: Place) -> list[tuple[bytes, Part]]:
        last_place, last = self._last.get(place.uri, (place, []))
        return list(filter(None, (_rest(last_place, place, *each) for each in last)))

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self.known.forget(uri)
        self._last.pop(uri, None)

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


def _new(place: Place, text: bytes) -> int:
    return hash((place.uri, place.above, place.line + text, place.suffix))


def _part_of(text: bytes, rests: Sequence[tuple[bytes, Part]]) -> Part | None:
    same = [part for rest, part in rests if rest == text]
    like = [part for rest, part in rests if rest.startswith(text) or text.startswith(rest)]
    return next(iter(same + like), None)


def _rest(start: Place, place: Place, text: bytes, part: Part) -> tuple[bytes, Part] | None:
    """What is left at `place` of a text for `start`; None if the way there is another, or nothing is left."""
    typed = typed_between(start, place, text)
    if typed is None or typed == text or not text.startswith(typed):
        return None
    return text[len(typed) :], Part(part.suggestion, part.start + len(typed.decode("utf-8", "ignore")))
