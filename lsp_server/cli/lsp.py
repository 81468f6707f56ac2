"""`midword lsp`: the language server."""

from __future__ import annotations

import argparse
import asyncio
import shlex

from lsp_server.cli.numbers import port


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="speak over stdin and stdout (the default)")
    transport.add_argument(
        "--tcp",
        type=port,
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
