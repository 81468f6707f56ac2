"""The one mutable owner: documents, settings, the engine. Everyone else gets frozen Snapshots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from engine.errors import InputError
from lsp_server.ahead import Ahead
from lsp_server.documents import Document, Edit, Position
from lsp_server.early import Early
from lsp_server.eligibility import Eligibility, path_of
from lsp_server.engine_client import EngineClient, engine_argv
from lsp_server.engine_state import EngineState
from lsp_server.options import parse
from lsp_server.pace import Pace
from lsp_server.positions import Encoding
from lsp_server.power import Power
from lsp_server.reasons import DISABLED, NOT_OPEN, POWER_SAVING, Reason
from lsp_server.related import Related, Source
from lsp_server.residence import Residence
from lsp_server.scheduler import Scheduler
from lsp_server.statistics import Statistics
from lsp_server.suggestions import Suggestions
from lsp_server.teaching import Teaching
from lsp_server.windows import Place

Report = Callable[[Literal["show", "log"], str], None]
"""Tells the user one sentence: in a window, or in the server's log of the editor."""
Note = Callable[[dict[str, Any]], None]
"""Tells a client that asked for it what an answer cost. Never holds text."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cursor in one version of a document, with what the engine is shown there.

    `version` is what a later answer is checked against.
    """

    uri: str
    path: str
    version: int
    position: Position
    """The cursor, on a character boundary."""
    spot: tuple[int, int]
    """The same as line and byte column."""
    place: Place


