"""The bench of keys and values: what its readers read, on a tiny llama."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.kv_economy import SINKS, BackendReader, SinkReader, Way, interval, llama_ways, measure
from engine.backends.llama_cpp import LlamaCppBackend
from tests.engine.backends.tiny_llama import CONTEXT, write_tiny_llama

STEP = 20


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LlamaCppBackend]:
    write_tiny_llama(tmp_path / "tiny.gguf")
    opened = LlamaCppBackend(tmp_path / "tiny.gguf", context_length=CONTEXT, threads=1)
    yield opened
    opened.close()


def text(seed: int, length: int, backend: LlamaCppBackend) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(backend.vocab_size) for _ in range(length)]


def test_sinks_with_a_window_that_holds_everything_are_the_full_cache(backend: LlamaCppBackend) -> None:
    tokens = text(1, 100, backend)
    rows = []
    for reader in (BackendReader(backend), SinkReader(backend, window=100)):
        rows.append([row for k in range(0, 100, STEP) for row in reader.read(tokens[k : k + STEP])])
    assert all(np.abs(np.exp(a) - np.exp(b)).sum() < 1e-5 for a, b in zip(*rows, strict=True))


def test_sinks_keep_the_first_tokens_and_the_last(backend: LlamaCppBackend) -> None:
    """Endless reading in a context that holds a part, each token evaluated once, none of the rows wrong."""
    window = 60
    reader, tokens = SinkReader(backend, window), text(2, 2 * CONTEXT, backend)
    for start in range(0, len(tokens), STEP):
        rows = reader.read(tokens[start : start + STEP])
        assert len(rows) == len(tokens[start : start + STEP]) and all(np.isfinite(row).all() for row in rows)
    assert reader._tokens == tokens[:SINKS] + tokens[-window:]
    assert backend._kv.table.cells == SINKS + window
    # Each row is asked for, so the last token of the text before is evaluated again by no step.
    assert backend.tokens_evaluated == len(tokens)


def test_a_way_is_measured_on_the_last_half(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny.gguf")
    ways = llama_ways(tmp_path / "tiny.gguf", [64])
    assert [way.name for way in ways] == ["f32", "f16", "q8_0", "q4_0", "4 sinks + 64"]
    assert ways[0].megabytes == pytest.approx(2 * 2 * 16 * 2 * 4 * 4096 / 1e6)
    assert ways[4].cells == SINKS + 64 and ways[4].cell_bytes == ways[0].cell_bytes
    tokens = [[k % 200 for k in range(80)], [k % 190 for k in range(80)]]
    found = measure(ways[0], tokens)
    assert found.bits.shape == (2,) and (found.bits > 0).all()
    half = Way("half", ways[0].open, 1, 1)
    assert np.allclose(measure(half, tokens).bits, found.bits)


def test_a_constant_difference_has_no_spread() -> None:
    low, high = interval(np.array([2.0, 2.0, 2.0]), np.array([10.0, 10.0, 10.0]))
    assert low == high == pytest.approx(0.2)
