"""Local statistics: what was shown, accepted and kept, as counts and lengths. Never text, never a name.

They stay on this machine (`statistics_store`). The event loop only counts in memory; a thread writes the
counts every `FLUSH_S` while there are any, and at the end.

A *suggestion* is a text for a place. It stays the same while the user types along it or takes it part by
part, and counts once.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from engine.errors import InputError
from lsp_server.counts import Batch
from lsp_server.documents import Span
from lsp_server.kept_text import KeptText

FLUSH_S = 30.0
KEPT_AFTER_S = {"kept-30s": 30.0, "kept-5min": 300.0}
"""Events by the time after acceptance at which what is left is measured."""
BUCKETS_A_DOUBLING = 8
"""Latencies are counted in buckets of about 9 %."""
_REMEMBERED = 512
_MOST_FOLLOWED = 64
_LANGUAGE = re.compile(r"[a-z0-9+#._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Labels:
    """What counts are told apart by, beside the day."""

    language: str
    model: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A text handed to the editor for a place."""

    uri: str
    line: int
    column: int
    """In bytes."""
    text: bytes
    suggestion: int
    """The same for texts that are the rest of each other."""
    start: int
    """How many characters of the suggestion stand before this text: typed along, or taken."""
    labels: Labels


class Statistics:
    """Counts of one server. Methods run on the event loop and none blocks."""

    def __init__(
        self, lines_of: Callable[[str], Sequence[bytes] | None], report: Callable[[str], None]
    ) -> None:
        """`lines_of` gives an open document's lines; `report` tells the user one sentence."""
        self.is_on = True
        self._lines_of = lines_of
        self._report = report
        self._batch = Batch()
        self._counted: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._followed: list[tuple[str, KeptText]] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    def shown(self, shown: Shown) -> None:
        """A suggestion is on the screen; again while one types along is not once more."""
        if self._is_first("shown", shown.suggestion):
            self._count(shown.labels, "shown", _chars(shown.text))

    def answered(self, model: str, latency_ms: float) -> None:
        """The engine answered a request."""
        if self.is_on:
            self._batch.latencies[_today(), model, bucket_of(latency_ms)] += 1
            self._schedule_flush()

    def accepted(self, shown: Shown) -> None:
        """The user took the text. What is left of it will be measured."""
        self.shown(shown)
        if self._is_first("accepted", shown.suggestion):
            self._count(shown.labels, "accepted", self._newly_taken(shown, _chars(shown.text)))
            self._follow(shown)

    def partly_accepted(self, shown: Shown, chars: int) -> None:
        """The user took the first `chars` characters (of this text in all)."""
        self.shown(shown)
        more = self._newly_taken(shown, chars)
        if self.is_on and more > 0:
            is_first = self._is_first("partly", shown.suggestion)
            self._count(shown.labels, "partly", more, number=is_first)

    def edited(self, uri: str, span: Span | None) -> None:
        """A document was changed; None if it was sent anew."""
        lines = self._lines_of(uri) if self._followed else None
        for _, kept in [pair for pair in self._followed if lines is not None and pair[0] == uri]:
            kept.edited(span, lines or ())

    def closed(self, uri: str) -> None:
        """A document was closed: what was accepted in it is not measured any more."""
        self._followed = [pair for pair in self._followed if pair[0] != uri]

    async def close(self) -> None:
        """Write what has been counted."""
        for timer in (*self._timers, *([self._flush_timer] if self._flush_timer else [])):
            timer.cancel()
        self._followed.clear()
        if self._flushing is not None:
            await self._flushing
        await self._flush()

    # -- counting ---------------------------------------------------------------------------------

    def _newly_taken(self, shown: Shown, chars: int) -> int:
        """How many of the text's first `chars` characters were not taken before."""
        key = ("taken", shown.suggestion)
        before = max(self._counted.get(key, 0), shown.start)
        if self.is_on and shown.start + chars > before:
            self._remember(*key, shown.start + chars)
        return max(0, shown.start + chars - before)

    def _is_first(self, event: str, suggestion: int) -> bool:
        if not self.is_on or (event, suggestion) in self._counted:
            return False
        self._remember(event, suggestion, 1)
        return True

    def _remember(self, event: str, suggestion: int, number: int) -> None:
        self._counted[event, suggestion] = number
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)

    def _count(self, labels: Labels, event: str, chars: int, *, number: int = 1) -> None:
        self._add(labels, event, number)
        self._add(labels, f"{event}-chars", chars)
        self._schedule_flush()

    def _add(self, labels: Labels, event: str, number: int) -> None:
        language, model = _language_name(labels.language), labels.model
        self._batch.counts[_today(), language, model, labels.cursor, event] += number

    # -- what is kept -----------------------------------------------------------------------------

    def _follow(self, shown: Shown) -> None:
        lines = self._lines_of(shown.uri)
        if lines is None or len(self._followed) >= _MOST_FOLLOWED:
            return
        kept = KeptText(shown.text, shown.line, shown.column)
        kept.look(lines)
        self._followed.append((shown.uri, kept))
        for event, seconds in KEPT_AFTER_S.items():
            self._later(seconds, partial(self._measure, shown, kept, event))
        self._later(max(KEPT_AFTER_S.values()), partial(self._forget, kept))

    def _measure(self, shown: Shown, kept: KeptText, event: str) -> None:
        lines = self._lines_of(shown.uri)
        is_followed = any(other is kept for _, other in self._followed)
        if lines is None or not is_followed or not kept.is_there:
            return
        self._add(shown.labels, event, kept.kept_chars(lines))
        self._add(shown.labels, f"{event}-of", kept.chars)
        self._schedule_flush()

    def _forget(self, kept: KeptText) -> None:
        self._followed = [pair for pair in self._followed if pair[1] is not kept]

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    # -- writing ----------------------------------------------------------------------------------

    def _schedule_flush(self) -> None:
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_S, self._start_flush)

    def _start_flush(self) -> None:
        self._flush_timer = None
        self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not batch or not self.is_on:
            return
        try:
            await asyncio.to_thread(_write, batch)
        except InputError as error:
            self.is_on = False
            self._report(f"{error}; until the next start nothing is counted")


def _write(batch: Batch) -> None:
    """Runs in a thread, as does the import of a database that the start of the server need not wait for."""
    from lsp_server.statistics_store import add, statistics_file

    add(statistics_file(), batch)


def bucket_of(latency_ms: float) -> int:
    """The bucket of a latency."""
    return round(BUCKETS_A_DOUBLING * math.log2(max(latency_ms, 0.1)))


def latency_of(bucket: int) -> float:
    """The middle of a bucket, in milliseconds."""
    return float(2 ** (bucket / BUCKETS_A_DOUBLING))


def _today() -> str:
    return date.today().isoformat()


def _chars(text: bytes) -> int:
    return len(text.decode("utf-8", "ignore"))


def _language_name(language: str) -> str:
    """What a client calls a language, unless it is no such name."""
    return language if _LANGUAGE.fullmatch(language) else "other"
