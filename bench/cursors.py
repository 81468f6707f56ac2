"""How often does each decoding method complete the identifier that the cursor stands in?

    python -m bench.cursors [--cursors 200] [--model NAME] [--seed 0] [--inside-lines]

Cursors are drawn inside identifiers of the Python files of installed packages (`--packages`): the text
before the cursor is the prompt, nothing of what follows is shown. A completion counts when it continues
with exactly the rest of the identifier and then something that is not part of an identifier. All methods
see the same prompts with the same weights; each starts from a resident prompt and an empty row cache, so
that model evaluations are counted alike. With `--inside-lines` what follows the identifier on its line is the
text after the cursor, which "exact" scores (suffix search), and only the very rest counts.
The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import keyword
import random
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.model import Model, load_model
from engine.types import Method, Request

METHODS: tuple[Method, ...] = ("naive", "heal-one", "best-cover", "hand-over", "exact")
PACKAGES = ("pygls", "llama_cpp", "cattrs", "markdown_it", "diskcache", "hypothesis")
"""Installed for development, and in no text that the default model was taught with."""
SHOWN_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place inside an identifier; `rest` is what stands right of it."""

    where: str
    prefix: bytes
    rest: bytes
    rest_of_line: bytes
    suffix: bytes = b""
    """What is told to stand after the cursor."""


@dataclass(slots=True)
class Score:
    """One method's results, one entry a cursor."""

    identifier: list[bool] = field(default_factory=list)
    line: list[bool] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """Tokens that went through the model."""
    milliseconds: list[float] = field(default_factory=list)


def python_files(packages: Sequence[str]) -> list[Path]:
    """The .py files of the packages that are installed, in a fixed order."""
    found: list[Path] = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found += sorted(Path(folder).rglob("*.py"))
    return [path for path in found if 2_000 < path.stat().st_size < 200_000]


def cursors_of(path: Path, random_: random.Random) -> Iterator[Cursor]:
    """One cursor inside each identifier of four or more characters of a file."""
    text = path.read_bytes()
    lines = text.splitlines(keepends=True)
    starts = [0, *np.cumsum([len(line) for line in lines]).tolist()]
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return
    for token in tokens:
        if token.type != tokenize.NAME or len(token.string) < 4 or keyword.iskeyword(token.string):
            continue
        row, column = token.start
        begin = starts[row - 1] + len(lines[row - 1].decode()[:column].encode())
        word = token.string.encode()
        cut = random_.randrange(1, len(word))
        cursor = begin + cut
        if cursor > SHOWN_BYTES:
            shown = text[cursor - SHOWN_BYTES : cursor]
            shown = shown[shown.index(b"\n") + 1 :]
            rest_of_line = text[cursor:].split(b"\n", 1)[0].rstrip(b"\r")
            yield Cursor(f"{path.name}:{row}", shown, word[cut:], rest_of_line)


def draw_cursors(packages: Sequence[str], count: int, seed: int) -> list[Cursor]:
    """`count` cursors, at most a few a file, reproducible for the same installed packages."""
    random_ = random.Random(seed)
    files = python_files(packages)
    pools = [pool for path in files if (pool := list(cursors_of(path, random_)))]
    random_.shuffle(pools)
    chosen: list[Cursor] = []
    while len(chosen) < count and pools:
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop(random_.randrange(len(pool))))
        pools = [pool for pool in pools if pool]
    return chosen


def inside_lines(cursors: Sequence[Cursor]) -> list[Cursor]:
    """Those behind whose identifier the line goes on, with that as the text after the cursor."""
    behind = [(cursor, cursor.rest_of_line[len(cursor.rest) :]) for cursor in cursors]
    return [replace(cursor, suffix=text + b"\n") for cursor, text in behind if text.strip()]


def is_match(text: bytes, rest: bytes) -> bool:
    """Whether `text` starts with `rest` and the identifier ends there."""
    following = text[len(rest) :].decode("utf-8", "replace")[:1]
    return text.startswith(rest) and not (following.isalnum() or following == "_")


def measure(model: Model, cursor: Cursor, method: Method, max_tokens: int, score: Score) -> None:
    """One completion, from a resident prompt and an empty row cache."""
    fresh = Model(
        model.name, model.tokenizer, Scorer(model.backend), model.template, model.stop_tokens, model.separator
    )
    request = Request(cursor.prefix, cursor.suffix, max_tokens=max_tokens, method=method)
    before = model.backend.tokens_evaluated
    result = Completer(fresh).complete(request, StopSignal())
    score.rows.append(model.backend.tokens_evaluated - before)
    text = result.completions[0].text if result.completions else b""
    score.identifier.append(text == cursor.rest if cursor.suffix else is_match(text, cursor.rest))
    score.line.append(text.rstrip() == cursor.rest_of_line.rstrip())
    score.evaluations.append(result.usage.model_evaluations)
    score.milliseconds.append(result.usage.total_ms)


def interval(hits: Sequence[bool], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the share of hits, in percent."""
    draws = np.random.default_rng(seed).choice(np.array(hits, dtype=float), (2000, len(hits)))
    low, high = np.percentile(draws.mean(axis=1), [2.5, 97.5])
    return 100 * float(low), 100 * float(high)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="Completion of identifiers by decoding method.")
    parser.add_argument("--cursors", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=None)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--inside-lines", action="store_true", help="show the rest of the line, too")
    options = parser.parse_args()
    console = Console(stderr=True)
    model = load_model(options.model)
    cursors = draw_cursors(options.packages.split(","), options.cursors, options.seed)
    cursors = inside_lines(cursors) if options.inside_lines else cursors
    methods: list[Method] = [m for m in METHODS if m in options.methods.split(",")]
    scores = {method: Score() for method in methods}
    for cursor in track(cursors, "cursors", console=console):
        Completer(model).next_bytes(cursor.prefix, cursor.suffix, "canonical", StopSignal())
        for method in methods:
            measure(model, cursor, method, options.max_tokens, scores[method])
    report(Console(), model.name, scores, options.seed)


def report(console: Console, name: str, scores: dict[Method, Score], seed: int) -> None:
    """The table, and the same as one JSON line."""
    count = len(next(iter(scores.values())).identifier)
    table = Table(title=f"{count} cursors inside identifiers, {name}")
    for heading in ("method", "identifier %", "95 %", "line %", "evaluations", "rows", "ms (median)"):
        table.add_column(heading, justify="right")
    rows: dict[str, dict[str, Any]] = {}
    for method, score in scores.items():
        low, high = interval(score.identifier, seed)
        row = {
            "identifier_percent": 100 * float(np.mean(score.identifier)),
            "interval_percent": [round(low, 1), round(high, 1)],
            "line_percent": 100 * float(np.mean(score.line)),
            "evaluations": float(np.mean(score.evaluations)),
            "rows": float(np.mean(score.rows)),
            "median_ms": float(np.median(score.milliseconds)),
        }
        rows[method] = row
        cells = (f"{row[key]:.1f}" for key in ("line_percent", "evaluations", "rows", "median_ms"))
        table.add_row(method, f"{row['identifier_percent']:.1f}", f"{low:.1f} to {high:.1f}", *cells)
    console.print(table)
    print(json.dumps({"cursors": count, "model": name, "seed": seed, "methods": rows}))


if __name__ == "__main__":
    main()
