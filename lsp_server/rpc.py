"""pygls' protocol, corrected where it drops an answer, keeps a second copy of the text, or logs code."""

from __future__ import annotations

import logging
import sys
from typing import Any

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol

_OURS = (
    # pygls' own document store splits lines where LSP does not, and would double every edit's cost.
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
    # pygls ends the process inside the handler; the engine has to be ended first.
    types.EXIT,
)


class MidwordProtocol(LanguageServerProtocol):
    """Exactly one answer per request, whatever the request looks like."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        for method in _OURS:
            self.fm.builtin_features.pop(method, None)
        self._initialized = False
        self.was_shut_down = False
        """Whether the client asked for shutdown; pygls' own flag says that it was answered."""

    def take(self, message: Any) -> None:
        """Handle one parsed JSON-RPC message; a request that cannot be handled is answered with why."""
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self._refuse(None, JsonRpcInvalidRequest("not a JSON-RPC 2.0 message"))
            return
        method = message.get("method")
        request_id = message.get("id") if method is not None else None
        try:
            self._check_phase(method, request_id)
            self.handle_message(self.structure_message(message))
        except JsonRpcException as error:
            self._refuse(request_id, error)

    def refuse_unreadable(self, why: str) -> None:
        """Answer a body that is not JSON; its id cannot be known, so the answer's is null."""
        self._send_data(
            {"jsonrpc": "2.0", "id": None, "error": _plain(JsonRpcParseError(f"not JSON: {why}"))}
        )

    def _check_phase(self, method: Any, request_id: Any) -> None:
        if method == types.INITIALIZE:
            self._initialized = True
        if request_id is None:
            return
        if self.was_shut_down:
            raise JsonRpcInvalidRequest("the server was shut down")
        if not self._initialized:
            raise JsonRpcServerNotInitialized("the first request must be initialize")
        self.was_shut_down = method == types.SHUTDOWN

    def _refuse(self, request_id: Any, error: JsonRpcException) -> None:
        if request_id is not None:
            self._send_data({"jsonrpc": "2.0", "id": request_id, "error": _plain(error)})
        else:
            self._server.report_server_error(error, JsonRpcException)


def _plain(error: JsonRpcException) -> dict[str, Any]:
    return {"code": error.code, "message": error.message}


class _WithoutArguments(logging.Formatter):
    """Prints a record's fixed first line: pygls' arguments are messages, that is, the user's code."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        text = record.msg.splitlines()[0] if isinstance(record.msg, str) else type(record.msg).__name__
        return f"midword: {record.name}: {text}" + (f" ({kind.__name__})" if kind else "")


def quiet_logging() -> None:
    """Send errors of pygls and asyncio to stderr as one line each, with nothing of the user's in it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutArguments())
    for name in ("pygls", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.ERROR)
