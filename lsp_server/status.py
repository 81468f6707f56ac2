"""The state of everything as an editor shows it in its status bar: `didChangeStatus`, `midword.status`.

The notification is the one of Copilot's language server (`kind`, `busy`, `message`) with more in it. It is
sent when something in it has changed, at most once a turn of the event loop, and only to a client that
asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lsp_server.engine_state import EngineState
from lsp_server.reasons import Reason
from lsp_server.session import Session

DID_CHANGE_STATUS = "didChangeStatus"
Kind = Literal["Normal", "Warning", "Error", "Inactive"]


@dataclass(frozen=True, slots=True)
class Status:
    """What is told; what is None is left out. `payload` gives it the names of the wire."""

    kind: Kind
    busy: bool
    """Whether somebody waits: a request for the engine, or everybody for the model."""
    message: str
    model: str | None = None
    latency_ms: float | None = None
    """Of the last answer that the engine gave to a request."""
    progress: int | None = None
    """Percent, while the model is fetched."""
    uri: str | None = None
    """The document it is about: the last one that was opened, asked about or focused."""
    reason: str | None = None
    """Why that document, or the last request there, gets nothing (`lsp_server.reasons`)."""
    restarts: int = 0

    def payload(self) -> dict[str, Any]:
        """As JSON."""
        named = {
            "kind": self.kind, "busy": self.busy, "message": self.message, "model": self.model,
            "latencyMs": self.latency_ms, "progress": self.progress, "uri": self.uri, "reason": self.reason,
            "restarts": self.restarts,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}


def status_of(session: Session, uri: str | None = None) -> Status:
    """The status for one document; without `uri` for the one that has the user's attention."""
    uri = uri or session.attended
    engine = session.engine_state
    reason = session.silence(uri) if uri else session.general_silence()
    kind, busy, message = _standing(engine, session.scheduler.is_awaited)
    if reason is not None:
        kind, message = "Warning" if reason.is_fault else "Inactive", reason.sentence
    elif engine.phase == "ready":
        reason = session.last_silence if uri == session.attended else None
        kind, message = _of_last_request(kind, message, reason)
        if session.option_problem and kind == "Normal":
            kind, message = "Warning", session.option_problem
    return Status(
        kind,
        busy,
        message,
        model=engine.model or None,
        latency_ms=session.latency_ms,
        progress=engine.percent,
        uri=uri,
        reason=reason.name if reason else None,
        restarts=engine.restarts,
    )


def _standing(engine: EngineState, awaited: bool) -> tuple[Kind, bool, str]:
    if engine.phase == "ready":
        return "Normal", awaited, "completing" if awaited else "ready"
    if engine.phase == "failed":
        return "Error", False, engine.sentence
    if engine.phase == "down":
        return "Error", True, f"{engine.sentence}; it is being restarted"
    return "Normal", True, engine.sentence or "the model is being loaded"


def _of_last_request(kind: Kind, message: str, reason: Reason | None) -> tuple[Kind, str]:
    if reason is None or message == "completing":
        return kind, message
    return "Warning" if reason.is_fault else kind, reason.sentence


class StatusReporter:
    """Sends the status when it is another one."""

    def __init__(self, session: Session, send: Callable[[dict[str, Any]], None]) -> None:
        self._session = session
        self._send = send
        self._sent: Status | None = None
        self._is_due = False
        self._is_started = False

    def start(self) -> None:
        """The client is ready to hear: before it said so, nothing may be sent."""
        self._is_started = True
        self.changed()

    def changed(self) -> None:
        """Something may be different: look, and send, in the next turn of the loop."""
        if self._is_started and self._session.settings.report_status and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._is_due = False
        status = status_of(self._session)
        if status != self._sent:
            self._sent = status
            self._send(status.payload())
