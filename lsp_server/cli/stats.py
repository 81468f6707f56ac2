"""`midword stats`: what was shown, accepted and kept on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lsp_server.counts import Batch
from lsp_server.report import write_page
from lsp_server.statistics_page import HEADINGS, cells, statistics_page
from lsp_server.statistics_store import delete, read, statistics_file
from lsp_server.statistics_summary import GROUPS, as_json, grouped, percentiles

SHOWN_DAYS = 14


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with everything")
    parser.add_argument(
        "--html", type=Path, metavar="OUT", help="write a self-contained page with plots to OUT"
    )
    parser.add_argument("--delete", action="store_true", help="delete the statistics")


def run(options: argparse.Namespace) -> int:
    """Prints, writes or deletes. Raises InputError."""
    path = statistics_file()
    if options.delete:
        print(f"deleted {path}" if delete(path) else "there are no statistics on this machine")
        return 0
    batch = read(path)
    if options.html:
        write_page(options.html, statistics_page(batch))
    if options.json:
        print(json.dumps(as_json(batch)))
    elif batch:
        _print(batch, Console())
    else:
        print("there are no statistics on this machine yet; the language server counts as you use it")
    return 0


def _print(batch: Batch, console: Console) -> None:
    for name, group_of in GROUPS.items():
        table = Table(box=SIMPLE_HEAD)
        found = grouped(batch, group_of)
        shown = sorted(found.items())[-SHOWN_DAYS:] if name == "day" else list(found.items())
        table.add_column(name, no_wrap=True, min_width=max(map(len, found), default=0))
        for heading in HEADINGS:
            table.add_column(heading, justify="right")
        for group, counts in shown:
            table.add_row(group, *map(str, cells(counts)))
        console.print(table)
    latency = Table("latency (ms)", "answers", "p50", "p90", "p99", box=SIMPLE_HEAD)
    for model, percents in percentiles(batch).items():
        latency.add_row(model, *(f"{value:g}" for value in percents.values()))
    console.print(latency)
    console.print(
        "Counts and lengths only, on this machine only; `midword stats --delete` deletes them.", style="dim"
    )
