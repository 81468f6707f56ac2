"""The page behind `midword.explain`: how the completion at a cursor comes about, or why there is none.

The engine that is running does the work: no model is loaded for it.
"""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath

from engine.stop import within_lines
from lsp_server.documents import Position
from lsp_server.report import Section, page, text_html
from lsp_server.session import Session, Snapshot


async def explanation_html(session: Session, uri: str, position: Position) -> str:
    """The page for a cursor. Raises InputError if there is no such place, and the engine's MidwordError."""
    if uri in session.documents and (reason := session.silence(uri, by_hand=True)):
        return page("Why nothing?", f"Nothing is completed here: {reason.sentence} ({reason.name}).", [])
    # They need numpy, which a server that is not asked for explanations does without.
    from engine.explain import explanation_from_wire
    from lsp_server.explain_page import explanation_page

    snapshot = session.snapshot(uri, position)
    place = snapshot.place
    related = session.related.shown_with(uri, session.others(uri))
    request = session.settings.request(place.prefix, place.suffix, snapshot.path, related)
    request = dataclasses.replace(request, deadline_ms=None)
    answer = await session.engine.ask("explain", dataclasses.asdict(request))
    found = explanation_from_wire(answer)
    more = [*_last_request(session, uri), *_shown_before(session, snapshot, found.text)]
    return explanation_page(found, _described(snapshot), place.prefix, place.suffix, more)


def _described(snapshot: Snapshot) -> str:
    name = PurePosixPath(snapshot.path).name
    return f"{name}, line {snapshot.position.line + 1}, column {len(snapshot.place.line.decode()) + 1}"


def _last_request(session: Session, uri: str) -> list[Section]:
    reason = session.last_silence
    if uri != session.attended or reason is None:
        return []
    return [
        Section("The last request here", text_html(f"Nothing was shown: {reason.sentence} ({reason.name})."))
    ]


def _shown_before(session: Session, snapshot: Snapshot, explained: bytes) -> list[Section]:
    """What was shown here, if that is another text: the first answer after a jump is from less context."""
    known = session.suggestions.known.lookup(snapshot.place)
    if known is None or not known.texts:
        return []
    text = within_lines(known.texts[0], session.settings.max_lines)
    if text.startswith(explained) or explained.startswith(text):
        return []
    sentence = (
        f"Shown was “{text.decode()}”. The first answer at a new place is given from fewer lines around the "
        "cursor, so as to be there sooner. Explained here is what all of them lead to."
    )
    return [Section("What was shown before", text_html(sentence))]
