"""`midword models`: pull, list, path, verify, tune and remove models."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from engine.models import store
from engine.models.progress import bar
from engine.models.tune import Measurement, Tuning, tune

_NAME_HELP = "registry name, with :TYPE for a weight type (default: the default model)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models midword knows, and what is on this machine")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for action, summary in (
        ("pull", "download, check and requantise a model; repairs a damaged one"),
        ("path", "print where a pulled model is"),
        ("verify", "hash and check one model, or all; exit code 2 if one is damaged"),
        ("tune", "measure weight types on this machine and pick one"),
    ):
        actions.add_parser(action, help=summary).add_argument("name", nargs="?", help=_NAME_HELP)
    tuning = actions.choices["tune"]
    tuning.add_argument("--types", metavar="A,B", default="", help="weight types to measure")
    tuning.add_argument("--dry-run", action="store_true", help="measure only, do not store the pick")
    removal = actions.add_parser("remove", help="delete a model's files")
    removal.add_argument("name", help=_NAME_HELP)


def run(options: argparse.Namespace) -> int:
    """Do what was asked. Returns the exit code; raises MidwordError."""
    return {
        "list": _list, "pull": _pull, "path": _path, "verify": _verify, "tune": _tune, "remove": _remove,
    }[options.action](options)  # fmt: skip


def _list(options: argparse.Namespace) -> int:
    states = store.states()
    alone = {state.entry.name: state.entry.size_bytes for state in states}
    whole = {state.entry.name: state.entry.size_bytes + alone.get(state.entry.base, 0) for state in states}
    if options.json:
        print(json.dumps([_as_json(state, whole[state.entry.name]) for state in states], indent=1))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("name", "licence", "size", "state", "FIM", "context"):
        table.add_column(column, no_wrap=column == "name", justify="right" if column == "size" else "left")
    for state in states:
        entry = state.entry
        mark = "" if entry.pinned else "~"
        name = entry.name if entry.pinned else f"{entry.name}*"
        size = f"{mark}{whole[entry.name] / 1e6:,.0f} MB"
        table.add_row(name, entry.licence, size, _state(state), entry.fim, f"{entry.context:,}")
    console = Console()
    console.print(table)
    console.print("* unpinned: checksum not verified, size/GGUF header only", style="dim")
    return 0


def _as_json(state: store.ModelState, size_bytes: int) -> dict[str, object]:
    """The entry and what is here of it; the size is that of all that is downloaded, a base too."""
    here = {"pulled": state.pulled, "tuned": state.tuned, "disk_bytes": state.disk_bytes}
    return asdict(state.entry) | {"size_bytes": size_bytes, "pinned": state.entry.pinned} | here


def _state(state: store.ModelState) -> str:
    if not state.pulled:
        return "not pulled"
    pulled = "pulled: " + ", ".join(state.pulled)
    return f"{pulled} (tuned: {state.tuned})" if state.tuned else pulled


def _pull(options: argparse.Namespace) -> int:
    with bar() as progress:
        model = store.pull(options.name, progress)
    print(model.path)
    return 0


def _path(options: argparse.Namespace) -> int:
    print(store.pulled_path(options.name))
    return 0


def _verify(options: argparse.Namespace) -> int:
    with bar() as progress:
        verdicts = store.verify(options.name, progress)
    for verdict in verdicts:
        if verdict.ok:
            print(f"{verdict.path.name}: {verdict.note}")
        else:
            print(f"midword: {verdict.note}", file=sys.stderr)
    if not verdicts:
        print("no model has been pulled")
    return 0 if all(verdict.ok for verdict in verdicts) else 2


def _remove(options: argparse.Namespace) -> int:
    freed = store.remove(options.name)
    print(f"removed {options.name}, {freed / 1e6:,.0f} MB freed")
    return 0


def _tune(options: argparse.Namespace) -> int:
    types = [part.strip().lower() for part in options.types.split(",") if part.strip()]
    with bar() as progress:
        tuning = tune(options.name, types, progress, store_pick=not options.dry_run)
    Console().print(_tuning_table(tuning))
    done = "would be picked" if options.dry_run else "picked"
    print(f"{tuning.picked.weights} {done} for {tuning.model}")
    return 0


def _tuning_table(tuning: Tuning) -> Table:
    columns = ("type", "bits/byte", "prefill tok/s", "decode ms", "batch of 8 ms", "request ms", "MB", "")
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("type", "") else "right")
    for row in tuning.rows:
        table.add_row(*_cells(row), "picked" if row is tuning.picked else "")
    return table


def _cells(row: Measurement) -> tuple[str, ...]:
    return (
        row.weights,
        f"{row.bits_per_byte:.4f}",
        f"{row.prefill_tokens_per_s:.0f}",
        f"{row.decode_ms:.1f}",
        f"{row.batch8_ms:.1f}",
        f"{row.request_ms:.0f}",
        f"{row.size_bytes / 1e6:.0f}",
    )
