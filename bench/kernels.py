"""What do the native kernels save, and what does the byte layer cost beside the model?

    python -m bench.kernels [--cursors 30] [--model NAME] [--vocabularies 49152,151936,262144]
    python -m bench.kernels --kernels-only
    python -m bench.kernels --inside-lines

First part: each kernel against its NumPy definition, for random vocabularies of three sizes.

Second part: complete completions at cursors inside identifiers (those of `bench.cursors`), with a resident
prompt and an empty row cache, without drafts. The model's evaluations are timed from outside; everything else
that decoding does is the byte layer: canonical masks, weights, sums, covers, decisions, bookkeeping of the
cache. Its share is given per model evaluation, native and in NumPy, for the first completions of a process,
whose contexts are all new to it, and for those after them.

All times are CPU time of the thread that asks: what passes on a machine that does nothing else, as
the model's threads work in step with it. The last line of output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.cursors import PACKAGES, draw_cursors, inside_lines
from engine import kernels
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer, limits_of
from engine.decode import Decoder
from engine.kernels import Forest, SuccessorRule
from engine.model import Model, load_model
from engine.types import Request
from engine_kernels import numpy_reference

ROUNDS = 15
FIRST_COMPLETIONS = 5
SHOWN_BYTES = 700
"""A short prompt, behind which a decode costs least."""
WORD = 12
"""Symbols of a word to merge."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel with its arguments; `name` tells their number."""

    name: str
    kernel: str
    arguments: tuple[Any, ...]


