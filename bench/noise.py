"""How far do two routes to the same text differ, by numerical noise alone?

    python -m bench.noise [--cursors 20] [--models smollm2-135m:q8_0,smollm2-135m:q4_0,smollm2-135m:f32]

The law gives one distribution of the next byte. A quantised model computes it with noise: its kernels round
differently for batches of different shapes. Route 1 evaluates the whole text at once; route 2 has the text
without its last `--typed` bytes resident and types those, byte by byte. For each weight type and KV type this
prints the total variation between the two routes' next-byte distributions, and how often greedy completion
differs. With F32 throughout there is nothing left to see. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES, Cursor, draw_cursors
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.model import Model, load_model
from engine.types import Request
from engine.vocab import FloatArray

MODELS = "smollm2-135m:q8_0,smollm2-135m:q4_0,smollm2-135m:f16,smollm2-135m:f32"


def fresh(model: Model) -> Completer:
    """A completer with an empty row cache on the same backend."""
    scorer = Scorer(model.backend)
    parts = (model.name, model.tokenizer, scorer, model.template, model.stop_tokens, model.separator)
    return Completer(Model(*parts))


def shares(completer: Completer, text: bytes) -> FloatArray:
    """(256,) the next-byte distribution after `text`."""
    return np.array(completer.next_bytes(text, b"", "canonical", StopSignal()).bytes_)


def greedy(completer: Completer, text: bytes) -> bytes:
    """The completion after `text`."""
    found = completer.complete(Request(text, max_tokens=12), StopSignal()).completions
    return found[0].text if found else b""


def differences(name: str, kv: str, cursors: list[Cursor], typed: int) -> tuple[list[float], list[bool]]:
    """Total variation at each cursor, and whether the completions differ."""
    off, different = [], []
    for cursor in track(cursors, f"{name} kv {kv}", console=Console(stderr=True)):
        # Two models: what one route has made resident must not serve the other.
        at_once, by_key = (load_model(name, kv=kv, context_length=1024) for _ in range(2))
        text = cursor.prefix
        whole, whole_text = shares(fresh(at_once), text), greedy(fresh(at_once), text)
        for end in range(len(text) - typed, len(text) + 1):
            stepwise = shares(fresh(by_key), text[:end])
        off.append(float(np.abs(whole - stepwise).sum() / 2))
        different.append(whole_text != greedy(fresh(by_key), text))
        at_once.backend.close()
        by_key.backend.close()
    return off, different


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="Noise between two routes to the same text.")
    parser.add_argument("--cursors", type=int, default=20)
    parser.add_argument("--typed", type=int, default=6, help="bytes typed one by one on the second route")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--kv", default="auto,f32,f16")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cursors = draw_cursors(PACKAGES, options.cursors, options.seed)
    table = Table(title=f"{options.cursors} cursors, {options.typed} bytes typed")
    for heading in ("weights", "KV", "median variation", "worst variation", "completions that differ"):
        table.add_column(heading, justify="right")
    rows = []
    for name in options.models.split(","):
        for kv in options.kv.split(","):
            off, different = differences(name, kv, cursors, options.typed)
            row = {"model": name, "kv": kv, "median": float(np.median(off)), "worst": max(off),
                   "different": sum(different)}  # fmt: skip
            rows.append(row)
            cells = (f"{row['median']:.1e}", f"{row['worst']:.1e}", f"{sum(different)} of {len(different)}")
            table.add_row(name, kv, *cells)
    Console(width=110).print(table)
    print(
        json.dumps({"cursors": options.cursors, "typed": options.typed, "seed": options.seed, "rows": rows})
    )


if __name__ == "__main__":
    main()