class Session:
    """State of one connected editor. Methods run on the event loop and none blocks."""

    def __init__(
        self, report: Report, note: Note, engine_command: Sequence[str] | None, early: Early
    ) -> None:
        """`note` is called if the client asks for usage. `engine_command` replaces the engine's command
        line, for tests and development."""
        self.settings = early.settings
        self.encoding: Encoding = "utf-16"
        self.root_uri = ""
        self._folders: tuple[PurePosixPath, ...] = ()
        self.eligibility = Eligibility()
        self.documents: dict[str, Document] = {}
        self.scheduler = Scheduler()
        self.ahead = Ahead(self.scheduler)
        self.suggestions = Suggestions()
        self.statistics = Statistics(self._lines_of, self.report_once)
        self.statistics.is_on = self.settings.statistics
        self.residence = Residence()
        self.related = Related()
        self.teaching = Teaching()
        self.pace = Pace()
        self.power = Power()
        self.report = report
        self.on_change: Callable[[], None] = lambda: None
        """Called when what the status tells may be another thing."""
        self.attended: str | None = None
        """The document that has the user's attention, as far as we can know."""
        self.last_silence: Reason | None = None
        """Why the last request in it was answered with nothing; None if it was not."""
        self.latency_ms: float | None = None
        """What the engine needed for the last request that waited for it."""
        self.option_problem: str | None = None
        self.client_tells_shown = False
        self._note = note
        self._engine_command = engine_command
        self._engine = early.engine
        self._closing: set[asyncio.Task[None]] = set()
        self._reported: set[str] = set()
        if self._engine is not None:
            self._watch(self._engine)

    def _lines_of(self, uri: str) -> Sequence[bytes] | None:
        document = self.documents.get(uri)
        return document.lines if document is not None else None

    @property
    def engine(self) -> EngineClient:
        """The engine for the current settings, started on first use."""
        if self._engine is None:
            argv = self._engine_command or engine_argv(self.settings.model)
            self._engine = EngineClient(argv, self._report_outage)
            self._watch(self._engine)
        return self._engine

    @property
    def engine_state(self) -> EngineState:
        """How the engine is; nothing is started."""
        return self._engine.state if self._engine is not None else EngineState("starting")

    def _watch(self, engine: EngineClient) -> None:
        engine.on_outage = self._report_outage
        engine.on_change = lambda: self.on_change()

    def _report_outage(self, reason: str) -> None:
        self.teaching.engine_has_gone()
        self.report("show", reason)

    def configure(self, sent: Any) -> None:
        """Put the client's options in force; what cannot be used is reported once and defaulted."""
        settings, problems = parse(sent)
        for problem in problems:
            self.report_once(problem)
        self.option_problem = problems[0] if problems else None
        if (settings.model, settings.enabled) != (self.settings.model, self.settings.enabled):
            self._retire_engine()
        if settings != self.settings:
            self.ahead.cancel()
            self.scheduler.withdraw_all()
            self.suggestions.known.forget()
            self.related.forget_all()
            if self._engine is not None:
                self.teaching.forget_all(self._engine.learn)
        if settings.statistics != self.settings.statistics:
            self.statistics.is_on = settings.statistics
        self.settings = settings
        self._renew_eligibility()

    def warm_up(self) -> None:
        """Start the engine in the background, unless completion is switched off."""
        if self.settings.enabled:
            self.engine.start()

    async def restart(self) -> None:
        """End the engine, and start it again once it has ended."""
        self.ahead.cancel()
        self.scheduler.withdraw_all()
        self._retire_engine()
        await asyncio.gather(*self._closing)
        self.warm_up()
        self.on_change()

    def report_once(self, sentence: str) -> None:
        """Log `sentence`, unless this session has said it before."""
        if sentence not in self._reported:
            self._reported.add(sentence)
            self.report("log", sentence)

    def set_folders(self, uris: Iterable[str]) -> None:
        """The workspace's folders are these."""
        self._folders = tuple(map(path_of, uris))
        self._renew_eligibility()

    def _renew_eligibility(self) -> None:
        self.eligibility = Eligibility(self.settings.languages, self.settings.exclude, self._folders)
        self.on_change()

    def open(self, uri: str, version: int, text: str, language: str) -> None:
        """A document was opened (or opened again)."""
        self.related.forget(uri)
        self.documents[uri] = Document(uri, version, language)
        self.attend(uri)
        self.change(uri, version, [Edit(text)])

    def change(self, uri: str, version: int, edits: Iterable[Edit]) -> None:
        """Apply the edits of one didChange. A refused one breaks the document and is reported."""
        document = self.documents.get(uri)
        if document is None:
            self.report_once("a change to a document that is not open was ignored")
            return
        document.version = version
        self.pace.edited(time.monotonic())
        was_broken = document.broken
        for edit in edits:
            try:
                self.statistics.edited(uri, document.apply(edit, self.encoding))
            except InputError as error:
                if not was_broken:
                    self.report("show", str(error))
                was_broken = document.broken
        place = self.place_of_edit(document)
        self.scheduler.text_changed(uri, place)
        if place is None or self.suggestions.known.lookup(place) is None:
            self.ahead.cancel()

    def place_of_edit(self, document: Document) -> Place | None:
        """The place behind the last edit; None if the whole text is new or not known."""
        if document.broken or document.edited is None:
            return None
        return document.place_at(*document.edited)

    def close_document(self, uri: str) -> None:
        """The editor closed a document: its work is cancelled and its text is forgotten."""
        self.scheduler.cancel(uri)
        self.suggestions.forget(uri)
        self.unteach(uri)
        self.statistics.closed(uri)
        self.documents.pop(uri, None)
        if self.attended == uri:
            self.attend(None)

    def others(self, uri: str) -> list[Source]:
        """The other open documents of which lines may be shown with this one."""
        if not self.settings.related_files:
            return []
        return [
            Source(self.shown_path(other), document)
            for other, document in self.documents.items()
            if other != uri and self.silence(other, by_hand=True) is None
        ]

    def unteach(self, uri: str) -> None:
        """The engine forgets what it was taught of a document, and is not shown more of it with others."""
        self.related.forget(uri)
        if self._engine is not None:
            self.teaching.forget(self.shown_path(uri), self._engine.learn)

    def attend(self, uri: str | None) -> None:
        """The user looks at this document now."""
        if uri != self.attended and (uri is None or uri in self.documents):
            self.attended, self.last_silence = uri, None
            self.on_change()

    def general_silence(self) -> Reason | None:
        """Why nothing is completed anywhere; None if that is not so."""
        return None if self.settings.enabled else DISABLED

    def silence(self, uri: str, *, by_hand: bool = False) -> Reason | None:
        """Why nothing is completed in a document; None if it is. `by_hand`: the user pressed a key for it."""
        document = self.documents.get(uri)
        if reason := self.general_silence():
            return reason
        if document is None:
            return NOT_OPEN
        if document.broken:
            return Reason("unknown-text", document.broken, is_fault=True)
        if reason := self.eligibility.of_document(document):
            return reason
        return POWER_SAVING if self.should_save_power and not by_hand else None

    def snapshot(self, uri: str, position: Position) -> Snapshot:
        """The document cut at `position`. Raises InputError if there is no such document or line."""
        if uri not in self.documents:
            raise InputError("the document is not open")
        document = self.documents[uri]
        place = document.place(position, self.encoding)
        spot = document.locate(position, self.encoding)
        cursor = document.position(*spot, self.encoding)
        return Snapshot(uri, self.shown_path(uri), document.version, cursor, spot, place)

    def shown_path(self, uri: str) -> str:
        """The document's path below the workspace, or its name: the rest is nobody's business."""
        path, root = path_of(uri), path_of(self.root_uri)
        return str(path.relative_to(root)) if self.root_uri and path.is_relative_to(root) else path.name

    def edited_snapshot(self, uri: str) -> Snapshot | None:
        """The document now, cut behind its last edit; None if there is no such place."""
        document = self.documents.get(uri)
        place = self.place_of_edit(document) if document else None
        if document is None or document.edited is None or place is None:
            return None
        cursor = document.position(*document.edited, self.encoding)
        path = self.shown_path(uri)
        return Snapshot(uri, path, document.version, cursor, document.edited, place)

    @property
    def should_save_power(self) -> bool:
        """Whether nothing is to be done but what the user asks for by hand."""
        return self.power.should_save(self.settings.power_saving)

    @property
    def may_work_ahead(self) -> bool:
        """Whether the engine may be asked for what nobody has asked for yet."""
        return self.settings.enabled and self.settings.work_ahead and not self.should_save_power

    def note(self, kind: str, **counts: Any) -> None:
        """Tell a client that asked for it what happened: numbers and fixed words, never text."""
        if self.settings.report_usage:
            self._note({"kind": kind, **counts})

    async def close(self) -> None:
        """Cancel all work and end the engine process."""
        self.on_change = lambda: None
        self.ahead.cancel()
        for uri in list(self.documents):
            self.close_document(uri)
        self._retire_engine()
        await asyncio.gather(self.statistics.close(), *self._closing)

    def _retire_engine(self) -> None:
        if self._engine is not None:
            task = asyncio.create_task(self._engine.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self.residence.forget()
            self.teaching.engine_has_gone()
            self._engine = None
