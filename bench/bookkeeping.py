"""What does an evaluation cost beside the model's own pass?

    python -m bench.bookkeeping [--rows 1,3,8] [--model NAME]

Rows are asked of a `Scorer` on the native backend, behind a resident prompt. The call is taken apart by who
works: the row cache, the backend's plan (what is resident, what is to be evaluated), the forward pass with
its log-softmax. Microseconds, median; the processor's caches hold what a pass over all weights has left
there. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.model import load_model

CONTEXT_BYTES = 2400
ROUNDS = 40
PARTS = ("row cache", "plan", "forward pass")


class Clock:
    """Time spent inside the functions it has wrapped, by part, outermost included."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PARTS, 0.0)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def call(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.spent[part] += time.perf_counter() - began

        return call


class TimedModel:
    """The native object with its forward pass timed."""

    def __init__(self, model: Any, clock: Clock) -> None:
        self._model = model
        self.evaluate = clock.timed("forward pass", model.evaluate)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", default="1,3,8")
    parser.add_argument("--model", default=None, help="a GGUF that the native forward pass takes")
    options = parser.parse_args()
    model, clock = load_model(options.model, backend="native", context_length=2048), Clock()
    backend: Any = model.backend
    backend._model = TimedModel(backend._model, clock)
    backend.score = clock.timed("plan", backend.score)
    ask = clock.timed("row cache", Scorer(backend).rows)
    context = tuple(model.tokenizer.encode(Path(textwrap.__file__).read_bytes()[:CONTEXT_BYTES]))
    random, found = np.random.default_rng(0), dict[str, dict[str, float]]()
    ask([context], StopSignal())
    for rows in map(int, options.rows.split(",")):
        measured: dict[str, list[float]] = {part: [] for part in PARTS}
        path = context
        for _ in range(ROUNDS):
            path = (*path, int(random.integers(100, 40_000)))
            siblings = [path, *((*path[:-1], int(token)) for token in random.integers(100, 40_000, rows - 1))]
            clock.spent = dict.fromkeys(PARTS, 0.0)
            ask(siblings, StopSignal())
            measured["forward pass"].append(clock.spent["forward pass"])
            for part, inner in pairwise(PARTS):
                measured[part].append(clock.spent[part] - clock.spent[inner])
        found[f"{rows} rows"] = {part: float(np.median(times)) * 1e6 for part, times in measured.items()}
    table = Table("", *PARTS, title=f"microseconds behind {len(context)} tokens")
    for name, times in found.items():
        table.add_row(name, *(f"{time:,.0f}" for time in times.values()))
    Console(width=110).print(table)
    print(json.dumps({"tokens": len(context), "microseconds": found}))


if __name__ == "__main__":
    main()
