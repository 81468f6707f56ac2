"""midword beside genlm-bytes: bytes a second and error, same weights, same CPU, one run.

    make bench-genlm            (sets up genlm-bytes in .venv-peers and runs this)
    python -m bench.genlm --peer-python .venv-peers/bin/python [--cases 6] [--bytes 40] [--beam 5,10]

Two tasks behind the same tokens, which are resident with nothing else when a clock starts: give the
distribution of the next byte before each byte of a text (*forced*), and decode as many bytes *greedily*.
Weights, keys and values are F32 on both sides. genlm-bytes sums over all segmentations that its beam keeps,
midword over the canonical ones; so each is compared, by total variation, with the brute-force sum under its
own law: `brute_canonical` and `brute_all`. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES
from bench.ensemble import draw_windows, predicted
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.covers import STOP, CoverSpace, CoverState
from engine.model import Model, load_model
from engine.models.store import resolve
from engine.tree import TokenPath
from engine.vocab import FloatArray

NEGLIGIBLE = 1e-7
"""Segmentations with less than this share of the text so far are not followed by `brute_all`."""
PEER = Path(__file__).with_name("peer_genlm.py")
MODEL = "smollm2-135m:f32"


@dataclass(frozen=True, slots=True)
class Case:
    """Token ids before a text, and the text."""

    tokens: TokenPath
    text: bytes


def draw_cases(model: Model, count: int, size: int, seed: int) -> list[Case]:
    """Windows whose prefix is encoded as it is: the text begins wherever the prefix happens to end."""
    windows = draw_windows(PACKAGES, count, size, seed)
    return [Case((model.separator, *model.tokenizer.encode(w.prefix)), w.text) for w in windows]


def opened(model: Model, case: Case) -> CoverState:
    """The state before the text, with an empty row cache; the tokens are resident."""
    space = CoverSpace(model.tokenizer, Scorer(model.backend), model.stop_tokens, StopSignal())
    return space.open(case.tokens, b"")


def forced(model: Model, case: Case, bound: float) -> list[FloatArray]:
    """(256,) distributions before each byte, known up to `bound`."""
    states = predicted(opened(model, case), case.text, bound)
    return [_normal(state.shares.known[:STOP]) for state in states]


def greedy(model: Model, case: Case) -> None:
    """As many bytes as the text has, or a little more."""
    state, size = opened(model, case), 0
    while size < len(case.text):
        run = state.run()
        size += len(run.symbols)
        if run.symbols:
            state = run.state.push(ord("\n")) if run.ends else run.state
        elif (pruned := state.pruned) is not state:
            state = pruned
        else:
            state = state.ask()


@dataclass(slots=True)
class Run:
    """What one side did with all cases."""

    rows: list[FloatArray] = field(default_factory=list)
    """For each case (bytes, 256)."""
    seconds: float = 0.0
    calls: int = 0
    greedy_seconds: float = 0.0
    greedy_calls: int = 0


def own_run(model: Model, cases: Sequence[Case], bound: float) -> Run:
    """midword's answers and times."""
    run = Run()
    for case in cases:
        opened(model, case)
        calls, started = model.backend.evaluations, time.perf_counter()
        run.rows.append(np.array(forced(model, case, bound)))
        run.seconds += time.perf_counter() - started
        run.calls += model.backend.evaluations - calls
        calls, started = model.backend.evaluations, time.perf_counter()
        greedy(model, case)
        run.greedy_seconds += time.perf_counter() - started
        run.greedy_calls += model.backend.evaluations - calls
    return run


def brute_canonical(model: Model, case: Case) -> FloatArray:
    """(bytes, 256): every token at the end of every beginning of the text, all weights from single rows.

    Which tokens may follow is the tokenizer's mask, which the tests compare with encoding again.
    """
    vocab, rows = model.tokenizer.vocab, []
    for end in range(len(case.text)):
        sums = np.zeros(256)
        for start in range(max(0, end - vocab.max_token_bytes), end + 1):
            head = case.text[start:end]
            for context in model.tokenizer.encodings(case.text[:start]):
                low, high = vocab.prefix_range(head)
                allowed = model.tokenizer.successors(context)[low:high]
                weights = np.exp(_row(model, case, context)[vocab.order[low:high]]) * allowed
                for token_bytes, weight in zip(vocab.sorted_bytes[low:high], weights, strict=True):
                    if weight > 0 and len(token_bytes) > len(head):
                        sums[token_bytes[len(head)]] += _weight(model, case, context) * weight
        rows.append(_normal(sums))
    return np.array(rows)


def _row(model: Model, case: Case, context: TokenPath) -> FloatArray:
    return model.scorer.rows([case.tokens + context], StopSignal())[0]


@lru_cache(maxsize=4096)
def _weight(model: Model, case: Case, context: TokenPath) -> float:
    return float(np.exp(sum(_row(model, case, context[:k])[token] for k, token in enumerate(context))))


