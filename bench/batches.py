"""What one decode of llama.cpp costs here, by tokens in the batch.

    python -m bench.batches                         the default model, this machine
    python -m bench.batches --spins 0,300,10000     by turns that waiting threads spin
    python -m bench.batches --busy 1                beside one other program that takes a core
    python -m bench.batches --resident 0,2000       after another document of so many tokens
    … --resident 0,2000 --together                  the same, had it not been parked
    python -m bench.batches --threads 1 --cpu       CPU time, which other programs disturb less

Prints a table and a JSON line with medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.backends import kv_cache
from engine.backends.base import StopSignal
from engine.backends.llama_cpp import LlamaCppBackend
from engine.models.store import resolve
from engine.tree import ROOT, TokenPath, TokenTree

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
CONTEXT_TOKENS = 700
ROUNDS = 8


def decode_times(
    model: str | None, kv: str, threads: int | None, resident: int, together: bool, cpu: bool
) -> list[float]:
    """Median milliseconds of a decode by SIZES, behind CONTEXT_TOKENS tokens, all rows wanted."""
    clock = time.process_time if cpu else time.perf_counter
    if together:
        kv_cache.LEEWAY_CELLS = 1 << 20
    backend = LlamaCppBackend(resolve(model).path, context_length=4096, kv=kv, threads=threads)
    random = np.random.default_rng(0)

    def tokens(count: int) -> TokenPath:
        return tuple(random.integers(100, backend.vocab_size - 100, count).tolist())

    if resident:
        backend.score(tokens(resident), TokenTree((), ()), [ROOT], StopSignal())
    context = tokens(CONTEXT_TOKENS)
    backend.score(context, TokenTree((), ()), [ROOT], StopSignal())
    medians = []
    for size in SIZES:
        times = []
        for _ in range(ROUNDS):
            chain = TokenTree(tokens(size), tuple(range(ROOT, size - 1)))
            began = clock()
            backend.score(context, chain, range(size), StopSignal())
            times.append((clock() - began) * 1e3)
        medians.append(round(float(np.median(times)), 1))
    backend.close()
    return medians


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """`count` processes that do nothing but take a core."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def measure_apart(options: argparse.Namespace, spins: int | None, resident: int) -> list[float]:
    """`decode_times` in a process of its own: OpenMP reads its environment once."""
    argv = [sys.executable, "-m", "bench.batches", "--inner", "--kv", options.kv, "--resident", str(resident)]
    argv += ["--model", options.model] if options.model else []
    argv += ["--together"] if options.together else []
    argv += ["--cpu"] if options.cpu else []
    argv += ["--threads", str(options.threads)] if options.threads else []
    environment = dict(os.environ) | ({} if spins is None else {"GOMP_SPINCOUNT": str(spins)})
    with busy_programs(options.busy):
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True)
    return [float(number) for number in json.loads(done.stdout)]


def integers(text: str) -> Sequence[int]:
    """A comma-separated list."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measures each combination, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--kv", default="f32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--spins", type=integers, default=[None], help="values of GOMP_SPINCOUNT")
    parser.add_argument("--resident", type=integers, default=[0], help="tokens of another document")
    parser.add_argument("--together", action="store_true", help="park nothing")
    parser.add_argument("--cpu", action="store_true", help="CPU time of all threads instead of time")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="other programs that take a core")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        resident = options.resident[0]
        times = decode_times(
            options.model, options.kv, options.threads, resident, options.together, options.cpu
        )
        print(json.dumps(times))
        return
    table = Table(title=f"milliseconds a decode, beside {options.busy} busy programs")
    for heading in ("spins", "resident", *map(str, SIZES)):
        table.add_column(heading, justify="right")
    rows = []
    for spins in options.spins:
        for resident in options.resident:
            medians = measure_apart(options, spins, resident)
            rows.append({"spins": spins, "resident": resident, "ms": dict(zip(SIZES, medians, strict=True))})
            name = "as set" if spins is None else str(spins)
            table.add_row(name, str(resident), *(f"{ms:.1f}" for ms in medians))
    Console(width=110).print(table)
    print(json.dumps({"busy": options.busy, "kv": options.kv, "rows": rows}))


if __name__ == "__main__":
    main()
