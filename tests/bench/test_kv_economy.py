"""The bench of keys and values: what its readers read, on a tiny llama."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.kv_economy import (
    SINKS,
    TORCH_WAYS,
    BackendReader,
    SinkReader,
    Way,
    interval,
    llama_ways,
    measure,
    torch_ways,
)
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


def test_ways_on_torch_take_less_and_say_nearly_the_same(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="is not installed; `make test-torch` runs this")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=200, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(9)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    ways = {way.name: way for way in torch_ways(tmp_path)}
    assert list(ways) == list(TORCH_WAYS)
    size = {name: way.megabytes / ways["f32"].megabytes for name, way in ways.items()}
    assert size["kivi2"] < size["kivi4"] < 0.5 == size["bf16 weights"]
    assert size["int8 weights"] == 1
    rng = random.Random(1)  # more than KIVI keeps whole
    tokens = [[rng.randrange(200) for _ in range(900)]]
    bits = {name: float(measure(way, tokens).bits[0]) for name, way in ways.items()}
    assert len(set(bits.values())) == len(bits), "all of them differ, so each type is really used"
    assert all(value == pytest.approx(bits["f32"], rel=0.02) for value in bits.values())
