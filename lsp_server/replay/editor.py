"""The simulated editor: plays a trace against a peer, and writes down what the user sees and when."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lsp_server.replay.buffer import Buffer, Change
from lsp_server.replay.cursors import CursorClass, cursor_class
from lsp_server.replay.peer import Ghost, Peer
from lsp_server.replay.traces import ACCEPTS, Event, Hole, Kind, Trace

PATIENCE_S = 10.0
_FIRST_WORD = re.compile(r"\W*\w*")


@dataclass(slots=True)
class Key:
    """One action of the user, and what was shown because of it."""

    kind: Kind
    cursor: CursorClass
    shown: str = ""
    ms: float | None = None
    """From the question to its answer; None if it was withdrawn before."""
    withdrawn_ms: float | None = None
    """How long the question had waited when it was withdrawn."""
    is_stale: bool = False
    """Whether what was shown was meant for another place than the cursor's."""
    is_right: bool = False
    """Whether what was shown is what the user was going to type."""


@dataclass(slots=True)
class Session:
    """What came of a trace."""

    trace: Trace
    keys: list[Key] = field(default_factory=list)
    accepted_chars: int = 0
    typed_chars: int = 0
    text: str = ""
    """The document at the end."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the user goes about it."""

    speed: float = 1.0
    """Keys come so many times as fast as in the trace."""
    is_patient: bool = False
    """Whether the user waits for every answer before the next key."""
    accepts: bool = True
    ask_after_ms: float = 30.0
    """The editor asks so long after the change. VS Code takes 20 to 40 ms."""


class Editor:
    """One document, one peer, one user."""

    def __init__(
        self,
        peer: Peer,
        trace: Trace,
        manner: Manner,
        on_key: Callable[[], None],
        on_started: Callable[[], None],
    ) -> None:
        """`on_key` is called after each action, for a progress bar; `on_started` once, when the first
        question, which every user is patient with, has been answered."""
        self._peer = peer
        self._manner = manner
        self._on_key = on_key
        self._on_started = on_started
        self._open_holes = sorted(trace.holes, key=lambda hole: hole.start)
        self._buffer = Buffer(_without(trace.text, self._open_holes))
        self._ghost = Ghost()
        self._asking: asyncio.Task[None] | None = None
        self.session = Session(trace)

    async def play(self) -> Session:
        """Fill all holes."""
        await self._peer.open(self._buffer)
        for hole in self.session.trace.holes:
            if hole is self.session.trace.holes[0]:
                await self._start(hole)
            await self._fill(hole)
            self._open_holes.remove(hole)
        await self._settle(patient=True)
        self.session.text = self._buffer.text
        return self.session

    async def _start(self, hole: Hole) -> None:
        self._buffer.cursor = self._start_of(hole)
        self._ask("move", self.session.trace.text[hole.start : hole.end])
        await self._settle(patient=True)
        self._on_started()

    async def _fill(self, hole: Hole) -> None:
        goal = self.session.trace.text[hole.start : hole.end]
        start = self._start_of(hole)
        done = 0
        for event in hole.events:
            if event.index < done:
                self._on_key()
                continue  # an acceptance has typed it already
            await self._rest(event.wait_ms)
            await self._settle(patient=self._manner.is_patient)
            if event.kind in ACCEPTS:
                done = max(done, self._accept(event, goal))
            elif event.kind == "move":
                self._buffer.cursor = start
                self._ask(event.kind, goal)
            else:
                self._change(event)
                done = event.index + len(event.text) if event.kind == "type" else done
                self._ask(event.kind, goal[done:])
            self._on_key()

    def _start_of(self, hole: Hole) -> int:
        """Where a hole is in the document, in which other holes are still open."""
        return hole.start - sum(h.end - h.start for h in self._open_holes if h.start < hole.start)

    async def _rest(self, wait_ms: float) -> None:
        await asyncio.sleep(wait_ms / 1000 / self._manner.speed)

    def _change(self, event: Event) -> None:
        if event.kind == "undo":
            change = self._buffer.undo()
        elif event.kind == "take-back":
            change = self._buffer.edit(1, "")
        else:
            change = self._buffer.edit(0, event.text)
            self.session.typed_chars += len(event.text) if event.kind == "type" else 0
        self._tell(change)

    def _accept(self, event: Event, goal: str) -> int:
        """Take what is shown, or the part of it, if it is right. Returns how far the hole is filled then."""
        text = self._ghost.text
        if event.kind == "accept-word" and (word := _FIRST_WORD.match(text)):
            text = word[0]
        elif event.kind == "accept-line":
            text = text.partition("\n")[0]
        rest = goal[event.index :]
        if not self._manner.accepts or not text or not rest.startswith(text):
            return 0
        self._tell(self._buffer.edit(0, text))
        self.session.accepted_chars += len(text)
        self._ask(event.kind, rest[len(text) :])
        return event.index + len(text)

    def _tell(self, change: Change) -> None:
        self._peer.changed(self._buffer, change)
        self._ghost = Ghost()

    def _ask(self, kind: Kind, rest: str) -> None:
        key = Key(kind, cursor_class(self._buffer.text, self._buffer.cursor))
        self.session.keys.append(key)
        number = len(self.session.keys) - 1
        self._asking = asyncio.create_task(self._show(key, number, rest))

    async def _show(self, key: Key, number: int, rest: str) -> None:
        await asyncio.sleep(self._manner.ask_after_ms / 1000)
        asked = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                ghost = await self._peer.ask(self._buffer, number)
        except asyncio.CancelledError:
            key.withdrawn_ms = (time.perf_counter() - asked) * 1000
            raise
        except TimeoutError:
            key.withdrawn_ms = PATIENCE_S * 1000
            return
        key.ms = (time.perf_counter() - asked) * 1000
        key.shown = ghost.text
        key.is_stale = bool(ghost.text) and ghost.position not in (None, self._buffer.position())
        key.is_right = bool(ghost.text) and rest.startswith(ghost.text)
        self._ghost = ghost

    async def _settle(self, *, patient: bool) -> None:
        """The question that is open is answered first, or withdrawn."""
        if self._asking is None:
            return
        if not patient:
            self._asking.cancel()
        await asyncio.wait([self._asking])
        if not self._asking.cancelled() and (error := self._asking.exception()):
            raise error
        self._asking = None


def _without(text: str, holes: list[Hole]) -> str:
    """`text` without the characters of the holes, which are sorted."""
    pieces, end = [], 0
    for hole in holes:
        pieces.append(text[end : hole.start])
        end = hole.end
    return "".join(pieces) + text[end:]
