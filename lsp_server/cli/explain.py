"""`midword explain`: how the completion at one cursor comes about, in the terminal or as a page."""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from engine.backends.base import StopSignal
from engine.covers import STOP
from engine.explain import ChosenByte, Explanation, explain
from engine.types import Request, SuffixScoring
from lsp_server.cli.loading import add_model_options, load_for_command
from lsp_server.cli.numbers import count
from lsp_server.cli.source import (
    add_any_file_option,
    add_related_option,
    cursor_offset,
    read_completable,
    shown_excerpts,
)
from lsp_server.explain_page import explanation_page
from lsp_server.report import write_page
from lsp_server.token_tree import Branch, branches, percent, shown, symbol_name

BAR_CELLS = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to look at (it is not changed)")
    parser.add_argument("--line", type=int, required=True, help="line of the cursor, from 1")
    parser.add_argument(
        "--column", type=int, required=True, help="column of the cursor in characters, from 1"
    )
    parser.add_argument("--max-tokens", type=int, default=24, help="model evaluations after the prompt (24)")
    parser.add_argument(
        "--suffix-scoring", default="auto", choices=get_args(SuffixScoring), help="as of `midword complete`"
    )
    parser.add_argument("--rows", type=count, default=10, metavar="N", help="rows of each table (10)")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a self-contained page to OUT")
    parser.add_argument("--json", action="store_true", help="print one JSON object with everything")
    add_any_file_option(parser)
    add_related_option(parser)
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the explanation; with --html writes a page too. Raises MidwordError."""
    content = read_completable(options.file, any_file=options.any_file)
    offset = cursor_offset(content, options.line, options.column)
    request = Request(
        prefix=content[:offset],
        suffix=content[offset:],
        path=options.file.name,
        related=shown_excerpts(options, content, offset),
        max_tokens=options.max_tokens,
        suffix_scoring=options.suffix_scoring,
    )
    found = explain(load_for_command(options), request, StopSignal())
    if options.html:
        place = f"{options.file.name}, line {options.line}, column {options.column}"
        write_page(options.html, explanation_page(found, place, content[:offset], content[offset:]))
    if options.json:
        print(json.dumps(_as_json(found)))
    else:
        _print(found, options.rows, Console())
    return 0


def _print(found: Explanation, rows: int, console: Console) -> None:
    fixed = " ".join(shown(token) if token else "◆" for token in found.fixed)
    console.print(f"[b]{found.model}[/b], order {found.order}, {found.fixed_tokens} fixed tokens: … ", end="")
    console.print(escape(fixed), style="dim")
    console.print("[b]tail[/b], forced byte by byte: ", end="")
    console.print(escape(shown(found.tail)), style="reverse", end="")
    console.print("▮")
    console.print(_tree(found, rows))
    console.print(_next_bytes(found, rows))
    console.print(_naive(found))
    console.print("[b]completion[/b] ", end="")
    console.print(escape(shown(found.text)), style="green")
    if found.join:
        join = found.join
        console.print(f"chosen of {join.endings} texts for the {join.suffix_bytes} bytes after the cursor")
    console.print(_chosen(found.chosen, rows))
    c = found.certificate
    console.print(
        f"certificate: law {c.law}, {c.contexts} contexts scored, {c.covers} covers,"
        f" at most {c.dropped_bound:.1e} of the mass unseen, {c.non_canonical:.1e} non-canonical"
    )


def _tree(found: Explanation, rows: int) -> Tree:
    root = Tree(f"[b]{len(found.covers)} covers[/b] of the tail, and their share of its probability")

    def add(parent: Tree, branch: Branch) -> None:
        over = f"[cyan]▮{escape(shown(branch.overhang))}[/cyan]" if branch.ends else ""
        node = parent.add(f"{escape(shown(branch.token))}{over}  [dim]{percent(branch.share)}[/dim]")
        for child in branch.children[:rows]:
            add(node, child)
        if len(branch.children) > rows:
            hidden = sum(child.share for child in branch.children[rows:])
            node.add(f"[dim]{len(branch.children) - rows} more, {percent(hidden)}[/dim]")

    for branch in branches(found.covers)[:rows]:
        add(root, branch)
    return root


def _next_bytes(found: Explanation, rows: int) -> Table:
    table = Table("next byte", "probability", "", title="exact distribution", title_justify="left")
    likeliest = sorted(range(STOP + 1), key=lambda symbol: -found.next_bytes[symbol])[:rows]
    for symbol in likeliest:
        p = found.next_bytes[symbol]
        if p > 0:
            table.add_row(escape(symbol_name(symbol)), percent(p), "█" * round(BAR_CELLS * p))
    return table


def _naive(found: Explanation) -> Table:
    tokens = " ".join(map(shown, found.naive_tokens[-4:]))
    title = escape(f"fed as tokens: … {tokens}")
    table = Table("naive next token", "probability", title=title, title_justify="left")
    for token, p in found.naive_next:
        table.add_row(escape(shown(token)) if token else "control token", percent(p))
    return table


def _chosen(chosen: tuple[ChosenByte, ...], rows: int) -> Table:
    table = Table("byte", "probability", "second", "", "model asked")
    for c in chosen[: 3 * rows]:
        likely = c.runner_up_probability > 0
        second = (escape(symbol_name(c.runner_up)), percent(c.runner_up_probability)) if likely else ("", "")
        table.add_row(escape(symbol_name(c.byte)), percent(c.probability), *second, "●" * c.evaluations)
    return table


def _as_json(found: Explanation) -> dict[str, Any]:
    """Bytes are base64: they need not be text."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return {key: plain(value) for key, value in dataclasses.asdict(found).items()}
