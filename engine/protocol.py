"""The wire between the language server and the engine: framed msgpack, one message a frame.

A frame is a 4-byte big-endian length and that many bytes of msgpack. Requests carry `v`, `id`, `op`:

    {"v": 1, "id": 7, "op": "complete", "params": {…Request…}}   answered by partials, then one result
    {"v": 1, "id": 8, "op": "cancel", "params": {"target": 7}}   no answer of its own
    {"v": 1, "id": 9, "op": "warm", "params": {"prefix": b"…", "suffix": b"…", "path": "…", "related": […]}}
    {"v": 1, "id": 11, "op": "learn", "params": {"path": "…", "text": b"…"}}
    {"v": 1, "id": 10, "op": "explain", "params": {…Request…}}   answered by one result, an Explanation
    {"v": 1, "id": 11, "op": "next_bytes" | "info" | "health" | "shutdown", "params": {…}}

`warm` makes a cursor's prompt resident without decoding, so that a completion there starts at once. It
yields to everything else: the next message that asks something of the model ends every warm-up before
it, running or waiting, with the error `Cancelled`.

`learn` gives a document's text to be looked up by drafts; an empty text is forgotten, with what was learned
of the document when completing in it. It waits until nothing else does.

Answers carry the id they belong to and one of three events:

    {"id": 7, "event": "partial", "data": {"text": b"…"}}
    {"id": 7, "event": "result",  "data": {…}}
    {"id": 7, "event": "error",   "code": "Cancelled", "message": "…", "usage": {…Usage…} or null}

Exactly one `result` or `error` ends each request. The protocol is stateless apart from caches.

While the model is fetched or made, the engine tells how far it is. That belongs to no request:

    {"id": 0, "event": "progress", "data": {"step": "…", "done_bytes": 12, "total_bytes": 98 or null}}
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, BinaryIO

import msgpack

from engine.errors import InputError, ProtocolError
from engine.types import Certificate, Completion, Excerpt, Join, Request, Result, Usage

VERSION = 1
MAX_FRAME_BYTES = 64 * 2**20
HEADER = struct.Struct(">I")

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """One frame: header and body."""
    body: bytes = msgpack.packb(message, use_bin_type=True)
    return HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Length in bytes of the body announced by a 4-byte header.

    Raises ProtocolError when it exceeds MAX_FRAME_BYTES: the peer is not an engine.
    """
    (length,) = HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"frame of {length} bytes announced, at most {MAX_FRAME_BYTES} are allowed")
    return int(length)


def unpack(body: bytes) -> Message:
    """The message in a frame's body. Raises ProtocolError if it is not a msgpack map."""
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError(f"a frame of {len(body)} bytes is not msgpack: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"a frame holds {type(message).__name__}, expected a map")
    return message


def read_message(stream: BinaryIO) -> Message | None:
    """The next message of a blocking stream; None at a clean end, ProtocolError inside a frame."""
    header = stream.read(HEADER.size)
    if not header:
        return None
    if len(header) < HEADER.size:
        raise ProtocolError("the stream ended inside a frame header")
    length = body_length(header)
    body = stream.read(length)
    if len(body) < length:
        raise ProtocolError(f"the stream ended after {len(body)} of {length} bytes of a frame")
    return unpack(body)


def request_from_wire(params: Message) -> Request:
    """A Request from a `complete` message's params; InputError names an unknown or missing field."""
    try:
        related = tuple(Excerpt(**excerpt) for excerpt in params.get("related", ()))
        return Request(**params | {"related": related})
    except TypeError as error:
        raise InputError(f"bad completion request: {error}") from None


def result_to_wire(result: Result) -> Message:
    """A Result as plain maps and lists."""
    return dataclasses.asdict(result)


def result_from_wire(data: Message) -> Result:
    """The inverse of `result_to_wire`."""
    return Result(
        completions=tuple(Completion(**c) for c in data["completions"]),
        certificate=Certificate(**data["certificate"]) if data["certificate"] else None,
        usage=Usage(**data["usage"]),
        model=data["model"],
        join=Join(**data["join"]) if data["join"] else None,
    )
