"""How many bits does the next byte of held-out code cost, for each model alone and for their mixes?

    python -m bench.ensemble [--windows 12] [--bytes 300] [--model A --model B]

Windows are drawn from the Python files of installed packages (`--packages`). Each model reads the text before
a window and then predicts the window byte by byte; after each byte it is asked until less than
`bytewise.SAMPLE_BOUND` of its mass is unknown. The mixes are computed from the same distributions: `mean` and
`product` with the weights of a small grid. Distributions are conditioned on canonical text. The intervals are
bootstraps over windows. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES, python_files
from engine.backends.base import StopSignal
from engine.bytewise import SAMPLE_BOUND
from engine.completer import Completer
from engine.covers import CoverState
from engine.mixing import EnsembleState, Mix, Rule
from engine.model import load_model
from engine.types import Request
from engine.vocab import FloatArray

CONTEXT_BYTES = 1200
RULES: tuple[Rule, ...] = ("mean", "product")


@dataclass(frozen=True, slots=True)
class Window:
    """Text to predict, and the text before it."""

    prefix: bytes
    text: bytes


def draw_windows(packages: Sequence[str], count: int, size: int, seed: int) -> list[Window]:
    """`count` windows of `size` bytes that begin at line starts, each from another file."""
    rng, windows = random.Random(seed), []
    files = python_files(packages)
    rng.shuffle(files)
    for path in files:
        text = path.read_bytes()
        if len(text) < CONTEXT_BYTES + 2 * size:
            continue
        start = text.find(b"\n", rng.randrange(CONTEXT_BYTES, len(text) - size)) + 1
        if CONTEXT_BYTES <= start <= len(text) - size:
            windows.append(Window(text[start - CONTEXT_BYTES : start], text[start : start + size]))
        if len(windows) == count:
            break
    return windows


def predicted(state: CoverState, text: bytes, bound: float = SAMPLE_BOUND) -> Iterator[CoverState]:
    """The state before each byte of `text`, known up to `bound`, and better than by half for that byte."""
    for byte in text:
        while state.shares.unknown > min(bound, float(state.shares.known[byte])):
            state = state.ask()
        yield state
        state = state.push(byte)


def bits(completers: Sequence[Completer], mixes: dict[str, Mix], window: Window) -> dict[str, float]:
    """Total bits of the window's bytes under each mix."""
    stop, totals = StopSignal(), dict.fromkeys(mixes, 0.0)
    opened = [completer.open(Request(window.prefix), stop)[1] for completer in completers]
    runs = [predicted(state, window.text) for state in opened]
    for byte, *members in zip(window.text, *runs, strict=True):
        for name, mix in mixes.items():
            shares = EnsembleState(mix, tuple(members)).shares.known
            totals[name] -= float(np.log2(shares[byte] / shares.sum()))
    return totals


def grid(names: Sequence[str]) -> dict[str, Mix]:
    """Each model alone (the others' weight is next to nothing), and the mixes."""
    alone = {name: Mix.of(2, "mean", [1.0 if name == other else 1e-12 for other in names]) for name in names}
    mixed = {
        f"{rule} {weight:.1f} : {1 - weight:.1f}": Mix.of(2, rule, [weight, 1 - weight])
        for rule, weight in product(RULES, (0.3, 0.5, 0.7))
    }
    return alone | mixed


def interval(per_window: FloatArray, window_bytes: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval over windows, bits per byte; `per_window` is (windows,) in bits."""
    draws = np.random.default_rng(seed).choice(per_window, (2000, len(per_window))).mean(axis=1)
    low, high = np.percentile(draws / window_bytes, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="Bits per byte of two models and of their mixes.")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--bytes", type=int, default=300, help="bytes predicted in each window")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", action="append", help="two of them (smollm2-135m and gemma3-270m)")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    options = parser.parse_args()
    names = options.model or ["smollm2-135m", "gemma3-270m"]
    if len(names) != 2:
        parser.error(f"{len(names)} models, expected two")
    completers = [Completer(load_model(name)) for name in names]
    mixes = grid(names)
    windows = draw_windows(options.packages.split(","), options.windows, options.bytes, options.seed)
    found = [
        bits(completers, mixes, window) for window in track(windows, "windows", console=Console(stderr=True))
    ]
    rows = {name: np.array([window[name] for window in found]) for name in mixes}
    report(rows, names, options.bytes, options.seed)


def report(rows: dict[str, FloatArray], names: Sequence[str], window_bytes: int, seed: int) -> None:
    """The table, and the same as one JSON line; gains are against the better of the single models."""
    single = min((rows[name] for name in names), key=lambda row: float(row.sum()))
    count = len(single)
    table = Table(title=f"{count} windows of {window_bytes} bytes of Python, prefix only")
    for heading in ("model", "bits/byte", "95 %", "bits saved a byte", "95 %"):
        table.add_column(heading, justify="right")
    figures = {}
    for name, row in rows.items():
        low, high = interval(row, window_bytes, seed)
        least, most = interval(single - row, window_bytes, seed)
        mean, saved = float(row.mean()) / window_bytes, float((single - row).mean()) / window_bytes
        figures[name] = {"bits_per_byte": mean, "interval": [low, high], "saved": [least, saved, most]}
        cells = (f"{mean:.4f}", f"{low:.3f} to {high:.3f}", f"{saved:+.4f}", f"{least:+.4f} to {most:+.4f}")
        table.add_row(name, *cells)
    Console(width=110).print(table)
    print(json.dumps({"windows": count, "bytes": window_bytes, "seed": seed, "rows": figures}))


if __name__ == "__main__":
    main()
