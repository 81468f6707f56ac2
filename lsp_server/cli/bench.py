"""`midword bench`: measurements that compare. The benches are modules with `configure` and `run`."""

from __future__ import annotations

import argparse
import importlib

BENCHES = {
    "replay": ("lsp_server.cli.bench_replay", "replay keystrokes against the language server"),
    "start": ("lsp_server.cli.bench_start", "time from the start to the first ghost text"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds one subcommand for each bench."""
    subparsers = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
    for name, (module, summary) in BENCHES.items():
        bench = importlib.import_module(module)
        subparser = subparsers.add_parser(name, help=summary, description=bench.__doc__)
        bench.configure(subparser)
        subparser.set_defaults(run_bench=bench.run)


def run(options: argparse.Namespace) -> int:
    """Runs the chosen bench."""
    return int(options.run_bench(options))
