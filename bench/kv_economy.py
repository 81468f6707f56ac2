"""What do smaller keys and values save, and what do they cost?

    python -m bench.kv_economy [--windows 3] [--tokens 1536] [--torch] [--ways f32,q8_0] [--cpu-time]

Held-out Python is read token by token behind a growing context, as a document that is typed: `--tokens`
tokens a window, of which the last half counts. For each way to keep keys and values this prints the
memory of a context of 4096 tokens, the time of a decode behind a full window, the speed of reading, bits
per byte, and by how much these differ from F32 with a 95 % bootstrap interval over windows.

With llama.cpp: F32 and F16, the quantised types q8_0 and q4_0, and attention sinks with a sliding window
(StreamingLLM, Xiao et al. 2023, arXiv 2309.17453): the first 4 tokens and the last W stay, what lies
between is removed and later keys are turned back to their new positions. With --torch: the same model's
F32 weights as a folder, on the torch backend's CPU (`make bench-kv` has an environment with torch), F32 and
KIVI's 4 and 2 bits, and besides weights of bf16 (and so keys and values of bf16) and of int8. Of a process
of one thread (OMP_NUM_THREADS=1) `--cpu-time` takes the processor's time, which other work beside it
hardly changes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cursors import PACKAGES, python_files
from bench.gguf_to_folder import write_folder
from engine.backends.base import Backend, StopSignal
from engine.backends.llama_cpp import LlamaCppBackend
from engine.models.gguf import read_metadata
from engine.models.store import resolve
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine.tree import TokenTree
from engine.vocab import FloatArray

MODEL = "smollm2-135m"
CONTEXT = 4096
STEP = 32
"""Tokens that are read at once."""
SINKS = 4
DECODES = 8


class Reader(Protocol):
    """A model that reads one text."""

    def read(self, tokens: Sequence[int]) -> list[FloatArray]:
        """Appends `tokens`; the row after each."""
        ...

    def clear(self) -> None:
        """Forgets the text."""
        ...


class BackendReader:
    """Reads through a backend's own cache."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._tokens = backend, list[int]()

    def read(self, tokens: Sequence[int]) -> list[FloatArray]:
        """See `Reader`."""
        chain = TokenTree(tuple(tokens), tuple(range(-1, len(tokens) - 1)))
        rows = self._backend.score(self._tokens, chain, range(len(tokens)), StopSignal())
        self._tokens += tokens
        return rows

    def clear(self) -> None:
        """See `Reader`."""
        self._tokens = []


class SinkReader(BackendReader):
    """Reads with llama.cpp, and keeps the first SINKS tokens and the last `window` in the cache."""

    def __init__(self, backend: LlamaCppBackend, window: int) -> None:
        super().__init__(backend)
        self._window = window
        self._lib, self._memory = backend._lib, backend._lib.llama_get_memory(backend._context)

    def read(self, tokens: Sequence[int]) -> list[FloatArray]:
        """See `Reader`. The backend believes in a text that never had what was removed."""
        rows = super().read(tokens)
        excess = len(self._tokens) - SINKS - self._window
        if excess > 0:
            self._remove(excess)
        return rows

    def _remove(self, excess: int) -> None:
        backend: Any = self._backend
        (resident,) = backend._kv.table._residents.values()
        number, key = resident.number, resident.key
        self._lib.llama_memory_seq_rm(self._memory, number, SINKS, SINKS + excess)
        self._lib.llama_memory_seq_add(self._memory, number, SINKS + excess, -1, -excess)
        backend._kv.table._remove(number)
        resident.key = key[: SINKS * 4] + key[(SINKS + excess) * 4 :]
        backend._kv.table._add(resident)
        del self._tokens[SINKS : SINKS + excess]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to keep keys and values."""

    name: str
    open: Callable[[], tuple[Reader, Backend]]
    cell_bytes: float
    cells: int
    """Cells of a context of CONTEXT tokens."""

    @property
    def megabytes(self) -> float:
        """Of the whole context."""
        return self.cell_bytes * self.cells / 1e6


def llama_ways(path: Path, windows: Sequence[int]) -> list[Way]:
    """llama.cpp's types, and sinks with windows of F32."""
    metadata = read_metadata(path)
    heads = int(metadata["llama.attention.head_count_kv"])
    width = int(metadata["llama.embedding_length"]) // int(metadata["llama.attention.head_count"])
    numbers = 2 * heads * width * int(metadata["llama.block_count"])

    def opened(kv: str) -> LlamaCppBackend:
        return LlamaCppBackend(path, context_length=CONTEXT, kv=kv)

    def reader(kv: str) -> tuple[Reader, Backend]:
        backend = opened(kv)
        return BackendReader(backend), backend

    def sinks(window: int) -> tuple[Reader, Backend]:
        backend = opened("f32")
        return SinkReader(backend, window), backend

    sizes = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
    ways = [Way(kv, lambda kv=kv: reader(kv), numbers * size, CONTEXT) for kv, size in sizes.items()]
    return ways + [
        Way(f"{SINKS} sinks + {window}", lambda window=window: sinks(window), numbers * 4.0, SINKS + window)
        for window in windows
    ]


TORCH_WAYS = {
    "f32": ("f32", "f32"),
    "kivi4": ("f32", "kivi4"),
    "kivi2": ("f32", "kivi2"),
    "bf16 weights": ("bf16", "auto"),
    "int8 weights": ("int8", "auto"),
}
"""Name → types of the weights and of keys and values."""


