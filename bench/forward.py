"""The native forward pass beside llama.cpp: how near to the weights' own distribution, and how fast.

    python -m bench.forward                    the default model, this machine
    python -m bench.forward --threads 1
    python -m bench.forward --times-only --shown-bytes 5200    without llama.cpp and accuracy

Accuracy: Kullback-Leibler divergence from the same weights in float64 (`transformer_reference`), after
prefixes of a real file. Speed: milliseconds of a prompt, and of a decode by rows behind it, both in turns.
Prints a table and a JSON line. "native" uses the best instructions of this processor; if it has others that
do, they stand beside it. llama.cpp waits as long as suits it best on an idle machine (GOMP_SPINCOUNT,
decision 0005).
"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.backends.base import Backend, StopSignal
from engine.backends.native import NativeBackend
from engine.backends.native_weights import ARCHITECTURES, Loading, known_instructions, why_not
from engine.models.gguf import Gguf, check
from engine.models.home import tables_dir
from engine.models.store import resolve
from engine.tokenizers.kept import kept_tokenizer
from engine.tree import ROOT, TokenPath, TokenTree
from engine_kernels.transformer_reference import Sizes, dequantize, logits

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 32)
ROUNDS = 12
CONTEXT = 2048
CHECKED_TOKENS = 380
STEP_TOKENS = 37


def log_probabilities(path: Path, gguf: Gguf, tokens: TokenPath) -> np.ndarray:
    """(tokens, vocab) in float64. Takes some gigabytes and a minute for the default model."""
    data, weights = np.memmap(path, np.uint8, "r"), {}
    for tensor in gguf.tensors:
        raw = data[gguf.weights_start + tensor.offset_bytes :][: tensor.size_bytes]
        is_vector = len(tensor.shape) == 1
        numbers = raw.view(np.float32).astype(float) if is_vector else dequantize(raw, tensor.shape[0])
        weights[tensor.name.removesuffix(".weight")] = numbers
    name = gguf.metadata["general.architecture"]
    said = {key.removeprefix(f"{name}."): value for key, value in gguf.metadata.items()}
    sizes = Sizes(
        said["block_count"], said["attention.head_count"], said["attention.head_count_kv"],
        said["attention.layer_norm_rms_epsilon"], said["rope.freq_base"], ARCHITECTURES[name].rotates_halves,
    )  # fmt: skip
    rows = logits(sizes, weights, tokens)
    rows -= rows.max(axis=-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))


def score(backend: Backend, context: TokenPath, chain: Sequence[int] = ()) -> tuple[np.ndarray, float]:
    """The last row of a chain behind a context, all of whose rows are asked for, and milliseconds."""
    tree = TokenTree(tuple(chain), tuple(range(ROOT, len(chain) - 1)))
    began = time.perf_counter()
    rows = backend.score(context, tree, range(len(chain)) if chain else [ROOT], StopSignal())
    return rows[-1], (time.perf_counter() - began) * 1e3


def _divergences(backend: Backend, tokens: TokenPath, exact: np.ndarray) -> list[float]:
    """Of a backend's rows from `exact` (tokens, vocab) ones, nats, behind some of the prefixes."""
    divergences = []
    for end in range(STEP_TOKENS, len(exact), STEP_TOKENS):
        row, expected = score(backend, tokens[:end])[0], exact[end - 1]
        divergences.append(float((np.exp(expected) * (expected - row)).sum()))
    return divergences


def main() -> None:
    """Measures, prints tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=None, help="a GGUF that the native forward pass takes")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--shown-bytes", type=int, default=2400, help="of the context")
    parser.add_argument("--times-only", action="store_true", help="without llama.cpp, and no accuracy")
    options = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

    path = resolve(options.model).path
    gguf = check(path)
    if reason := why_not(gguf):
        parser.error(f"{path.name}: {reason}")
    best, *others = known_instructions()
    natives = {"native": best, **{f"native, {name}": name for name in others}}
    backends: dict[str, Backend] = {
        name: NativeBackend(
            Loading(path, gguf, context_length=CONTEXT, threads=options.threads, instructions=instructions)
        )
        for name, instructions in natives.items()
    }
    if not options.times_only:
        from engine.backends.llama_cpp import LlamaCppBackend

        backends["llama.cpp"] = LlamaCppBackend(path, context_length=CONTEXT, threads=options.threads)
    tokenizer = kept_tokenizer(gguf.metadata, tables_dir())
    tokens = tokenizer.encode(Path(textwrap.__file__).read_bytes()[: options.shown_bytes])
    random = np.random.default_rng(0)
    found = {name: {"prompt_ms": score(backend, tokens)[1]} for name, backend in backends.items()}
    if not options.times_only:
        exact = log_probabilities(path, gguf, tokens[:CHECKED_TOKENS])
        for name, backend in backends.items():
            divergences = _divergences(backend, tokens, exact)
            found[name] |= {"kl_mean": float(np.mean(divergences)), "kl_max": max(divergences)}
    for rows in ROWS:
        times: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(ROUNDS):
            chain = random.integers(100, 40_000, rows).tolist()
            for name, backend in backends.items():
                times[name].append(score(backend, tokens, chain)[1])
        for name in backends:
            found[name][f"rows_{rows}_ms"] = float(np.median(times[name]))
    table = Table(title=f"{path.name}, {len(tokens)} tokens of context")
    rivals = [name for name in found if name != "native"]
    for heading in ("", "native", *rivals, *(f"{name} / native" for name in rivals)):
        table.add_column(heading, justify="right")
    for what, ours in found["native"].items():
        theirs = [found[name][what] for name in rivals]
        values = [ours, *theirs, *(rival / ours for rival in theirs)]
        table.add_row(what, *(f"{value:.3g}" for value in values))
    Console(width=110).print(table)
    print(json.dumps({"tokens": len(tokens), **found}))


if __name__ == "__main__":
    main()
