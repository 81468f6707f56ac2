"""What does a keystroke ask of the model? Counts, not times.

    python -m bench.keystrokes [--keys 600] [--model NAME] [--seed 0]

Lines of real Python files (the traces of `midword bench replay`) are typed byte by byte, with slips that are
taken back; at the end of each piece its last bytes are deleted and typed again. After every byte the exact
distribution at the cursor is opened, as a completion would. Counted are the contexts scored (rows that the
model was asked for), its evaluations and the token positions evaluated, by kind of keystroke. The prompt
itself is made resident before each piece. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.backends.base import Backend, StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.model import Model, load_model
from engine.tree import TokenTree
from engine.types import Request
from engine.vocab import FloatArray
from lsp_server.replay.bench import default_files, traces_of
from lsp_server.replay.traces import Hole, Trace

SHOWN_BYTES = 3000
"""Text above each piece; it stays put while the piece is typed."""
AGAIN_BYTES = 16
"""Deleted at the end of each piece and typed again."""
KINDS = ("typed", "backspace", "typed again")


class CountingBackend:
    """Counts what it is asked for, and what that costs another backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.vocab_size, self.context_length = backend.vocab_size, backend.context_length
        self.contexts = self.evaluations = self.tokens_evaluated = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        """See `Backend.score`."""
        before = self._backend.evaluations, self._backend.tokens_evaluated
        rows = self._backend.score(context, tree, wanted, stop)
        self.contexts += len(wanted)
        self.evaluations += self._backend.evaluations - before[0]
        self.tokens_evaluated += self._backend.tokens_evaluated - before[1]
        return rows

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one keystroke."""

    kind: str
    contexts: int
    evaluations: int
    tokens: int


def counted(model: Model) -> tuple[Completer, CountingBackend]:
    """A completer on `model` with an empty row cache, and its counts."""
    backend = CountingBackend(model.backend)
    parts = (model.template, model.stop_tokens, model.separator)
    return Completer(Model(model.name, model.tokenizer, Scorer(backend), *parts)), backend


def keystrokes(text: bytes, hole: Hole, whole: str) -> Iterator[tuple[str, bytes]]:
    """Kind of keystroke, and the text before the cursor after it."""
    typed = text
    for event in hole.events:
        if event.kind == "slip":
            yield "typed", typed + event.text.encode()
            yield "backspace", typed
        elif event.kind == "type":
            for byte in event.text.encode():
                typed += bytes([byte])
                yield "typed", typed
    assert typed == text + whole[hole.start : hole.end].encode()
    least = max(len(text), len(typed) - AGAIN_BYTES)
    for end in range(len(typed) - 1, least - 1, -1):
        yield "backspace", typed[:end]
    for end in range(least + 1, len(typed) + 1):
        yield "typed again", typed[:end]


def costs(model: Model, traces: Sequence[Trace]) -> list[Cost]:
    """Of every keystroke of the traces."""
    found: list[Cost] = []
    for trace in traces:
        completer, backend = counted(model)
        for hole in track(trace.holes, trace.name, console=Console(stderr=True)):
            shown = trace.text[: hole.start].encode()[-SHOWN_BYTES:]
            text = shown[shown.find(b"\n") + 1 :]
            completer.open(Request(text), StopSignal())
            for kind, prefix in keystrokes(text, hole, trace.text):
                before = backend.contexts, backend.evaluations, backend.tokens_evaluated
                completer.open(Request(prefix), StopSignal())
                after = backend.contexts, backend.evaluations, backend.tokens_evaluated
                found.append(Cost(kind, *(int(b - a) for a, b in zip(before, after, strict=True))))
    return found


def row_of(costs: Sequence[Cost]) -> dict[str, Any]:
    """Shares of keystrokes by contexts scored and by evaluations, in percent, and means."""
    contexts, evaluations = ([getattr(c, name) for c in costs] for name in ("contexts", "evaluations"))
    return {
        "keystrokes": len(costs),
        "contexts": {n: 100 * contexts.count(n) / len(costs) for n in sorted(set(contexts))},
        "evaluations": {n: 100 * evaluations.count(n) / len(costs) for n in sorted(set(evaluations))},
        "mean_contexts": float(np.mean(contexts)),
        "mean_evaluations": float(np.mean(evaluations)),
        "mean_tokens": float(np.mean([c.tokens for c in costs])),
    }


def main() -> None:
    """Counts, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="What a keystroke asks of the model.")
    parser.add_argument("--keys", type=int, default=600, help="about that many, over all files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=None)
    parser.add_argument("files", nargs="*", type=Path, help="instead of some of Python's standard library")
    options = parser.parse_args()
    model = load_model(options.model)
    traces = traces_of(options.files or default_files(), options.keys, options.seed)
    found = costs(model, traces)
    table = Table(title=f"{len(found)} keystrokes in {len(traces)} files, {model.name}")
    for heading in ("keystroke", "number", "contexts scored", "evaluations", "positions (mean)"):
        table.add_column(heading, justify="right")
    rows = {kind: row_of([c for c in found if c.kind == kind]) for kind in KINDS}
    for kind, row in rows.items():
        shares = (
            ", ".join(f"{n}: {share:.1f} %" for n, share in row[name].items())
            for name in ("contexts", "evaluations")
        )
        table.add_row(kind, str(row["keystrokes"]), *shares, f"{row['mean_tokens']:.2f}")
    Console(width=130).print(table)
    print(json.dumps({"model": model.name, "seed": options.seed, "kinds": rows}))


if __name__ == "__main__":
    main()
