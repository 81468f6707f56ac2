"""From a cursor to the items to show: look up, ask the engine, filter, check against newer text."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from engine.errors import Cancelled, EngineDied, MidwordError
from engine.stop import within_lines
from lsp_server.asking import plan_ahead, question, warm
from lsp_server.documents import Position
from lsp_server.flight import Diverged
from lsp_server.known_texts import Answer
from lsp_server.postprocess import rest_of_line, shown_text
from lsp_server.reasons import ENGINE_DOWN, MOVED_ON, NOT_OPEN, NOTHING_NEW, NOTHING_TO_ADD, Reason
from lsp_server.replay.cursors import cursor_class
from lsp_server.scheduler import Channel
from lsp_server.session import Session, Snapshot
from lsp_server.statistics import Labels, Shown
from lsp_server.suggestions import Part

LIMIT_MARGIN_MS = 2000
"""How long the engine may be late before its answer is given up. It keeps its own deadline."""
NOTHING = Answer(())
Source = Literal["known", "joined", "asked", "nothing"]
"""Where an answer comes from: kept, a flight under way, a flight of its own, nowhere."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text to insert at `position`, and the id to send back when it is accepted."""

    item_id: str
    text: str
    position: Position
    line_before: bytes
    """What stands before the cursor on its line (of a very long line the end)."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer, where it comes from, and why it is none if it is none."""

    answer: Answer
    source: Source
    reason: Reason | None = None

    @property
    def why_nothing(self) -> Reason:
        """The reason if nothing of it is shown."""
        return self.reason or (NOTHING_NEW if self.answer.texts else NOTHING_TO_ADD)


async def complete(
    session: Session, uri: str, position: Position, *, by_hand: bool = False, channel: Channel = "inline"
) -> list[Item]:
    """What to show at `position`, best first; empty when there is nothing to say.

    `by_hand`: the user pressed a key for it. A request supersedes older ones of its own `channel`.
    Raises InputError for a position outside the document, CancelledError when superseded, cancelled,
    withdrawn with its engine or options, or asked of a text that has moved on in another direction: an
    editor would take an empty answer for the newer text's, and hide what it shows there.
    """
    session.attend(uri)
    reason = session.silence(uri, by_hand=by_hand)
    if reason is not None and reason is not NOT_OPEN:
        session.scheduler.cancel(uri)  # it may have been completed a moment ago
        session.unteach(uri)
        session.on_change()
        return []
    try:
        with session.scheduler.request(uri, channel):
            session.on_change()
            snapshot = session.snapshot(uri, position)
            found = await _find(session, snapshot)
            snapshot, found = _now(session, snapshot, found)
    except Diverged:
        session.last_silence = MOVED_ON
        raise asyncio.CancelledError from None
    finally:
        session.on_change()
    answer = found.answer
    texts = _texts(session, snapshot, answer)
    session.last_silence = None if texts else found.why_nothing
    session.note("answer", number=answer.source, source=found.source, shown=bool(texts))
    plan_ahead(session, snapshot, answer, texts[0] if texts else b"")
    return _items(session, snapshot, texts)


def _items(session: Session, snapshot: Snapshot, texts: list[bytes]) -> list[Item]:
    parts = session.suggestions.identify(snapshot.place, texts)
    shown = [_shown(session, snapshot, text, part) for text, part in zip(texts, parts, strict=True)]
    if shown and not session.client_tells_shown:
        session.statistics.shown(shown[0])
    ids = map(session.suggestions.show, shown)
    line = snapshot.place.line
    return [Item(i, s.text.decode(), snapshot.position, line) for i, s in zip(ids, shown, strict=True)]


def _shown(session: Session, snapshot: Snapshot, text: bytes, part: Part) -> Shown:
    place = snapshot.place
    line = place.line.decode("utf-8", "ignore")
    rest = rest_of_line(place.suffix).decode("utf-8", "ignore")
    labels = Labels(
        session.documents[place.uri].language,
        session.engine_state.model,
        cursor_class(line + rest, len(line)),
    )
    return Shown(place.uri, *snapshot.spot, text, part.suggestion, part.start, labels)


def opened(session: Session, uri: str) -> None:
    """Make resident what every cursor of a small document needs: nobody knows yet where the cursor is."""
    if session.silence(uri) is None:
        last = len(session.documents[uri].lines) - 1
        snapshot = session.snapshot(uri, Position(last, 0))
        if snapshot.place.at_top:
            warm(session, snapshot)


async def _find(session: Session, snapshot: Snapshot) -> _Found:
    """What is known to follow, or what the engine says; nothing, with a report, if it cannot answer.

    Raises Diverged if the text moves on.
    """
    known = session.suggestions.known.lookup(snapshot.place)
    if known is not None:
        return _Found(known, "known")
    limit_ms = session.settings.deadline_ms + LIMIT_MARGIN_MS
    started = time.monotonic()
    try:
        async with asyncio.timeout(limit_ms / 1000):
            found = await _from_engine(session, snapshot)
    except EngineDied:
        return _Found(NOTHING, "nothing", ENGINE_DOWN)  # the engine client reports it
    except Cancelled:
        raise Diverged from None
    except TimeoutError:
        sentence = f"no completion within {limit_ms} ms; a smaller model answers sooner"
        reason = Reason("late", sentence, is_fault=True)
    except MidwordError as error:
        reason = Reason("engine-refused", str(error), is_fault=True)
    else:
        session.latency_ms = round((time.monotonic() - started) * 1000, 1)
        session.statistics.answered(session.engine_state.model, session.latency_ms)
        return found
    session.report_once(reason.sentence)
    return _Found(NOTHING, "nothing", reason)


async def _from_engine(session: Session, snapshot: Snapshot) -> _Found:
    """Wait for the flight that is saying it already, otherwise for one of our own.

    Raises Diverged if the text moves on, and the engine's own MidwordError.
    """
    place, max_lines = snapshot.place, session.settings.max_lines
    flight = session.scheduler.flight_to(place)
    if flight is not None:
        try:
            return _Found(await flight.answer_at(place, max_lines), "joined")
        except Diverged:
            if session.documents[place.uri].version != snapshot.version:
                raise
    fixed_ms = session.settings.debounce_ms
    if wait_s := session.pace.wait_s() if fixed_ms < 0 else fixed_ms / 1000:
        await asyncio.sleep(wait_s)
    flight = session.scheduler.start(place, question(session, snapshot))
    return _Found(await flight.answer_at(place, max_lines), "asked")


def _now(session: Session, snapshot: Snapshot, found: _Found) -> tuple[Snapshot, _Found]:
    """The same for the document as it is now: unchanged, or typed along. Raises Diverged if it is neither."""
    document = session.documents.get(snapshot.uri)
    if document is not None and document.version == snapshot.version:
        return snapshot, found
    now = session.edited_snapshot(snapshot.uri)
    known = session.suggestions.known.lookup(now.place) if now is not None else None
    if now is None or known is None:
        raise Diverged
    return now, _Found(known, found.source)


def _texts(session: Session, snapshot: Snapshot, answer: Answer) -> list[bytes]:
    settings = session.settings
    whole = (within_lines(text, settings.max_lines).removesuffix(b"\r") for text in answer.texts)
    shown = (shown_text(text, snapshot.place.suffix) for text in whole)
    return [text for text in dict.fromkeys(shown) if text][: settings.alternatives]
