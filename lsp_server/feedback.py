"""What the editor tells about items, all of it optional: shown, accepted, partly accepted, focused."""

from __future__ import annotations

from lsp_server.asking import plan_ahead, warm
from lsp_server.pipeline import opened
from lsp_server.session import Session
from lsp_server.statistics import Shown


def accepted(session: Session, item_id: str) -> None:
    """The user took an item."""
    if shown := session.suggestions.accept(item_id):
        session.statistics.accepted(shown)


def partly_accepted(session: Session, item_id: str, length: int) -> None:
    """The user took the first `length` UTF-16 units of an item, counted from its start each time."""
    if shown := session.suggestions.find(item_id):
        units = shown.text.decode().encode("utf-16-le")[: 2 * max(length, 0)]
        session.statistics.partly_accepted(shown, len(units.decode("utf-16-le", "ignore")))


def shown_by_client(session: Session, item_id: str) -> None:
    """The editor tells what it shows; from then on only that counts, and work ahead follows it."""
    session.client_tells_shown = True
    if shown := session.suggestions.find(item_id):
        session.statistics.shown(shown)
        _plan_after(session, shown)


def _plan_after(session: Session, shown: Shown) -> None:
    """Work ahead of another text than the first one, for which that was planned with the answer."""
    if session.silence(shown.uri) is not None:
        return
    document = session.documents[shown.uri]
    if shown.line >= len(document.lines):  # the text has changed since
        return
    snapshot = session.snapshot(shown.uri, document.position(shown.line, shown.column, session.encoding))
    known = session.suggestions.known.lookup(snapshot.place)
    if known is not None and shown.text in known.texts[1:]:
        plan_ahead(session, snapshot, known, shown.text)


def focused(session: Session, uri: str) -> None:
    """The user came to a document: make resident what the next request there needs."""
    session.attend(uri)
    if uri not in session.documents or session.silence(uri) is not None:
        return
    snapshot = session.edited_snapshot(uri)
    if snapshot is not None:
        warm(session, snapshot)
    else:
        opened(session, uri)
