"""What the engine is asked, and what is kept of its answers: for a request, and ahead of any."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from functools import partial

from engine.errors import MidwordError
from engine.types import LOOKING_UP, Request, Result
from lsp_server.ahead import Job
from lsp_server.documents import Document
from lsp_server.engine_client import End
from lsp_server.flight import Flight, Work
from lsp_server.known_texts import Answer
from lsp_server.postprocess import rest_of_line
from lsp_server.related import excerpt_below
from lsp_server.residence import NARROW_BELOW_BYTES
from lsp_server.session import Session, Snapshot
from lsp_server.teaching import taught_text
from lsp_server.windows import Place

CUT_BY_LIMIT = ("tokens", "deadline", "context")
"""Stop reasons of texts that would have gone on."""
SPARE_TEXTS = 3
"""How many texts are looked for ahead, in case the user types something else than what is shown."""


def question(session: Session, snapshot: Snapshot) -> Work:
    """Asks what follows at the cursor, for a request that waits."""
    place = snapshot.place
    request, is_whole = _request(session, place, snapshot.path)

    async def work(flight: Flight) -> Answer:
        started = time.monotonic()
        try:
            answer = await _ask(session, flight, request, "asked")
        finally:
            session.pace.answered(time.monotonic() - started)
        if is_whole:
            session.residence.evaluated(place, request.related)
        return answer

    return work


def _request(session: Session, place: Place, path: str) -> tuple[Request, bool]:
    """What to ask at a place, and whether all of it is shown; a narrow window only with the next lines."""
    related = session.related.shown_with(place.uri, session.others(place.uri))
    shown = session.residence.shown(place, related)
    is_whole = shown is place
    if not is_whole:
        is_first = session.residence.is_empty and session.may_work_ahead
        below_bytes = 0 if is_first else NARROW_BELOW_BYTES
        related = excerpt_below(path, place.suffix, below_bytes)
    return session.settings.request(shown.prefix, shown.suffix, path, related), is_whole


def plan_ahead(session: Session, snapshot: Snapshot, answer: Answer, shown: bytes) -> None:
    """Use the time in which the user reads `shown`: what follows when it is accepted comes first."""
    place, path = snapshot.place, snapshot.path
    jobs: list[Job] = _lessons(session)
    if not _is_settled(session, place):
        jobs.append(lambda: _widen(session, place, path))
    if shown or (_is_at_line_end(place) and place.line.strip()):
        jobs.append(lambda: _follow(session, place, path, answer, shown))
    if shown and len(answer.texts) < SPARE_TEXTS:
        jobs.append(lambda: _find_others(session, place, path))
    if jobs and session.may_work_ahead:
        session.ahead.plan((place.after(shown), len(jobs)), session.pace.typing_s, jobs)


def _lessons(session: Session) -> list[Job]:
    """Teach the engine the open documents that it may know and does not."""
    if session.settings.drafts not in ("auto", *LOOKING_UP):
        return []
    new = [
        (session.shown_path(uri), document)
        for uri, document in session.documents.items()
        if session.silence(uri) is None and session.shown_path(uri) not in session.teaching
    ]
    return [partial(_teach, session, name, document) for name, document in new]


async def _teach(session: Session, name: str, document: Document) -> None:
    line = document.edited[0] if document.edited else 0
    await session.teaching.teach(name, taught_text(document.lines, line), session.engine.learn)


def _is_settled(session: Session, place: Place) -> bool:
    """Whether the whole window is shown at a place, behind excerpts that were chosen for it."""
    return _request(session, place, "")[1] and session.related.is_good_for(place, session.others(place.uri))


def warm(session: Session, snapshot: Snapshot) -> None:
    """Make the prompt at a cursor resident while nothing else is to do."""
    place, path = snapshot.place, snapshot.path
    others = session.others(place.uri)
    new_bytes = session.residence.new_bytes(place, session.related.shown_with(place.uri, others))
    if session.may_work_ahead and (new_bytes or not session.related.is_good_for(place, others)):
        session.ahead.plan(place, 0.0, [lambda: _widen(session, place, path)])


async def _widen(session: Session, place: Place, path: str) -> None:
    choice = await session.related.choose(place, path, session.others(place.uri))
    request = session.settings.request(place.prefix, place.suffix, path, choice.excerpts)
    on_end = _noted(session, session.scheduler.new_number(), "warm")
    with contextlib.suppress(MidwordError):  # a request will meet the same error and report it
        if await session.engine.warm(request, on_end):
            session.related.put_in_force(place.uri, choice)
            session.residence.evaluated(place, choice.excerpts)


async def _follow(session: Session, place: Place, path: str, answer: Answer, shown: bytes) -> None:
    """Ask what comes after `shown` is accepted: the rest of a text that was cut, or the next line."""
    accepted = place.after(shown)
    known = session.suggestions.known.lookup(accepted)
    if known is not None and (known.texts or shown):
        return
    request, _ = _request(session, accepted, path)
    request = dataclasses.replace(
        request, max_lines=request.max_lines + _is_at_line_end(place), alternatives=1
    )

    async def work(flight: Flight) -> Answer:
        more = await _ask(session, flight, request, "ahead")
        if not answer.is_whole and more.texts and answer.texts[0] == shown:
            joined = Answer((shown + more.texts[0],), more.is_whole, more.source)
            session.suggestions.known.remember(place, joined)
        return more

    await session.scheduler.start_ahead(accepted, work).ended()


async def _find_others(session: Session, place: Place, path: str) -> None:
    """Ask for more texts at the cursor; what leads to the first is still at hand in the engine."""
    request, _ = _request(session, place, path)
    request = dataclasses.replace(request, alternatives=SPARE_TEXTS)
    flight = session.scheduler.start_ahead(place, lambda flight: _ask(session, flight, request, "others"))
    await flight.ended()


async def _ask(session: Session, flight: Flight, request: Request, purpose: str) -> Answer:
    on_end = _noted(session, flight.number, purpose)
    result = await session.engine.complete(request, flight.hear, on_end)
    answer = _answer(request, result, flight.number)
    session.suggestions.known.remember(flight.place, answer)
    return answer


def _noted(session: Session, number: int, purpose: str) -> Callable[[End], None]:
    """Notes the start of a piece of the engine's work, and when called its end."""
    session.note("start", number=number, purpose=purpose)
    return lambda end: session.note("end", number=number, **dataclasses.asdict(end))


def _answer(request: Request, result: Result, number: int) -> Answer:
    texts = tuple(completion.text for completion in result.shown)
    if texts:
        return Answer(texts, result.shown[0].stop not in CUT_BY_LIMIT, number)
    return Answer((), request.deadline_ms is None or result.usage.total_ms < request.deadline_ms, number)


def _is_at_line_end(place: Place) -> bool:
    return not rest_of_line(place.suffix).strip()
