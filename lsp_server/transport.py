"""JSON-RPC messages in and out: stdio, one TCP connection, or any pair of streams.

Why not pygls' own loop: it parses every nested object of a message as if it were a message, leaves a
request that cannot be read without an answer, and has no moment at which to end the engine when the
editor goes away.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any, Protocol

from pygls.io_ import StdoutWriter

from lsp_server.server import MidwordServer

MAX_BODY_BYTES = 256 * 2**20


class Writer(Protocol):
    """Where frames go; asyncio's StreamWriter is one."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class _Nowhere:
    """The editor is gone: late answers have no reader."""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


async def serve(server: MidwordServer, reader: asyncio.StreamReader, writer: Writer) -> int:
    """Serve one editor until `exit` or the end of its stream; then end the engine. Returns the exit code."""
    server.protocol.set_writer(writer)
    try:
        while not server.exited:
            body = await _read_body(reader)
            if body is None:
                break
            _dispatch(server, body)
            # A handler runs to its first await before the next message is looked at: a request sees the
            # text at the moment it arrived, even if a didChange was sent in the same packet.
            await asyncio.sleep(0)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        server.protocol.set_writer(_Nowhere())
        await server.session.close()
    return 0 if server.protocol.was_shut_down else 1


async def serve_stdio(server: MidwordServer) -> int:
    """Serve the editor that started this process. Returns the exit code."""
    reader = asyncio.StreamReader()
    threading.Thread(target=_pump, args=(asyncio.get_running_loop(), reader), daemon=True).start()
    return await serve(server, reader, StdoutWriter(sys.stdout.buffer))


async def serve_tcp(server: MidwordServer, port: int) -> int:
    """Serve the first editor that connects to 127.0.0.1:`port` (0: any free one). Returns the exit code."""
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    connected = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connected.done():
            writer.close()
        else:
            connected.set_result((reader, writer))

    listener = await asyncio.start_server(accept, "127.0.0.1", port)
    print(
        f"midword: listening on 127.0.0.1:{listener.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
    )
    reader, writer = await connected
    listener.close()
    try:
        return await serve(server, reader, writer)
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
