"""Latest wins: at most one request per document and channel waits, and one flight per document is under way.

A newer request ends the older one at once, exactly as `$/cancelRequest` does. The flight it waited for is
another matter: if the user typed what the engine is saying anyway, the newer request waits for it too.
VS Code withdraws a request before it sends the change and asks again some 30 ms after it. So a flight that
nobody waits for *lingers*: for a moment, and once a change has come that agrees with it, until the request
that is due. Otherwise it is cancelled, which the engine honours before its next model evaluation.

(Rejected: a generation counter looked at after the engine answered. It leaves the engine working on text
that nobody wants.)
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from lsp_server.flight import Flight, Work
from lsp_server.windows import Place

Channel = Literal["inline", "list"]
"""Ghost text, and completion lists: an editor may ask for both, and wants an answer to both."""
LINGER_S = 0.005
"""Half a step of the engine: a change that follows a withdrawal at once finds the flight still there."""
REQUEST_DUE_S = 0.2
"""Editors ask within this time after a change."""


class Scheduler:
    """Owns which requests wait on which document, and which flights are under way."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, Channel], asyncio.Task[Any]] = {}
        self._flights: dict[str, Flight] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._numbers = itertools.count(1)
        self.ahead: Flight | None = None
        """A flight that nobody asked for; it gives way to any other."""

    @property
    def is_busy(self) -> bool:
        """Whether the engine works on something that was asked for, or a request waits to ask it."""
        return bool(self._requests) or any(not flight.is_done for flight in self._flights.values())

    @property
    def is_awaited(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._requests)

    def new_number(self) -> int:
        """A number for a piece of the engine's work."""
        return next(self._numbers)

    @contextmanager
    def request(self, uri: str, channel: Channel) -> Iterator[None]:
        """The current task answers a request on `uri`; the older one, if any, is cancelled."""
        self._end_request(uri, channel)
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self._requests[uri, channel] = task
        try:
            yield
        finally:
            if self._requests.get((uri, channel)) is task:
                del self._requests[uri, channel]
                if not any((uri, other) in self._requests for other in get_args(Channel)):
                    self._linger(uri, LINGER_S)

    def flight_to(self, place: Place) -> Flight | None:
        """A flight whose text may go through `place`. One that flew ahead is asked for from here on."""
        for flight in (self._flights.get(place.uri), self.ahead):
            if flight is not None and not flight.is_done and flight.agrees(place):
                self._register(flight)
                return flight
        return None

    def start(self, place: Place, work: Work) -> Flight:
        """Ask the engine, instead of what it did for this document or ahead of any request."""
        self._cancel_flight(place.uri)
        if self.ahead is not None:
            self.ahead.cancel()
        flight = Flight(self.new_number(), place, work)
        self._register(flight)
        return flight

    def start_ahead(self, place: Place, work: Work) -> Flight:
        """Ask the engine before anybody does; cancelled as soon as somebody asks for something else."""
        if self.ahead is not None:
            self.ahead.cancel()
        self.ahead = Flight(self.new_number(), place, work)
        return self.ahead

    def text_changed(self, uri: str, place: Place | None) -> None:
        """The document was edited, and the cursor is most likely at `place` (None: anywhere)."""
        flight = self._flights.get(uri)
        if flight is None or flight.is_done:
            return
        if place is None or not flight.agrees(place):
            self._cancel_flight(uri)
        elif uri in self._lingering:
            self._linger(uri, REQUEST_DUE_S)

    def withdraw_all(self) -> None:
        """Cancel every flight: what it would answer is no longer asked."""
        for uri in list(self._flights):
            self._cancel_flight(uri)

    def cancel(self, uri: str) -> None:
        """End the requests and the flight on `uri`."""
        for channel in get_args(Channel):
            self._end_request(uri, channel)
        self._cancel_flight(uri)
        if self.ahead is not None and self.ahead.place.uri == uri:
            self.ahead.cancel()

    def _register(self, flight: Flight) -> None:
        uri = flight.place.uri
        if self._flights.get(uri) is not flight:
            self._cancel_flight(uri)
        if flight is self.ahead:
            self.ahead = None
        self._flights[uri] = flight
        self._stop_lingering(uri)

    def _end_request(self, uri: str, channel: Channel) -> None:
        older = self._requests.pop((uri, channel), None)
        if older is not None and older is not asyncio.current_task():
            older.cancel()

    def _linger(self, uri: str, seconds: float) -> None:
        self._stop_lingering(uri)
        if uri in self._flights and not self._flights[uri].is_done:
            loop = asyncio.get_running_loop()
            self._lingering[uri] = loop.call_later(seconds, self._cancel_flight, uri)

    def _stop_lingering(self, uri: str) -> None:
        if timer := self._lingering.pop(uri, None):
            timer.cancel()

    def _cancel_flight(self, uri: str) -> None:
        self._stop_lingering(uri)
        if flight := self._flights.pop(uri, None):
            flight.cancel()
