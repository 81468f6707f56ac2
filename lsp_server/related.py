"""Which lines are shown to the model with those above the cursor: the next ones below it, and of other open
documents those most like its own.

The lines above the cursor are compared with windows of lines of the other documents, by the names in both
(Jaccard's index, as Copilot does). What is chosen stands at the start of the prompt, so a new choice costs
an evaluation of all of it. Therefore a choice stays in force until the cursor has gone elsewhere, the lines
below are others, or other documents are open, and a new one is made only while the engine has nothing else to
do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from engine.types import BELOW_BYTES, RELATED_BYTES, Excerpt
from lsp_server.documents import Document
from lsp_server.windows import Place

WINDOW_LINES = 20
"""Lines compared at once, on either side; windows begin every half of it."""
NEAR_LINES = 60
"""A choice is good for this many lines below the place that it was made for."""
MARK_LINES = 3
NEXT_BYTES = BELOW_BYTES // 2
NEW_LINES = 2
"""A choice is good as long as no more of the lines in the next NEXT_BYTES below are not in it."""
SOURCE_LINES = 5000
"""Most lines of one document that are looked at."""
LEAST_LIKENESS = 0.5
"""Windows less like than this share of the likest are not shown."""
_NAME = re.compile(rb"[A-Za-z_]\w+")
Names = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """A document of which lines may be shown, under that path."""

    path: str
    document: Document

    @property
    def uri(self) -> str:
        """The document's."""
        return self.document.uri

    @property
    def lines(self) -> Sequence[bytes]:
        """SOURCE_LINES of it around the last edit."""
        middle = self.document.edited[0] if self.document.edited else 0
        return self.document.lines[max(0, middle - SOURCE_LINES // 2) :][:SOURCE_LINES]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is shown with a document, and what it was chosen for."""

    excerpts: tuple[Excerpt, ...]
    sources: frozenset[str]
    """The documents it was chosen from, by URI."""
    shown: frozenset[str]
    """Those of which something is shown."""
    mark: bytes
    """The last MARK_LINES above the cursor then."""

    def is_good_for(self, place: Place, sources: frozenset[str]) -> bool:
        """Whether the place is near the one it was made for, with the same documents open and nearly the same
        lines below."""
        near = _end_of(place.above, NEAR_LINES)
        is_near = self.mark in near if self.mark.strip() else near == place.above
        return sources == self.sources and is_near and self._shows_below(place)

    def _shows_below(self, place: Place) -> bool:
        shown = {line for excerpt in self.excerpts if excerpt.below for line in excerpt.text.splitlines()}
        lines = lines_below(place.suffix, NEXT_BYTES).splitlines()
        return sum(line not in shown for line in lines if line.strip()) <= NEW_LINES


@dataclass(frozen=True, slots=True)
class Window:
    """WINDOW_LINES of a file from line `start` on, and the names in them."""

    start: int
    excerpt: Excerpt
    names: Names

    def likeness(self, names: Names) -> float:
        """Share of the names in either that are in both."""
        return len(self.names & names) / max(1, len(self.names | names))


class Related:
    """The choice in force for each document, and the names in the windows of the others."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}
        self._windows: dict[str, tuple[int, list[Window]]] = {}

    def shown_with(self, uri: str, sources: Sequence[Source]) -> tuple[Excerpt, ...]:
        """The excerpts in force for a document; none if one of their documents may not be shown any more."""
        choice = self._choices.get(uri)
        return choice.excerpts if choice and choice.shown <= {source.uri for source in sources} else ()

    def is_good_for(self, place: Place, sources: Sequence[Source]) -> bool:
        """Whether nothing need be chosen anew; nor where there is nothing to compare."""
        choice, uris = self._choices.get(place.uri), frozenset(source.uri for source in sources)
        if choice:
            return choice.is_good_for(place, uris)
        return not (uris and place.above.strip()) and not excerpt_below("", place.suffix)

    async def choose(self, place: Place, path: str, sources: Sequence[Source]) -> Choice:
        """The lines below the cursor, of a document of that path, and the windows most like the lines above
        it, the likeliest first, that fit RELATED_BYTES.

        Gives way to other tasks between the documents.
        """
        windows = list[Window]()
        for source in sources:
            windows += self._windows_of(source)
            await asyncio.sleep(0)
        excerpts = excerpts_like(place.prefix, windows)
        paths = {excerpt.path for excerpt in excerpts}
        return Choice(
            excerpts=excerpt_below(path, place.suffix) + excerpts,
            sources=frozenset(source.uri for source in sources),
            shown=frozenset(source.uri for source in sources if source.path in paths),
            mark=_end_of(place.above, MARK_LINES),
        )

    def put_in_force(self, uri: str, choice: Choice) -> None:
        """From now on this is shown with the document."""
        self._choices[uri] = choice

    def forget(self, uri: str) -> None:
        """The document is closed or kept out: nothing is shown of it or with it any more."""
        self._windows.pop(uri, None)
        self._choices = {
            other: choice
            for other, choice in self._choices.items()
            if other != uri and uri not in choice.shown
        }

    def forget_all(self) -> None:
        """What may be shown is another thing now."""
        self._windows.clear()
        self._choices.clear()

    def _windows_of(self, source: Source) -> list[Window]:
        version, windows = self._windows.get(source.uri, (None, []))
        if version != source.document.version:
            windows = windows_of(source.path, source.lines)
            self._windows[source.uri] = source.document.version, windows
        return windows


def windows_of(path: str, lines: Sequence[bytes]) -> list[Window]:
    """Windows every WINDOW_LINES / 2 lines."""
    step = WINDOW_LINES // 2
    found = list[Window]()
    for start in range(0, max(1, len(lines) - step), step):
        text = b"".join(lines[start : start + WINDOW_LINES])
        found.append(Window(start, Excerpt(path, text), names_in(text)))
    return found


def names_in(text: bytes) -> Names:
    """The names of two letters and more."""
    return frozenset(_NAME.findall(text))


def excerpts_like(prefix: bytes, windows: Sequence[Window]) -> tuple[Excerpt, ...]:
    """Of the windows those most like the end of `prefix`, likest first, none overlapping another.

    As many as fit RELATED_BYTES; what is less than LEAST_LIKENESS times as like as the first is left out.
    """
    names = names_in(_end_of(prefix, WINDOW_LINES))
    ranked = sorted(((window.likeness(names), window) for window in windows), key=lambda pair: -pair[0])
    taken, room = list[Window](), RELATED_BYTES
    for likeness, window in ranked:
        if likeness == 0 or likeness < LEAST_LIKENESS * ranked[0][0]:
            break
        size = len(window.excerpt.text)
        if size <= room and not any(_overlap(window, other) for other in taken):
            taken.append(window)
            room -= size
    return tuple(window.excerpt for window in taken)


def excerpts_from(prefix: bytes, files: Iterable[tuple[str, bytes]]) -> tuple[Excerpt, ...]:
    """The same of whole files: (path, text) of each."""
    windows = [w for path, text in files for w in windows_of(path, text.splitlines(keepends=True))]
    return excerpts_like(prefix, windows)


def excerpt_below(path: str, suffix: bytes, most: int = BELOW_BYTES) -> tuple[Excerpt, ...]:
    """What is shown of the lines below the cursor, in a document of that path: at most so many bytes, and ()
    if they are blank."""
    text = lines_below(suffix, most)
    return (Excerpt(path, text, below=True),) if text.strip() else ()


def lines_below(suffix: bytes, most: int) -> bytes:
    """The whole lines of `suffix` behind its first line end, at most so many bytes."""
    lines = suffix.splitlines(keepends=True)[1:]
    if lines and not lines[-1].endswith((b"\n", b"\r")):
        lines.pop()
    return b"".join(line for line, end in zip(lines, accumulate(map(len, lines)), strict=True) if end <= most)


def _end_of(text: bytes, lines: int) -> bytes:
    return b"".join(text.splitlines(keepends=True)[-lines:])


def _overlap(a: Window, b: Window) -> bool:
    return a.excerpt.path == b.excerpt.path and abs(a.start - b.start) < WINDOW_LINES
