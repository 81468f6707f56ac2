"""Are the completions worth accepting? Takes text out of held-out code, lets the model put it back, and
scores what comes: methods of decoding and layouts of the prompt beside each other, on the same items. Writes
a state from which a run that was stopped goes on, figures as JSON, and a page with all completions."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import InputError
from lsp_server.cli.loading import add_model_options, load_for_command
from lsp_server.cli.machine import processor
from lsp_server.cli.numbers import count
from lsp_server.evaluation import human_eval, page, tables
from lsp_server.evaluation.holes import holes
from lsp_server.evaluation.items import Item, chosen
from lsp_server.evaluation.methods import LAYOUTS, METHODS, Way, complete, ways
from lsp_server.evaluation.runs import Row, State, rows_beside
from lsp_server.evaluation.runs import run as run_items
from lsp_server.evaluation.sources import packages, sources
from lsp_server.evaluation.sweep import sweep
from lsp_server.report import write_page

TASKS = {
    **dict.fromkeys(human_eval.SPLITS, "HumanEval-Infilling; the tests of each problem are run (see --data)"),
    "sweep": "every byte offset of some names, literals, operators, indentations, in six languages",
    "holes-line": "a line of a package is taken out, and the package's own tests are run",
    "holes-body": "the same with the body of a function",
}
TOKENS_A_FILE = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    tasks = "; ".join(f"{name}: {what}" for name, what in TASKS.items())
    parser.add_argument("task", choices=tuple(TASKS), metavar="TASK", help=tasks)
    parser.add_argument("--items", type=count, default=100, help="cursors or problems (100)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (0)")
    layouts = "layout of the prompt; +suffix: the suffix is scored (default: all the model can do)"
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help=layouts)
    parser.add_argument("--method", action="append", choices=METHODS, help="decoding method (default: all)")
    parser.add_argument("--max-tokens", type=count, default=64, help="token budget of a completion (64)")
    parser.add_argument("--language", action="append", help="languages of the sweep (default: all)")
    related = "show excerpts of N other files of the package, as if they were open (default: none)"
    parser.add_argument("--related", type=count, default=0, metavar="N", help=related)
    unwritten = (
        "of the sweep: the rest of the line and the next N lines are missing, as while one writes a block"
    )
    parser.add_argument("--unwritten", type=count, default=0, metavar="N", help=unwritten)
    data = f"the benchmark's files *.jsonl.gz (default: {human_eval.DATA_VARIABLE})"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=data)
    kept = Path(platformdirs.user_cache_dir("midword")) / "eval-sources"
    parser.add_argument(
        "--sources", type=Path, metavar="FOLDER", default=kept, help="where fetched packages are kept"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="state and reports (build/eval-TASK)")
    beside = "show another run of the task beside this one, of another model or with other --related, and the"
    beside += " gains, at the items of both"
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help=beside)
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs what is left of the evaluation and reports. Raises MidwordError."""
    items = _items(options)
    model = load_for_command(options).model
    asked = ways(model.template, options.layout, options.method)
    out = options.out or Path("build") / f"eval-{options.task}"
    settings = _asked(options, model.name)
    others = rows_beside(options.beside / "state.jsonl", settings) if options.beside else []
    state = State(out / "state.jsonl", settings)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(options.task, total=len(items) * len(asked))

        def ask(item: Item, way: Way) -> Any:
            return complete(model, item, way, options.max_tokens)

        run_items(items, asked, ask, state, lambda: progress.advance(bar))
    done = {row.item_id for row in state.rows}
    both = done & {row.item_id for row in others} if others else done
    rows = [row for row in (*others, *state.rows) if row.item_id in both]
    _report(options, rows, out, model.name)
    return 0


def _items(options: argparse.Namespace) -> Sequence[Item]:
    if options.unwritten and options.task != "sweep":
        raise InputError(f"{options.task} takes out what its items say; leave out --unwritten")
    if options.task in human_eval.SPLITS:
        if options.related:
            raise InputError(f"the programs of {options.task} are single files; leave out --related")
        return chosen(human_eval.load(options.task, options.data), options.items, options.seed)
    if options.task == "sweep":
        found = [
            item
            for package in packages(options.language or ())
            for item in sweep(
                sources(package, options.sources),
                TOKENS_A_FILE,
                options.seed,
                options.related,
                options.unwritten,
            )
        ]
        return chosen(found, options.items, options.seed)
    return list(holes(options.task, options.items, options.seed, options.sources, options.related))


def _asked(options: argparse.Namespace, model: str) -> dict[str, Any]:
    """What must be the same for a state to be used again; more items, ways and languages may be added."""
    asked = {"task": options.task, "seed": options.seed, "max_tokens": options.max_tokens, "model": model}
    extra = {"related": options.related, "unwritten": options.unwritten}
    return asked | {name: value for name, value in extra.items() if value}


def _report(options: argparse.Namespace, rows: Sequence[Row], out: Path, model: str) -> None:
    command = shlex.join(["midword", *sys.argv[1:]])
    count = len({row.item_id for row in rows})
    about = (
        f"{model}, {options.task}, {count} items, seed {options.seed}, at most {options.max_tokens} tokens;"
        f" on {processor().name}, {os.cpu_count()} cores, Python {platform.python_version()}."
    )
    Console(stderr=True, width=180).print(page.terminal_table(rows, about, options.seed))
    found = {"about": about, "command": command, **tables.figures(rows, options.seed)}
    (out / "report.json").write_text(json.dumps(found, indent=1))
    write_page(out / "report.html", page.report_page(rows, about, command, options.seed))
    print(json.dumps({"about": about, "report": str(out / "report.html"), "all": found["all"]}))
