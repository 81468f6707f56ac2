"""What the engine has said, found again by the cursor it was said for and by any cursor typed along it.

An answer belongs to a place (`windows.Place`). Answers are kept by what stands around the cursor's line, and
there in a prefix trie of the line's bytes before the cursor. Say the engine said `lo()` and `lium` after
`x.he`, and later `p me` after `x.hel`:

    x ─ . ─ h ─ e ──────────── l
                 1: lo(), lium  2: p me

A later cursor on that line walks from the root along its bytes: after `x.hel` it passes both answers. Of the
first, `o()` and `ium` are left once `l` is typed along; the second is newer and comes first. After `x.he`
(a backspace) the walk ends at the first answer, which is therefore as good as new. A text that goes on past
the line's end is kept for the cursor on the next line too.

Only the nodes that hold an answer are stored, by their path, and a walk looks only at depths where there are
any: a few look-ups in a hash table, however much is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from lsp_server.windows import Place

CACHE_BYTES = 8 * 2**20
"""Budget for what is kept. Nothing is kept on disk."""
TRUSTED_REST_BYTES = 8
"""Less than this of a text that was cut by a limit is not shown: what is missing behind it would be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Texts for one cursor, best first, before any post-processing."""

    texts: tuple[bytes, ...]
    is_whole: bool = True
    """Whether the texts end where the model ended them, not where a limit did."""
    source: int = 0
    """Which work of the engine gave them; for accounts of what was of use."""

    def rest(self, typed: bytes) -> Answer:
        """What is left of the texts that start with `typed`."""
        least = 1 if self.is_whole or not typed else TRUSTED_REST_BYTES
        rests = (text[len(typed) :] for text in self.texts if text.startswith(typed))
        return Answer(tuple(rest for rest in rests if len(rest) >= least), self.is_whole, self.source)


@dataclass(slots=True)
class _Line:
    """The trie of one line: its nodes with an answer by the bytes on the way there."""

    held_bytes: int
    nodes: dict[bytes, tuple[int, Answer]] = field(default_factory=dict)
    """With each answer its turn: larger is newer."""
    depths: set[int] = field(default_factory=set)

    def passed(self, line: bytes) -> list[tuple[int, int, Answer]]:
        """(turn, depth, answer) of the nodes on the way of `line`, newest first."""
        ways = [line[:depth] for depth in self.depths if depth <= len(line)]
        found = [(self.nodes[way][0], len(way), self.nodes[way][1]) for way in ways if way in self.nodes]
        return sorted(found, key=lambda node: -node[0])


_Key = tuple[str, bytes, bytes]


class KnownTexts:
    """Answers within a budget of bytes; what stands around the longest unused line goes first."""

    def __init__(self, budget_bytes: int = CACHE_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._lines: OrderedDict[_Key, _Line] = OrderedDict()
        self._held_bytes = 0
        self._turn = 0

    def lookup(self, place: Place) -> Answer | None:
        """What is known to follow at `place` by the newest answer, which may be that there is nothing to say.

        None if the engine must be asked.
        """
        line = self._lines.get(_key(place))
        if line is None:
            return None
        self._lines.move_to_end(_key(place))
        for _, depth, answer in line.passed(place.line):
            rest = answer.rest(place.line[depth:])
            if rest.texts or depth == len(place.line):
                return rest
        return None

    def remember(self, place: Place, answer: Answer) -> None:
        """Keep an answer for `place`, and what of it lies on later lines for the cursors there."""
        if answer.texts or answer.is_whole:
            self._insert(place, answer)
        for head in {text[: text.index(b"\n") + 1] for text in answer.texts if b"\n" in text}:
            self.remember(place.after(head), answer.rest(head))

    def forget(self, uri: str | None = None) -> None:
        """Drop the answers for `uri`, or all of them."""
        for key in [key for key in self._lines if uri is None or key[0] == uri]:
            self._held_bytes -= self._lines.pop(key).held_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes of text held, keys included."""
        return self._held_bytes

    def _insert(self, place: Place, answer: Answer) -> None:
        key = _key(place)
        if key not in self._lines:
            self._lines[key] = _Line(sum(map(len, key)))
            self._held_bytes += self._lines[key].held_bytes
        self._lines.move_to_end(key)
        self._turn += 1
        self._lines[key].nodes[place.line] = self._turn, answer
        self._lines[key].depths.add(len(place.line))
        self._account(key, len(place.line) + sum(map(len, answer.texts)))

    def _account(self, key: _Key, added_bytes: int) -> None:
        self._lines[key].held_bytes += added_bytes
        self._held_bytes += added_bytes
        while self._held_bytes > self._budget_bytes:
            _, dropped = self._lines.popitem(last=False)
            self._held_bytes -= dropped.held_bytes


def _key(place: Place) -> _Key:
    return place.uri, place.above, place.suffix
