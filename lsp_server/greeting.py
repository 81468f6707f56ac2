"""The answer to `initialize`, given before the server itself is imported.

Importing pygls and its message types takes a fifth of a second, and an editor says nothing else before it has
this answer. The answer is nearly the same for every editor, so it is written down here; a test compares it
with what pygls answers. pygls handles the request all the same, and its own answer is kept back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Protocol

from engine import __version__

COMMANDS = ("midword.accepted", "midword.explain", "midword.restart", "midword.status")
ENCODINGS = ("utf-8", "utf-16", "utf-32")
TRIGGERS = (".", "(", "[", "{", ",", "=", ":", "/", "<", '"', "'", "@")
"""Behind these an editor asks for completion items; behind letters it does anyway."""


class Writer(Protocol):
    """Where frames go; asyncio's StreamWriter is one."""

    def write(self, data: bytes) -> None:
        """Sends some bytes, at once or soon."""
        ...

    def close(self) -> None:
        """Sends nothing more."""
        ...


def greeting(message: Any, completion_items: bool) -> dict[str, Any] | None:
    """The answer to an `initialize` request; None for anything that pygls might refuse."""
    if not (isinstance(message, dict) and message.get("method") == "initialize"):
        return None
    params, request_id = message.get("params"), message.get("id")
    if (
        message.get("jsonrpc") != "2.0"
        or not isinstance(request_id, int | str)
        or not isinstance(params, dict)
    ):
        return None
    encoding = _encoding(params.get("capabilities"))
    if encoding is None:
        return None
    capabilities: dict[str, Any] = {
        "positionEncoding": encoding,
        "textDocumentSync": {"openClose": True, "change": 2, "save": False},
        "executeCommandProvider": {"commands": list(COMMANDS)},
        "inlineCompletionProvider": {},
        "workspace": {
            "workspaceFolders": {"supported": True, "changeNotifications": True},
            "fileOperations": {},
        },
    }
    if completion_items and not _hears_later(params["capabilities"]):
        capabilities["completionProvider"] = {"triggerCharacters": list(TRIGGERS)}
    result = {"capabilities": capabilities, "serverInfo": {"name": "midword", "version": __version__}}
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def _encoding(capabilities: Any) -> str | None:
    """The first of the client's position encodings that is known; None if its capabilities are none."""
    if not isinstance(capabilities, dict) or not isinstance(general := capabilities.get("general", {}), dict):
        return None
    offered = general.get("positionEncodings", [])
    return next((e for e in offered if e in ENCODINGS), "utf-16") if isinstance(offered, list) else None


def _hears_later(capabilities: dict[str, Any]) -> bool:
    """Whether the client can be told later that it may ask for completion items (`registration`)."""
    part: Any = capabilities
    for name in ("textDocument", "completion", "dynamicRegistration"):
        part = part.get(name) if isinstance(part, dict) else None
    return part is True


def frame(message: dict[str, Any]) -> bytes:
    """A message as it goes over the wire."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


class Greeted:
    """A writer for a client that has been greeted: pygls' answer to the same request is kept back."""

    def __init__(self, writer: Writer, answer: dict[str, Any], on_refusal: Callable[[], None]) -> None:
        """`on_refusal` is called if pygls answers with an error: the client believes otherwise."""
        self._writer, self._on_refusal = writer, on_refusal
        self._awaited: Any = answer["id"]

    def write(self, data: bytes) -> None:
        """Passes everything on but the answer that the client has already."""
        if self._awaited is not None:
            message = json.loads(data.partition(b"\r\n\r\n")[2])
            if message.get("id") == self._awaited and "method" not in message:
                self._awaited = None
                if "error" in message:
                    print("midword: the initialize request cannot be read", file=sys.stderr)
                    self._on_refusal()
                return
        self._writer.write(data)

    def close(self) -> None:
        """Closes the writer behind it."""
        self._writer.close()
