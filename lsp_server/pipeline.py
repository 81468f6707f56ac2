"""From a cursor to the items to show: look up, ask the engine, filter, check against newer text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.errors import Cancelled, EngineDied, MidwordError
from lsp_server.documents import Position
from lsp_server.postprocess import shown_text
from lsp_server.session import Session, Snapshot
from lsp_server.suggestions import Entry

LIMIT_MARGIN_MS = 2000
"""How long the engine may be late before its answer is given up. It keeps its own deadline."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text to insert at `position`, and the id to send back when it is accepted."""

    item_id: str
    text: str
    position: Position


async def complete(session: Session, uri: str, position: Position) -> list[Item]:
    """What to show at `position`, best first; empty when there is nothing to say.

    Raises InputError for a position outside the document, CancelledError when superseded or cancelled.
    """
    document = session.documents.get(uri)
    if not session.settings.enabled or (document is not None and document.broken):
        return []
    snapshot = session.snapshot(uri, position)
    texts = session.suggestions.lookup(uri, snapshot.prefix, snapshot.suffix)
    if texts:
        session.scheduler.cancel(uri)
        return _items(session, snapshot, texts)
    return await _from_engine(session, snapshot)


async def _from_engine(session: Session, snapshot: Snapshot) -> list[Item]:
    settings = session.settings
    limit_ms = settings.deadline_ms + LIMIT_MARGIN_MS
    request = settings.request(snapshot.prefix, snapshot.suffix, snapshot.path)
    try:
        result = await session.scheduler.run(
            snapshot.uri,
            lambda: session.engine.complete(request),
            debounce_ms=settings.debounce_ms,
            limit_ms=limit_ms,
        )
    except (EngineDied, Cancelled):
        return []  # a death is reported by the engine client
    except TimeoutError:
        session.report_once(f"no completion within {limit_ms} ms; a smaller model answers sooner")
        return []
    except MidwordError as error:
        session.report_once(str(error))
        return []
    entry = Entry(snapshot.uri, snapshot.prefix, snapshot.suffix, tuple(c.text for c in result.completions))
    session.suggestions.remember(entry)
    return _follow(session, snapshot, entry)


def _follow(session: Session, snapshot: Snapshot, entry: Entry) -> list[Item]:
    """The answer for the document as it is now: the same, typed along, or stale and therefore empty."""
    document = session.documents.get(snapshot.uri)
    if document is None or document.broken:
        return []
    if document.version == snapshot.version:
        return _items(session, snapshot, entry.texts)
    now = b"".join(document.lines)
    cursor_byte = len(now) - len(snapshot.suffix)
    if cursor_byte < 0:
        return []
    remaining = entry.remaining(snapshot.uri, now[:cursor_byte], now[cursor_byte:])
    cursor = document.position(cursor_byte, session.encoding)
    return _items(session, replace(snapshot, position=cursor), remaining)


def _items(session: Session, snapshot: Snapshot, texts: tuple[bytes, ...]) -> list[Item]:
    shown = dict.fromkeys(shown_text(text, snapshot.suffix).decode() for text in texts)
    return [Item(session.suggestions.show(), text, snapshot.position) for text in shown if text]