def torch_ways(folder: Path) -> list[Way]:
    """TORCH_WAYS on the CPU."""
    import torch

    from engine.backends.torch import TorchBackend
    from engine.backends.torch_model import read_model

    def opened(weights: str, kv: str) -> TorchBackend:
        model = read_model(folder, weights, torch.device("cpu"))
        return TorchBackend(model, context_length=CONTEXT, kv=kv)

    def reader(weights: str, kv: str) -> tuple[Reader, Backend]:
        backend = opened(weights, kv)
        return BackendReader(backend), backend

    ways = []
    for name, types in TORCH_WAYS.items():
        backend = opened(*types)
        cell_bytes = backend.kv_bytes / backend.context_length
        ways.append(Way(name, lambda types=types: reader(*types), cell_bytes, CONTEXT))
        backend.close()
    return ways


@dataclass(frozen=True, slots=True)
class Measured:
    """One way's numbers."""

    bits: FloatArray
    """Of the counted tokens of each window."""
    read_tokens_per_s: float
    decode_ms: float


def measure(
    way: Way, texts: Sequence[Sequence[int]], clock: Callable[[], float] = time.perf_counter
) -> Measured:
    """Reads all windows; decodes behind the last one."""
    reader, backend = way.open()
    bits, seconds, count = [], 0.0, 0
    for text in track(texts, way.name, console=Console(stderr=True)):
        reader.clear()
        surprise = list[float]()
        for start in range(0, len(text) - 1, STEP):
            began = clock()
            rows = reader.read(text[start : start + STEP])
            seconds += clock() - began
            following = text[start + 1 : start + STEP + 1]
            surprise += [-float(row[token]) / np.log(2) for row, token in zip(rows, following, strict=False)]
            count += len(rows)
        bits.append(sum(surprise[len(text) // 2 :]))
    times = []
    for token in texts[-1][:DECODES]:
        began = clock()
        reader.read([token])
        times.append((clock() - began) * 1e3)
    backend.close()
    return Measured(np.array(bits), count / seconds, float(np.median(times)))


def windows_of(tokenizer: Tokenizer, count: int, tokens: int) -> list[list[int]]:
    """The first tokens of `count` long files of installed packages, one a package as far as they go."""
    found = []
    files = [path for path in python_files(PACKAGES) if path.stat().st_size > 8 * tokens]
    for path in files[:: max(1, len(files) // count)][:count]:
        found.append(list(tokenizer.encode(path.read_bytes()[: 8 * tokens])[:tokens]))
    return found


def interval(differences: FloatArray, counted_bytes: FloatArray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval over windows of the difference in bits per byte."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(differences), size=(4000, len(differences)))
    means = differences[picks].sum(1) / counted_bytes[picks].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@contextmanager
def torch_folder(wanted: bool) -> Iterator[Path | None]:
    """A folder of the model's F32 weights, for the time of the measurement."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        write_folder(resolve(f"{MODEL}:f32").path, Path(name))
        yield Path(name)


def main() -> None:
    """Measures, prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description="Memory, speed and quality of smaller keys and values.")
    parser.add_argument("--windows", type=int, default=3, help="texts to read")
    parser.add_argument("--tokens", type=int, default=1536, help="tokens of each text")
    parser.add_argument("--sinks", default="256,512,1024", help="windows beside the sinks")
    parser.add_argument("--torch", action="store_true", help="measure the torch backend, not llama.cpp")
    parser.add_argument("--ways", help="only these, by name, compared with the first (default: all)")
    parser.add_argument("--cpu-time", action="store_true", help="time of this process instead of the clock's")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    path = resolve(MODEL).path
    tokenizer = tokenizer_from_metadata(read_metadata(path))
    texts = windows_of(tokenizer, options.windows, options.tokens)
    counted = np.array([len(tokenizer.vocab.decode(text[len(text) // 2 + 1 :])) for text in texts], float)
    with torch_folder(options.torch) as folder:
        ways = torch_ways(folder) if folder else llama_ways(path, list(map(int, options.sinks.split(","))))
        ways = [way for way in ways if options.ways is None or way.name in options.ways.split(",")]
        measured = {way: measure(way, texts, clock) for way in ways}
    full = measured[ways[0]]
    where = "torch" if options.torch else "llama.cpp"
    table = Table(
        title=f"{MODEL}, {where}, {len(texts)} windows of {options.tokens} tokens, the last half counts"
    )
    for heading in (
        "keys and values",
        f"MB of {CONTEXT}",
        "decode ms",
        "reading tok/s",
        "bits/byte",
        "more",
        "95 %",
    ):
        table.add_column(heading, justify="right")
    rows = []
    for way, found in measured.items():
        row = figures(way, found, full, counted)
        rows.append(row)
        cells = (f"{row['mb']:.0f}", f"{row['decode_ms']:.1f}", f"{row['read_tokens_per_s']:.0f}")
        quality = (
            f"{row['bits_per_byte']:.4f}",
            f"{row['more']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
        )
        table.add_row(way.name, *cells, *quality)
    Console(width=110).print(table)
    print(json.dumps({"windows": len(texts), "tokens": options.tokens, "rows": rows}))


def figures(way: Way, found: Measured, full: Measured, counted: FloatArray) -> dict[str, Any]:
    """One line of the table."""
    low, high = interval(found.bits - full.bits, counted)
    return {
        "way": way.name,
        "mb": way.megabytes,
        "decode_ms": found.decode_ms,
        "read_tokens_per_s": found.read_tokens_per_s,
        "bits_per_byte": float(found.bits.sum() / counted.sum()),
        "more": float((found.bits - full.bits).sum() / counted.sum()),
        "low": low,
        "high": high,
    }


if __name__ == "__main__":
    main()