def cases(vocab: int, random: np.random.Generator) -> list[Case]:
    """Every kernel on a random vocabulary: `vocab` tokens, all of them text, in random order of their ids."""
    logits = random.normal(0, 3, (8, vocab)).astype(np.float32)
    row, order = numpy_reference.log_softmax(logits[:1])[0], random.permutation(vocab).astype(np.int32)
    allowed, reachable = random.random(vocab) < 0.7, random.random(vocab) < 0.95
    bytes_ = np.sort(random.integers(0, 256, vocab)).astype(np.uint8)
    starts = np.searchsorted(bytes_, np.arange(257)).astype(np.int64)
    verdicts = random.integers(0, 3, 100).astype(np.int8)
    groups = random.integers(0, 100, vocab).astype(np.int16)
    table, forest = random_merges(vocab, random), random_forest(vocab, random)
    judged = random.integers(0, 3, vocab).astype(np.int8)
    rule = SuccessorRule(judged, int(random.integers(vocab)), forest)
    word = random.integers(0, 256, WORD).astype(np.int32)
    found = [
        Case(f"log_softmax, {rows} rows", "log_softmax", (np.ascontiguousarray(logits[:rows]),))
        for rows in (1, 2, 8)
    ]
    return [
        *found,
        Case("likeliest", "likeliest", (row,)),
        Case("sums_of_groups, by first byte", "sums_of_groups", (row, order, allowed, starts)),
        Case("sorted_weights, 500 tokens", "sorted_weights", (row, order[:500], allowed[:500])),
        Case("sums_by_byte, all tokens", "sums_by_byte", (np.exp(row), bytes_)),
        Case("sums_by_byte, 500 tokens", "sums_by_byte", (np.exp(row[:500]), bytes_[:500])),
        Case("two_greatest", "two_greatest", (np.exp(row[:257]),)),
        Case("choose_tokens", "choose_tokens", (verdicts, groups, allowed, reachable)),
        Case("pair_mask", "pair_mask", (int(random.integers(vocab)), forest, vocab)),
        Case("successor_mask, all tokens", "successor_mask", (rule, 0, vocab)),
        Case("successor_mask, 500 tokens", "successor_mask", (rule, vocab // 2, vocab // 2 + 500)),
        Case(f"merge_symbols, {WORD} of them", "merge_symbols", (word, *table)),
    ]


def random_merges(vocab: int, random: np.random.Generator) -> tuple[Any, Any, Any]:
    """As many merges as a vocabulary of this size has; all pairs of bytes are among them."""
    keys = np.unique(np.concatenate([
        np.add.outer(np.arange(256) << 32, np.arange(256)).ravel(),
        (random.integers(0, vocab, vocab) << 32) + random.integers(0, vocab, vocab),
    ]))  # fmt: skip
    ranks = random.permutation(len(keys)).astype(np.int32)
    return keys, ranks, random.integers(0, vocab, len(keys)).astype(np.int32)


def random_forest(vocab: int, random: np.random.Generator) -> Forest:
    """Derivations of random earlier parts, ranked in the order of their tokens."""
    token = np.arange(vocab)
    left, right = (np.where(token < 256, -1, (random.random(vocab) ** 2 * token).astype(int)) for _ in "lr")
    rank = np.where(token < 256, -1.0, token - 256.0)
    weight = np.ones(vocab, dtype=np.int64)
    for t in range(vocab - 1, 255, -1):
        weight[left[t]] += weight[t]
    preorder, cursor, root = np.zeros(vocab, dtype=np.int64), np.zeros(vocab, dtype=np.int64), 0
    for t in range(vocab):
        if t < 256:
            preorder[t], root = root, root + weight[t]
        else:
            preorder[t] = cursor[left[t]]
            cursor[left[t]] += weight[t]
        cursor[t] = preorder[t] + 1
    children = 256 + np.argsort(left[256:], kind="stable")
    row = np.empty(vocab, dtype=np.int64)
    row[preorder] = random.permutation(vocab)
    first_child = np.searchsorted(left[children], np.arange(vocab + 1))
    part, end = right[children], preorder + weight
    tokens = [
        *(np.append(f, 0) for f in (right, rank, rank)),
        first_child,
        np.append(end, 0),
        0 * first_child,
    ]
    derivations = [
        rank[children], part, rank[part], row[preorder[part]], rank[children], rank[children],
        preorder[children], end[children], children,
    ]  # fmt: skip
    return Forest(
        tokens=np.stack(tokens, axis=1).astype(np.int32),
        derivations=np.stack(derivations, axis=1).astype(np.int32),
        rows=row.astype(np.int32),
    )


def microseconds(call: Callable[[], object]) -> float:
    """The median of ROUNDS calls."""
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        call()
        times.append((time.thread_time() - began) * 1e6)
    return float(np.median(times))


def compare(vocab: int) -> list[dict[str, Any]]:
    """Microseconds of each kernel, native and in NumPy, and their ratio."""
    found = []
    for case in cases(vocab, np.random.default_rng(vocab)):
        native, numpy = (
            microseconds(lambda case=case, module=module: getattr(module, case.kernel)(*case.arguments))
            for module in (kernels.NATIVE, numpy_reference)
        )
        found.append({"kernel": case.name, "native_us": native, "numpy_us": numpy, "ratio": numpy / native})
    return found


class Timed:
    """A model or the library that has it, with the calls that evaluate counted and timed.

    What that costs is counted with what is beside the model: two system calls behind cold caches.
    """

    def __init__(self, inner: Any, method: str) -> None:
        self._inner = inner
        self.seconds, self.decodes = 0.0, 0
        evaluate, clock = getattr(inner, method), time.thread_time

        def timed_call(*arguments: Any) -> Any:
            began = clock()
            found = evaluate(*arguments)
            self.seconds += clock() - began
            self.decodes += 1
            return found

        setattr(self, method, timed_call)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        setattr(self, name, found)
        return found


def timed(backend: Any) -> Timed:
    """Puts a `Timed` between a backend and its model."""
    place, method = ("_lib", "llama_decode") if hasattr(backend, "_lib") else ("_model", "evaluate")
    found = Timed(getattr(backend, place), method)
    setattr(backend, place, found)
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """One completion after the distribution at its cursor is known."""

    evaluations: int
    decode_ms: float
    other_ms: float


def complete(model: Model, library: Timed, shown: bytes, max_tokens: int) -> Cost:
    """Costs of one completion from a resident prompt and an empty row cache."""
    request = Request(shown, max_tokens=max_tokens)
    Completer(model).warm(request, StopSignal())
    _, state = Completer(replace(model, scorer=Scorer(model.backend))).open(request, StopSignal())
    decoder = Decoder(state.space, limits_of(request, StopSignal()))
    decodes, seconds, began = library.decodes, library.seconds, time.thread_time()
    decoder.alternatives(state, 1)
    spent = time.thread_time() - began
    decode = library.seconds - seconds
    return Cost(library.decodes - decodes, decode * 1e3, (spent - decode) * 1e3)


def middles(model_name: str | None, count: int, seed: int, max_tokens: int) -> dict[str, Any]:
    """Milliseconds outside the model of completions inside lines, where the suffix is scored."""
    model = load_model(model_name)
    backend = model.backend
    library = timed(backend)
    costs, rows = list[Cost](), 0
    for cursor in inside_lines(draw_cursors(PACKAGES, count, seed)):
        request = Request(cursor.prefix[-SHOWN_BYTES:], cursor.suffix, max_tokens=max_tokens)
        Completer(model).warm(request, StopSignal())
        decodes, seconds, before = library.decodes, library.seconds, backend.tokens_evaluated
        began = time.thread_time()
        Completer(model).complete(request, StopSignal())
        spent, decode = time.thread_time() - began, library.seconds - seconds
        costs.append(Cost(library.decodes - decodes, decode * 1e3, (spent - decode) * 1e3))
        rows += backend.tokens_evaluated - before
    others = [cost.other_ms for cost in costs]
    return {
        "completions": len(costs), "evaluations": sum(cost.evaluations for cost in costs), "rows": rows,
        "other_ms_mean": float(np.mean(others)), "other_ms_p95": float(np.percentile(others, 95)),
    }  # fmt: skip


def shares(
    model_name: str | None, count: int, seed: int, max_tokens: int, shown_bytes: int
) -> dict[str, Any]:
    """Milliseconds a model evaluation, of the model and of the byte layer; prompts have `shown_bytes`."""
    model = load_model(model_name)
    library = timed(model.backend)
    cursors = draw_cursors(PACKAGES, count, seed)
    costs = [complete(model, library, cursor.prefix[-shown_bytes:], max_tokens) for cursor in cursors]
    parts = {"first": costs[:FIRST_COMPLETIONS], "later": costs[FIRST_COMPLETIONS:]}
    result: dict[str, Any] = {"kernels": "native" if kernels.NATIVE else "numpy", "model": model.name}
    for name, part in parts.items():
        evaluations = max(1, sum(cost.evaluations for cost in part))
        decode, other = (sum(getattr(c, f"{k}_ms") for c in part) / evaluations for k in ("decode", "other"))
        result[name] = {
            "completions": len(part), "evaluations": evaluations, "decode_ms": decode, "byte_layer_ms": other,
            "percent": 100 * other / decode if decode else None,
        }  # fmt: skip
    return result


def shares_apart(options: argparse.Namespace, which: str) -> dict[str, Any]:
    """`shares` in a process of its own, with native kernels or without."""
    argv = [sys.executable, "-m", "bench.kernels", "--inner", "--cursors", str(options.cursors)]
    argv += ["--seed", str(options.seed), "--max-tokens", str(options.max_tokens)]
    argv += ["--shown-bytes", str(options.shown_bytes)]
    argv += ["--model", options.model] if options.model else []
    environment = os.environ | {"MIDWORD_KERNELS": which}
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def print_ratios(console: Console, found: dict[int, list[dict[str, Any]]]) -> None:
    """One line a kernel: microseconds native, in NumPy, and the ratio, by size of vocabulary."""
    table = Table(title="microseconds a call: native / NumPy (ratio)")
    table.add_column("kernel")
    for vocab in found:
        table.add_column(f"{vocab:,} tokens", justify="right")
    for rows in zip(*found.values(), strict=True):
        cells = [f"{r['native_us']:,.0f} / {r['numpy_us']:,.0f} ({r['ratio']:.1f})" for r in rows]
        table.add_row(rows[0]["kernel"], *cells)
    console.print(table)


def print_shares(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """One line for the first completions and one for the later ones."""
    table = Table(title=f"milliseconds a model evaluation, {found[0]['model']}")
    for heading in ("kernels", "completions", "evaluations", "model", "byte layer", "share"):
        table.add_column(heading, justify="right")
    for result in found:
        for name in ("first", "later"):
            part = result[name]
            table.add_row(
                result["kernels"], f"{name} {part['completions']}", str(part["evaluations"]),
                f"{part['decode_ms']:.2f}", f"{part['byte_layer_ms']:.3f}", f"{part['percent'] or 0:.1f} %",
            )  # fmt: skip
    console.print(table)


def main() -> None:
    """Measures, prints tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cursors", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--shown-bytes", type=int, default=SHOWN_BYTES, help="of the prompt (%(default)s)")
    parser.add_argument("--model", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabularies", default="49152,151936,262144")
    parser.add_argument("--kernels-only", action="store_true", help="without the model")
    parser.add_argument("--inside-lines", action="store_true", help="only what the suffix search costs")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside_lines:
        print(json.dumps(middles(options.model, options.cursors, options.seed, options.max_tokens)))
        return
    if options.inner:
        given = options.model, options.cursors, options.seed, options.max_tokens, options.shown_bytes
        print(json.dumps(shares(*given)))
        return
    if kernels.NATIVE is None:
        parser.exit(2, "bench.kernels: the native kernels are not built here; see kernels/README.md\n")
    console = Console(width=110)
    ratios = {vocab: compare(vocab) for vocab in map(int, options.vocabularies.split(","))}
    print_ratios(console, ratios)
    found = [] if options.kernels_only else [shares_apart(options, which) for which in ("native", "numpy")]
    if found:
        print_shares(console, found)
    print(json.dumps({"ratios": ratios, "shares": found}))


if __name__ == "__main__":
    main()
