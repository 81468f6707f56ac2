"""`midword`: the command line. Each command is a module under `lsp_server.cli`, imported on use."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from engine import __version__
from engine.errors import MidwordError

COMMANDS = {
    "lsp": "run the language server (what an editor starts)",
    "complete": "complete at one cursor of a file",
    "explain": "how a completion comes about: covers, probabilities, the next byte; as a page too",
    "next-bytes": "the exact next-byte distribution after a text",
    "stats": "what was shown, accepted and kept on this machine; nothing of it leaves it",
    "models": "pull, list, verify, tune and remove models",
    "bench": "measure what a user would see",
    "eval": "measure whether completions are worth accepting: benchmarks, cursors in real code, unit tests",
    "doctor": "what is installed, how fast this machine is, what to change",
}


class _Parser(argparse.ArgumentParser):
    """Refuses with one sentence; the usage is long, and `--help` shows it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the module of `command` is imported, so that `--version` stays fast."""
    parser = _Parser(
        prog="midword", description="Local code completion that is exact at any byte of the buffer."
    )
    parser.add_argument("--version", action="version", version=f"midword {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == command:
            module = importlib.import_module(f"lsp_server.cli.{name.replace('-', '_')}")
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 on success, 2 on an error the user can cure (one sentence on stderr), 130
    when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in arguments if not a.startswith("-")), None)
    try:
        options = build_parser(command).parse_args(arguments)
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except MidwordError as error:
        print(f"midword: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output is gone (`midword … | head`); nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("midword: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
