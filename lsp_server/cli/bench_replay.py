"""Replay keystrokes, made from real source files, against the real language server, and measure what a user
would see: time to ghost text by kind of cursor, tokens evaluated, waste, staleness, CPU time, memory.
Prints a table, and JSON as the last line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import InputError
from engine.models.progress import bar
from engine.models.store import ModelFile, resolve
from lsp_server.cli.machine import processor
from lsp_server.cli.numbers import count, factor
from lsp_server.replay.bench import default_files, replay, traces_of
from lsp_server.replay.editor import Manner
from lsp_server.replay.figures import Figures
from lsp_server.replay.fim_copy import names_sentinels, write_fim_copy
from lsp_server.replay.infill_peer import InfillPeer
from lsp_server.replay.midword_peer import MidwordPeer
from lsp_server.replay.page import LEGEND, ratios, report_page, terminal_table
from lsp_server.replay.peer import Peer
from lsp_server.replay.traces import Trace
from lsp_server.report import write_page

PEERS = {
    "midword": "as it is",
    "naive": "midword, but decoding tokens after a broken one: what exactness costs",
    "fim": "midword on a model file that names FIM sentinels, so that the suffix is in the prompt",
    "llama-server": "llama.cpp's server, /infill, on the same file (see --peer-python)",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the bench's arguments."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="source files (default: Python's)"
    )
    parser.add_argument("--keys", type=count, default=240, help="about so many keystrokes in all (240)")
    parser.add_argument("--seed", type=int, default=0, help="another trace (0)")
    parser.add_argument("--speed", type=factor, default=1.0, help="times as fast as a practised typist (1)")
    parser.add_argument("--patient", action="store_true", help="the user waits for each answer")
    parser.add_argument("--no-accept", action="store_true", help="the user never accepts a completion")
    parser.add_argument("--max-tokens", type=count, default=32, help="token budget of a completion (32)")
    parser.add_argument("--max-lines", type=count, default=1, help="most lines of a completion (1)")
    parser.add_argument("--no-ahead", action="store_true", help="midword does not work ahead of requests")
    parser.add_argument("--model", metavar="NAME|PATH", help="the model (default: the default model)")
    peers = "; ".join(f"{name}: {what}" for name, what in PEERS.items())
    parser.add_argument(
        "--peer", action="append", choices=tuple(PEERS), help=f"what to run, may be repeated. {peers}"
    )
    parser.add_argument(
        "--peer-python", type=Path, default=Path(".venv-peers/bin/python"), metavar="PATH",
        help="a Python with xllamacpp (.venv-peers/bin/python, made by `make bench-peers`)",
    )  # fmt: skip
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")


def run(options: argparse.Namespace) -> int:
    """Plays the traces against each peer in turn. Raises MidwordError, before anything is measured if a peer
    cannot be run."""
    if "llama-server" in (options.peer or ()) and not shutil.which(options.peer_python):
        raise InputError(f"{options.peer_python} cannot be run; try: make bench-peers")
    with bar() as report:
        model = resolve(options.model, report)
    traces = traces_of(options.files or default_files(), options.keys, options.seed)
    manner = Manner(options.speed, options.patient, not options.no_accept)
    with _with_sentinels(model.path, options.peer or ()) as fim_path:
        found = [
            _measure(_maker(name, options, model, fim_path), traces, manner)
            for name in options.peer or ("midword",)
        ]
    about = _about(options, model, traces)
    if options.html:
        command = shlex.join(["midword", *sys.argv[1:]])
        write_page(options.html, report_page(found, command, about))
    _print(found, about)
    return 0


@contextmanager
def _with_sentinels(model: Path, peers: Sequence[str]) -> Iterator[Path]:
    """The model file, or a copy that names sentinels if a peer needs them."""
    if not {"fim", "llama-server"}.intersection(peers) or names_sentinels(model):
        yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model.name
        write_fim_copy(model, copy)
        yield copy


def _maker(name: str, options: argparse.Namespace, model: ModelFile, fim_path: Path) -> Callable[[], Peer]:
    if name == "llama-server":
        threads = os.cpu_count() or 1
        return lambda: InfillPeer(options.peer_python, fim_path, threads, options.max_tokens)
    sent: dict[str, Any] = {
        "model": str(fim_path if name == "fim" else model.path),
        "maxTokens": options.max_tokens,
        "maxLines": options.max_lines,
        "workAhead": not options.no_ahead,
        "method": "naive" if name == "naive" else "exact",
        "powerSaving": "never",
    }
    title = "midword" if name == "midword" else f"midword, {name}"
    return lambda: MidwordPeer(title, sent)


def _measure(make_peer: Callable[[], Peer], traces: Sequence[Trace], manner: Manner) -> Figures:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(make_peer().name, total=sum(trace.actions for trace in traces))
        return asyncio.run(replay(make_peer, traces, manner, lambda: progress.advance(task)))


def _about(options: argparse.Namespace, model: ModelFile, traces: Sequence[Trace]) -> str:
    names = ", ".join(trace.name for trace in traces)
    user = "a user who waits for each answer" if options.patient else "a user who does not wait"
    return (
        f"{model.name} {model.weights.upper()} on {processor().name}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}; about {sum(trace.actions for trace in traces)} actions in {names},"
        f" seed {options.seed}, speed {options.speed:g}, {user};"
        f" at most {options.max_tokens} tokens and {options.max_lines} lines a completion."
    )


def _print(found: Sequence[Figures], about: str) -> None:
    console = Console(stderr=True)
    console.print(about, highlight=False)
    for figures in found:
        console.print(terminal_table(figures))
    console.print(LEGEND, highlight=False)
    answer: dict[str, Any] = {"about": about, "peers": [figures.as_json() for figures in found]}
    if len(found) > 1:
        answer["ratios"] = ratios(found)
    print(json.dumps(answer))
