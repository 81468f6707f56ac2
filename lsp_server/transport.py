"""JSON-RPC messages in and out: stdio, one TCP connection, or any pair of streams.

Why not pygls' own loop: it parses every nested object of a message as if it were a message, leaves a
request that cannot be read without an answer, and has no moment at which to end the engine when the
editor goes away.

Importing pygls takes a fifth of a second, even with `postponed_types`. So the first message is read before
that: it is answered at once (`greeting`), and the engine for the options in it loads its model meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.errors import InputError
from lsp_server.early import Early, early_start, parsed
from lsp_server.greeting import Greeted, Writer, frame, greeting

if TYPE_CHECKING:
    from lsp_server.server import MidwordServer

MAX_BODY_BYTES = 256 * 2**20


class _Nowhere:
    """The editor is gone: late answers have no reader."""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class _Out:
    """A blocking stream; small frames to an editor that reads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


async def serve(
    reader: asyncio.StreamReader, writer: Writer, engine_command: Sequence[str] | None = None
) -> int:
    """Serve one editor until `exit` or the end of its stream; then end the engine. Returns the exit code.

    `engine_command` replaces the engine's command line, for tests and development.
    """
    first = await _next_body(reader)
    early = await early_start(first or b"", engine_command)
    answer = greeting(parsed(first or b""), early.settings.completion_items)
    if answer:
        writer.write(frame(answer))
    server = _make_server(early, engine_command)
    server.protocol.set_writer(Greeted(writer, answer, server.leave) if answer else writer)
    try:
        body = first
        while body is not None:
            _dispatch(server, body)
            # A handler runs to its first await before the next message is looked at: a request sees the
            # text at the moment it arrived, even if a didChange was sent in the same packet.
            await asyncio.sleep(0)
            body = None if server.exited else await _next_body(reader)
    finally:
        server.protocol.set_writer(_Nowhere())
        await server.session.close()
    return 0 if server.protocol.was_shut_down else 1


def _make_server(early: Early, engine_command: Sequence[str] | None) -> MidwordServer:
    from lsp_server.postponed_types import import_types

    import_types()
    from lsp_server.rpc import quiet_logging
    from lsp_server.server import MidwordServer

    quiet_logging()
    return MidwordServer(engine_command, early)


async def serve_stdio(engine_command: Sequence[str] | None = None) -> int:
    """Serve the editor that started this process. Returns the exit code."""
    reader = asyncio.StreamReader()
    threading.Thread(target=_pump, args=(asyncio.get_running_loop(), reader), daemon=True).start()
    return await serve(reader, _Out(sys.stdout.buffer), engine_command)


async def serve_tcp(port: int, engine_command: Sequence[str] | None = None) -> int:
    """Serve the first editor that connects to 127.0.0.1:`port` (0: any free one). Returns the exit code.

    Raises InputError for a port that cannot be had.
    """
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    connected = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connected.done():
            writer.close()
        else:
            connected.set_result((reader, writer))

    try:
        listener = await asyncio.start_server(accept, "127.0.0.1", port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"cannot listen on 127.0.0.1:{port}: {why}; choose another port, or 0") from None
    print(
        f"midword: listening on 127.0.0.1:{listener.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
    )
    reader, writer = await connected
    listener.close()
    try:
        return await serve(reader, writer, engine_command)
    finally:
        writer.close()


def _pump(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> None:
    """Feed stdin to the loop. A thread, because not every platform can wait for a pipe and a child at once;
    `os.read`, because a buffered stdin would hold a lock that stops the interpreter from ending."""
    stdin = sys.stdin.fileno()
    try:
        while block := os.read(stdin, 65536):
            loop.call_soon_threadsafe(reader.feed_data, block)
        loop.call_soon_threadsafe(reader.feed_eof)
    except RuntimeError:  # the loop has ended
        pass


async def _next_body(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next message; None when the editor has gone, inside a message or after one."""
    try:
        return await _read_body(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def _read_body(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next message; None at the end of the stream."""
    length: int | None = None
    while header := await reader.readline():
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = min(int(value), MAX_BODY_BYTES)
        elif not header.strip() and length is not None:
            return await reader.readexactly(length)
    return None


def _dispatch(server: MidwordServer, body: bytes) -> None:
    try:
        message: Any = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        server.protocol.refuse_unreadable(type(error).__name__)
        return
    server.protocol.take(message)
