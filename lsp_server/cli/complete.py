"""`midword complete`: one completion at one cursor of a file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.ensemble import Ensemble
from engine.mixing import Mix
from engine.types import Completion, Request, Result
from lsp_server.cli.loading import add_model_options, load_for_command
from lsp_server.cli.numbers import seed
from lsp_server.cli.source import (
    add_any_file_option,
    add_related_option,
    cursor_offset,
    read_completable,
    shown_excerpts,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the file to complete in (it is not changed)")
    parser.add_argument("--line", type=int, required=True, help="line of the cursor, from 1")
    parser.add_argument(
        "--column", type=int, required=True, help="column of the cursor in characters, from 1"
    )
    parser.add_argument(
        "--json", action="store_true", help="print range, certificate, timings and counts too"
    )
    parser.add_argument(
        "--alternatives", type=int, default=1, metavar="K", help="number of texts (default 1)"
    )
    parser.add_argument("--max-tokens", type=int, default=48, help="model evaluations after the prompt (48)")
    parser.add_argument("--max-lines", type=int, default=1, help="lines of text to show (default 1)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of sampling (default 0)")
    parser.add_argument(
        "--method",
        default="exact",
        choices=("exact", "bytewise", "hand-over", "best-cover", "heal-one", "naive"),
        help="how to decode; bytewise differs from exact in sampling only, the others are for comparison",
    )
    add_any_file_option(parser)
    add_related_option(parser)
    parser.add_argument(
        "--suffix-scoring", default="auto", choices=("auto", "on", "off"),
        help="choose texts by how well what follows the cursor follows them: auto inside lines, on also at"
        " line ends (default auto)",
    )  # fmt: skip
    add_model_options(parser, several=True)
    parser.add_argument(
        "--mix", default="mean", choices=("mean", "product"), help="how several models' bytes are mixed"
    )
    parser.add_argument(
        "--weights", type=_numbers, metavar="W,W", help="weights of several models (default: equal)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the completion; with --json an object. Raises MidwordError."""
    content = read_completable(options.file, any_file=options.any_file)
    offset = cursor_offset(content, options.line, options.column)
    request = Request(
        prefix=content[:offset],
        suffix=content[offset:],
        path=options.file.name,
        related=shown_excerpts(options, content, offset),
        max_tokens=options.max_tokens,
        max_lines=options.max_lines,
        alternatives=options.alternatives,
        temperature=options.temperature,
        seed=options.seed,
        method=options.method,
        suffix_scoring=options.suffix_scoring,
    )
    result = _completer(options).complete(request, StopSignal())
    if options.json:
        print(json.dumps(_as_json(result, options.line, options.column), ensure_ascii=False, indent=2))
    elif result.shown:
        print("\n".join(_text(completion) for completion in result.shown))
    else:
        print("midword: the model has nothing to add here", file=sys.stderr)
    return 0


def _completer(options: argparse.Namespace) -> Completer | Ensemble:
    names: list[str | None] = options.model or [None]
    mix = Mix.of(len(names), options.mix, options.weights)
    completers = [load_for_command(options, name) for name in names]
    return Ensemble(completers, mix) if len(completers) > 1 else completers[0]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _text(completion: Completion) -> str:
    return completion.text.decode("utf-8", "replace")


def _as_json(result: Result, line: int, column: int) -> dict[str, Any]:
    place = {"line": line, "column": column}
    usage = dataclasses.asdict(result.usage)
    return {
        "text": _text(result.shown[0]) if result.shown else "",
        "range": {"start": place, "end": place},
        "completions": [{"text": _text(c), "logp": c.logp, "stop": c.stop} for c in result.completions],
        "certificate": dataclasses.asdict(result.certificate) if result.certificate else None,
        "join": dataclasses.asdict(result.join) if result.join else None,
        "timings": {name: value for name, value in usage.items() if name.endswith("_ms")},
        "tokens": {name: value for name, value in usage.items() if not name.endswith("_ms")},
        "model": result.model,
    }
