"""`midword lsp`: the language server."""

from __future__ import annotations

import argparse
import asyncio
import shlex


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="speak over stdin and stdout (the default)")
    transport.add_argument(
        "--tcp",
        type=_port,
        metavar="PORT",
        help="wait on 127.0.0.1:PORT for one editor and end with it; 0 takes a free port and prints it",
    )
    parser.add_argument(
        "--engine-command", metavar="COMMAND", help="run this engine process instead (for development)"
    )


def run(options: argparse.Namespace) -> int:
    """Serve one editor. Returns 0 if it said shutdown before it left, otherwise 1."""
    from lsp_server.transport import serve_stdio, serve_tcp

    command = shlex.split(options.engine_command) if options.engine_command else None
    return asyncio.run(serve_stdio(command) if options.tcp is None else serve_tcp(options.tcp, command))


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {port}")
    return port