def brute_all(model: Model, case: Case) -> tuple[FloatArray, float]:
    """(bytes, 256) over every segmentation of the text that is not NEGLIGIBLE, and the share of those.

    The share is a sum: what is dropped at a place counts relative to the mass of the text up to there.
    Paths are followed place by place; each adds, at every end it reaches, the tokens that pass that end.
    """
    vocab, text = model.tokenizer.vocab, case.text
    sums, dropped = np.zeros((len(text), 256)), 0.0
    paths: list[list[tuple[TokenPath, float]]] = [[] for _ in text]
    paths[0] = [((), 1.0)]
    for place in range(len(text)):
        total = sums[place - 1][text[place - 1]] if place else 1.0
        kept = [(path, weight) for path, weight in paths[place] if weight >= NEGLIGIBLE * total]
        dropped += sum(weight for _, weight in paths[place] if weight < NEGLIGIBLE * total) / total
        found = model.scorer.rows([case.tokens + path for path, _ in kept], StopSignal())
        for (path, weight), row in zip(kept, found, strict=True):
            weights = weight * np.exp(row[vocab.order])
            low, high = 0, vocab.rows
            for end in range(place, len(text)):
                low, high = vocab.prefix_range(text[place:end], low, high)
                sums[end] += vocab.next_byte_sums(weights[low:high], low, high, end - place)
                longer = low
                if end > place:
                    low, longer = vocab.exact_range(text[place:end], low, high)
                for inner in range(low, longer):
                    paths[end].append(((*path, int(vocab.order[inner])), float(weights[inner])))
    return sums / sums.sum(axis=1, keepdims=True), dropped


def _normal(shares: FloatArray) -> FloatArray:
    return np.asarray(shares / shares.sum())


def peer_run(options: argparse.Namespace, cases: Sequence[Case], beam: int) -> Run:
    """genlm-bytes' answers and times with one beam width."""
    task = {
        "gguf": str(resolve(MODEL).path.resolve()), "threads": os.cpu_count() or 1,
        "beam": beam, "prune": options.prune,
        "cases": [{"tokens": case.tokens, "text": case.text.hex()} for case in cases],
    }  # fmt: skip
    argv = [options.peer_python, "-I", str(PEER)]  # -I: our folder has a genlm too
    answer = subprocess.run(argv, input=json.dumps(task), capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"genlm-bytes failed: {answer.stderr.strip().splitlines()[-1]}")
    found = json.loads(answer.stdout)["cases"]
    totals = {key: sum(case[key] for case in found) for key in found[0] if key != "rows"}
    return Run([np.array(case["rows"]) for case in found], **totals)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="midword beside genlm-bytes.")
    parser.add_argument("--peer-python", required=True, help="Python with genlm-bytes installed")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--bytes", type=int, default=40)
    parser.add_argument("--beam", default="5,10", help="beam widths of genlm-bytes")
    parser.add_argument("--bound", default="1e-3,1e-4", help="midword asks until less than this is unknown")
    parser.add_argument("--prune", type=float, default=0.0, help="prune threshold of genlm-bytes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load_model(MODEL)
    cases = draw_cases(model, options.cases, options.bytes, options.seed)
    bounds = [float(bound) for bound in options.bound.split(",")]
    runs = {f"midword, bound {bound:g}": own_run(model, cases, bound) for bound in bounds}
    for beam in options.beam.split(","):
        runs[f"genlm-bytes, beam {beam}"] = peer_run(options, cases, int(beam))
    canonical: list[FloatArray] = []
    over_all: list[FloatArray] = []
    unvisited = 0.0
    for case in track(cases, "brute force", console=Console(stderr=True)):
        canonical.append(brute_canonical(model, case))
        truth, missing = brute_all(model, case)
        over_all.append(truth)
        unvisited = max(unvisited, missing)
    truths = {name: canonical if name.startswith("midword") else over_all for name in runs}
    figures = {name: figures_of(run, np.concatenate(truths[name])) for name, run in runs.items()}
    report(figures, unvisited, options)


def figures_of(run: Run, truth: FloatArray) -> dict[str, float]:
    """Speed, evaluations and error; `truth` is (all bytes, 256)."""
    rows = np.concatenate(run.rows)
    off = np.abs(rows / rows.sum(axis=1, keepdims=True) - truth).sum(axis=1) / 2
    return {
        "forced_bytes_per_second": len(rows) / run.seconds,
        "forced_evaluations_per_byte": run.calls / len(rows),
        "greedy_bytes_per_second": len(rows) / run.greedy_seconds,
        "greedy_evaluations_per_byte": run.greedy_calls / len(rows),
        "mean_variation": float(off.mean()),
        "worst_variation": float(off.max()),
    }


def report(figures: dict[str, dict[str, float]], unvisited: float, options: argparse.Namespace) -> None:
    """The table, and the same as one JSON line."""
    table = Table(title=f"{options.cases} texts of {options.bytes} bytes, {MODEL}, F32 throughout")
    headings = (
        "",
        "forced B/s",
        "evals/B",
        "×",
        "greedy B/s",
        "evals/B",
        "×",
        "mean TV",
        "worst TV",
    )
    for heading in (*headings, "mean TV", "worst TV"):
        table.add_column(heading, justify="right")
    own = next(iter(figures.values()))
    for name, row in figures.items():
        cells = [name]
        for task in ("forced", "greedy"):
            speed = row[f"{task}_bytes_per_second"]
            ratio = own[f"{task}_bytes_per_second"] / speed
            cells += [f"{speed:.1f}", f"{row[f'{task}_evaluations_per_byte']:.2f}", f"{ratio:.1f}"]
        table.add_row(*cells, f"{row['mean_variation']:.0e}", f"{row['worst_variation']:.0e}")
    Console(width=110).print(table)
    print(f"× is the first line's speed; brute force over all segmentations left out {unvisited:.1e}")
    print(json.dumps({"rows": figures, "unvisited": unvisited, "cases": options.cases, "seed": options.seed}))


if __name__ == "__main__":
    main()
