"""What do drafts save? The same completions with each method of drafting, side by side.

    python -m bench.speculation [--cursors 40] [--seconds 180] [--max-tokens 32] [--max-lines 4]

Cursors are drawn in Python files of installed packages. The model is shown what the product shows it: the
last 4 KB before the cursor; drafts may also use the rest of the file. Each method keeps what it learns from
one cursor to the next, as the engine does. Every completion starts as after a keystroke: the prompt is
resident, and the rows of the text up to the byte before the cursor are known. The methods take turns in
going first.

`fixed-N` is `mixed` with drafts of N rows whatever they are worth, to show what adapting is worth. Prints a
table and a JSON line. Speed-up is the total time without drafts by the total time with them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES, python_files
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.drafts import drafter as drafter_module
from engine.drafts.acceptance import BatchCosts
from engine.drafts.drafter import Drafter
from engine.model import Model, load_model
from engine.types import SHOWN_PREFIX_BYTES, SHOWN_SUFFIX_BYTES, Completion, Drafts, Request, Usage

METHODS = (*get_args(Drafts), "fixed-4", "fixed-8")
NEAR_BYTES = 32_768
"""Of the file on either side of the cursor, what drafts may use."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a file."""

    name: str
    before: bytes
    after: bytes


@dataclass(slots=True)
class Score:
    """One method's results, one entry a cursor."""

    texts: list[bytes] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    def total(self, name: str) -> float:
        """The sum of one count or time."""
        return float(sum(getattr(usage, name) for usage in self.usages))


class Method:
    """A way to draft, with what it has learned."""

    def __init__(self, name: str, model: Model) -> None:
        costs = FreeRows() if name.startswith("fixed") else None
        self.most = int(name.partition("-")[2]) if costs else drafter_module.MOST_DRAFTED
        self.drafts: Drafts = "mixed" if costs else name  # type: ignore[assignment]
        self.score = Score()
        self._drafter = Drafter(model.tokenizer.vocab.token_bytes, costs)
        self._model = model

    def complete(self, place: Place, request: Request) -> None:
        """One completion as after a keystroke."""
        drafter_module.MOST_DRAFTED = self.most
        scorer = Scorer(self._model.backend, drafter=self._drafter)
        completer = Completer(replace(self._model, scorer=scorer))
        encode = self._model.tokenizer.encode
        for side, text in (("before", place.before[-NEAR_BYTES:]), ("after", place.after[:NEAR_BYTES])):
            self._drafter.learn_text(f"{place.name} {side}", encode(text))
        completer.open(replace(request, prefix=request.prefix[:-1]), StopSignal())
        result = completer.complete(replace(request, drafts=self.drafts), StopSignal())
        best = result.completions[0] if result.completions else Completion(b"", 0.0, "end-of-middle")
        self.score.texts.append(best.text)
        self.score.usages.append(result.usage)


class FreeRows(BatchCosts):
    """As if a row more cost nothing."""

    @property
    def slope(self) -> float:
        """Nothing."""
        return 0.0


def draw_places(packages: Sequence[str], count: int, seed: int) -> list[Place]:
    """`count` cursors behind a visible character in the second half of as many files."""
    random_ = random.Random(seed)
    files = [path for path in python_files(packages) if path.stat().st_size > 2 * SHOWN_PREFIX_BYTES]
    files = [path for path in files if not path.name.startswith("unicode")]  # tables, not code
    random_.shuffle(files)
    return [_place(path, random_) for path in (files * (count // len(files) + 1))[:count]]


def _place(path: Path, random_: random.Random) -> Place:
    text = path.read_bytes()
    cursor = random_.randrange(len(text) // 2, len(text) - 200)
    while text[cursor - 1 : cursor].isspace() or text[cursor] & 0xC0 == 0x80:
        cursor += 1
    return Place(path.name, text[:cursor], text[cursor:])


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cursors", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=600, help="no further cursor after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=None)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--max-lines", type=int, default=4)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--packages", default=",".join(PACKAGES))
    options = parser.parse_args()
    model = load_model(options.model)
    places = draw_places(options.packages.split(","), options.cursors, options.seed)
    methods = {name: Method(name, model) for name in options.methods.split(",")}
    order, began, done = list(methods), time.monotonic(), 0
    for place in track(places, "cursors", console=Console(stderr=True)):
        if time.monotonic() - began > options.seconds:
            break
        request = Request(
            place.before[-SHOWN_PREFIX_BYTES:],
            place.after[:SHOWN_SUFFIX_BYTES],
            place.name,
            max_tokens=options.max_tokens,
            max_lines=options.max_lines,
        )
        Completer(replace(model, scorer=Scorer(model.backend))).open(request, StopSignal())
        order.append(order.pop(0))
        for name in order:
            methods[name].complete(place, request)
        done += 1
    about = f"{model.name}, {done} cursors, {options.max_tokens} tokens, {options.max_lines} lines"
    report(Console(width=110), about, {name: method.score for name, method in methods.items()})


def report(console: Console, about: str, scores: dict[str, Score]) -> None:
    """The table, and the same as one JSON line. The first method is what the others are compared with."""
    base = next(iter(scores.values()))
    table = Table(title=about)
    names = (
        "method",
        "evaluations",
        "drafted",
        "accepted",
        "accepted/eval.",
        "ms",
        "bytes/s",
        "speed-up",
        "different",
    )
    for name in names:
        table.add_column(name, justify="right")
    rows: dict[str, dict[str, Any]] = {}
    for method, score in scores.items():
        count, ms = len(score.texts), score.total("total_ms")
        row = {
            "evaluations": score.total("model_evaluations") / count,
            "drafted": score.total("drafted_tokens") / count,
            "accepted": score.total("accepted_tokens") / count,
            "accepted_per_evaluation": score.total("accepted_tokens") / score.total("model_evaluations"),
            "ms": ms / count,
            "bytes_per_s": 1000 * sum(map(len, score.texts)) / ms,
            "speed_up": base.total("total_ms") / ms,
            "different": float(np.mean([a != b for a, b in zip(score.texts, base.texts, strict=True)])),
        }
        rows[method] = row
        table.add_row(method, *(f"{value:.2f}" for value in row.values()))
    console.print(table)
    print(json.dumps({"about": about, "methods": rows}))


if __name__ == "__main__":
    main()
