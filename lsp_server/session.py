"""The one mutable owner: documents, settings, the engine. Everyone else gets frozen Snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from engine.errors import InputError
from lsp_server.documents import Document, Edit, Position
from lsp_server.engine_client import EngineClient, engine_argv
from lsp_server.options import Settings, parse
from lsp_server.positions import Encoding
from lsp_server.scheduler import Scheduler
from lsp_server.suggestions import Suggestions

Report = Callable[[Literal["show", "log"], str], None]
"""Tells the user one sentence: in a window, or in the server's log of the editor."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document at one version, cut at the cursor. `version` is what a later answer is checked against."""

    uri: str
    path: str
    version: int
    position: Position
    """The cursor, on a character boundary."""
    prefix: bytes
    suffix: bytes


class Session:
    """State of one connected editor. Methods run on the event loop and none blocks."""

    def __init__(self, report: Report, engine_command: Sequence[str] | None = None) -> None:
        """`engine_command` replaces the engine's command line, for tests and development."""
        self.settings = Settings()
        self.encoding: Encoding = "utf-16"
        self.root_uri = ""
        self.documents: dict[str, Document] = {}
        self.scheduler = Scheduler()
        self.suggestions = Suggestions()
        self.report = report
        self._engine_command = engine_command
        self._engine: EngineClient | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._reported: set[str] = set()

    @property
    def engine(self) -> EngineClient:
        """The engine for the current settings, started on first use."""
        if self._engine is None:
            argv = self._engine_command or engine_argv(self.settings.model)
            self._engine = EngineClient(argv, on_outage=lambda reason: self.report("show", reason))
        return self._engine

    def configure(self, sent: Any) -> None:
        """Put the client's options in force; what cannot be used is reported once and defaulted."""
        settings, problems = parse(sent)
        for problem in problems:
            self.report_once(problem)
        if (settings.model, settings.enabled) != (self.settings.model, self.settings.enabled):
            self._retire_engine()
        if settings != self.settings:
            self.suggestions.forget()
        self.settings = settings

    def warm_up(self) -> None:
        """Start the engine in the background, unless completion is switched off."""
        if self.settings.enabled:
            self.engine.start()

    def report_once(self, sentence: str) -> None:
        """Log `sentence`, unless this session has said it before."""
        if sentence not in self._reported:
            self._reported.add(sentence)
            self.report("log", sentence)

    def open(self, uri: str, version: int, text: str) -> None:
        """A document was opened (or opened again)."""
        self.documents[uri] = Document(uri, version)
        self.change(uri, version, [Edit(text)])

    def change(self, uri: str, version: int, edits: Iterable[Edit]) -> None:
        """Apply the edits of one didChange. A refused one breaks the document and is reported."""
        document = self.documents.get(uri)
        if document is None:
            self.report_once("a change to a document that is not open was ignored")
            return
        document.version = version
        was_broken = document.broken
        for edit in edits:
            try:
                document.apply(edit, self.encoding)
            except InputError as error:
                if not was_broken:
                    self.report("show", str(error))
                was_broken = document.broken

    def close_document(self, uri: str) -> None:
        """The editor closed a document: its work is cancelled and its text is forgotten."""
        self.scheduler.cancel(uri)
        self.suggestions.forget(uri)
        self.documents.pop(uri, None)

    def snapshot(self, uri: str, position: Position) -> Snapshot:
        """The document cut at `position`. Raises InputError if there is no such document or line."""
        if uri not in self.documents:
            raise InputError("the document is not open")
        document = self.documents[uri]
        prefix, suffix = document.split(position, self.encoding)
        path = _shown_path(uri, self.root_uri)
        cursor = document.clamp(position, self.encoding)
        return Snapshot(uri, path, document.version, cursor, prefix, suffix)

    async def close(self) -> None:
        """Cancel all work and end the engine process."""
        for uri in list(self.documents):
            self.close_document(uri)
        self._retire_engine()
        await asyncio.gather(*self._closing)

    def _retire_engine(self) -> None:
        if self._engine is not None:
            task = asyncio.create_task(self._engine.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._engine = None


def _shown_path(uri: str, root_uri: str) -> str:
    """The document's path below the workspace, or its name: the rest is nobody's business."""
    path, root = (PurePosixPath(unquote(urlsplit(u).path)) for u in (uri, root_uri))
    return str(path.relative_to(root)) if root_uri and path.is_relative_to(root) else path.name
