"""`midword next-bytes`: the exact distribution of the next byte after a text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from engine.backends.base import StopSignal
from engine.types import ByteDistribution
from lsp_server.cli.loading import add_model_options, load_for_command
from lsp_server.cli.numbers import count
from lsp_server.cli.source import read_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--prefix-file", type=Path, required=True, metavar="P", help="bytes before the cursor, any bytes"
    )
    parser.add_argument("--suffix-file", type=Path, metavar="S", help="bytes after the cursor")
    parser.add_argument(
        "--law", default="canonical", choices=("canonical", "all"), help="which segmentations count"
    )
    parser.add_argument(
        "--contexts",
        type=count,
        default=512,
        metavar="N",
        help="most segmentations visited under the law all (512)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with everything")
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the likeliest bytes, or with --json all of them. Raises MidwordError."""
    prefix = read_bytes(options.prefix_file)
    suffix = read_bytes(options.suffix_file) if options.suffix_file else b""
    completer = load_for_command(options)
    found = completer.next_bytes(prefix, suffix, options.law, StopSignal(), contexts=options.contexts)
    if options.json:
        print(json.dumps(_as_json(found)))
    else:
        _print_table(found)
    return 0


def _as_json(found: ByteDistribution) -> dict[str, Any]:
    return {
        "law": found.law,
        "bytes": {str(byte): p for byte, p in enumerate(found.bytes_) if p > 0},
        "stop": found.stop,
        "non_canonical": found.non_canonical,
        "dropped_bound": found.dropped_bound,
        "covers": [
            {
                "tokens": list(c.tokens),
                "logp": c.logp,
                "overhang": c.overhang.decode("utf-8", "backslashreplace"),
            }
            for c in found.covers
        ],
        "model_evaluations": found.model_evaluations,
    }


def _print_table(found: ByteDistribution, rows: int = 12) -> None:
    print(f"law {found.law} · {len(found.covers)} covers · {found.model_evaluations} model evaluations")
    likeliest = sorted(range(256), key=lambda byte: -found.bytes_[byte])[:rows]
    for byte in likeliest:
        if found.bytes_[byte] > 0:
            print(f"  {bytes([byte])!r:8} {found.bytes_[byte]:.6f}")
    print(f"  stop     {found.stop:.6f}\n  other    {found.non_canonical:.6f} (non-canonical)")
