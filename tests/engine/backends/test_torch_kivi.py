"""Rounded keys and values: how far they may be off, and that pages open and close without harm."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs these tests")

import transformers  # noqa: E402

from engine.backends.base import StopSignal  # noqa: E402
from engine.backends.torch import TorchBackend  # noqa: E402
from engine.backends.torch_kivi import PAGE, KiviKv, pack, unpack  # noqa: E402
from engine.backends.torch_kv import LayerShape, StaticKv  # noqa: E402
from engine.errors import ModelUnsupported  # noqa: E402
from engine.tree import ROOT, TokenTree  # noqa: E402
from engine.vocab import FloatArray  # noqa: E402
from tests.engine.backends.tiny_llama import write_tiny_folder  # noqa: E402
from tests.engine.backends.torch_folders import opened  # noqa: E402

SHAPES = [LayerShape(2, 16, 32), LayerShape(1, 8, 64)]
CPU = torch.device("cpu")


def noise(seed: int, *shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [2, 4])
def test_a_number_is_off_by_half_a_step_at_most(bits: int) -> None:
    numbers = noise(1, 3, 2, 32, 5)
    packed = pack(numbers, bits)
    assert packed.codes.shape == (3, 2, 32 * bits // 8, 5) and packed.codes.dtype == torch.uint8
    off = (unpack(packed, bits) - numbers).abs()
    assert bool((off <= packed.step.float() * 0.5 + 4e-3).all())
    steps = (numbers.amax(2) - numbers.amin(2)) / (2**bits - 1)
    torch.testing.assert_close(packed.step[:, :, 0].float(), steps, rtol=1e-2, atol=1e-3)


def filled(bits: int, cells: int, keys: Any, values: Any) -> KiviKv:
    """A store of one layer with everything written in order, 32 cells at a time."""
    store = KiviKv([LayerShape(1, keys.shape[2], values.shape[2])], cells, 32, bits, torch.float32, CPU)
    for start in range(0, cells, 32):
        assert store.prepare(np.arange(start, start + 32)) == 32
        store.write(0, None, keys[:, start : start + 32], values[:, start : start + 32])
    return store


def test_an_outlier_costs_its_channel_in_keys_and_its_token_in_values() -> None:
    cells = 640
    keys, values = noise(2, 1, cells, 32), noise(3, 1, cells, 32)
    plain_keys, plain_values = filled(4, cells, keys, values).read(0, cells)
    keys[0, :, 5] *= 1000
    values[0, 40] *= 1000
    wild_keys, wild_values = filled(4, cells, keys, values).read(0, cells)
    others = [channel for channel in range(32) if channel != 5]
    assert torch.equal(wild_keys[0, :, others], plain_keys[0, :, others])
    rest = [cell for cell in range(cells) if cell != 40]
    assert torch.equal(wild_values[0, rest], plain_values[0, rest])


def test_recent_cells_are_exact_and_older_ones_near() -> None:
    cells = 640
    keys, values = noise(4, 1, cells, 32), noise(5, 1, cells, 32)
    read = filled(4, cells, keys, values).read(0, cells)
    for found, written in zip(read, (keys, values), strict=True):
        assert torch.equal(found[:, -128:], written[:, -128:])
        off = (found - written).abs()[:, :300]
        assert 0.05 < float(off.max()) < 0.4


def test_any_order_of_writes_keeps_what_else_is_there() -> None:
    """Scattered cells, reopened pages: every cell is what was written there last, up to rounding."""
    rng, cells = random.Random(6), 512
    store = KiviKv(SHAPES, cells, 64, 4, torch.float32, CPU)
    exact = StaticKv(SHAPES, cells, torch.float32, CPU)
    for turn in range(60):
        chosen = np.array(rng.sample(range(cells), rng.randrange(1, 64)))
        if turn % 2:
            chosen = np.arange(start := rng.randrange(cells - 64), start + 64)
        done = 0
        while done < len(chosen):
            count = store.prepare(chosen[done:])
            assert count >= 1
            part = chosen[done : done + count]
            for layer, shape in enumerate(SHAPES):
                keys = noise(turn, shape.heads, count, shape.key_dim)
                values = noise(turn + 99, shape.heads, count, shape.value_dim)
                for target in (store, exact):
                    target.write(layer, torch.from_numpy(part), keys, values)
            done += count
    for layer in range(len(SHAPES)):
        for found, written in zip(store.read(layer, cells), exact.read(layer, cells), strict=True):
            off = (found - written).abs()  # grows a little with each closing; a lost cell is off by up to 4
            assert float(off.max()) < 1.6 and float(off.mean()) < 0.15


def test_saved_cells_come_back() -> None:
    store = KiviKv(SHAPES, 512, 64, 4, torch.float32, CPU)
    cells = np.arange(200)
    for start in range(0, 200, 50):
        store.prepare(cells[start : start + 50])
        for layer, shape in enumerate(SHAPES):
            keys, values = (
                noise(7, shape.heads, 50, shape.key_dim),
                noise(8, shape.heads, 50, shape.value_dim),
            )
            store.write(layer, None, keys, values)
    state, before = store.save(cells), store.read(0, 512)[0][:, :200]
    assert state.nbytes == 200 * store.cell_bytes
    store.restore(cells + 256, state)
    assert float((store.read(0, 512)[0][:, 256:456] - before).abs().max()) < 0.2


def test_memory_is_a_fraction() -> None:
    shapes = [LayerShape(3, 64, 64)] * 30
    full = StaticKv(shapes, 4096, torch.float16, CPU).nbytes
    four, two = (KiviKv(shapes, 4096, 256, bits, torch.float16, CPU).nbytes for bits in (4, 2))
    assert 0.3 < four / full < 0.45 and 0.2 < two / full < 0.32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama with heads of width 32."""
    path = tmp_path_factory.mktemp("kivi")
    config = transformers.LlamaConfig(
        vocab_size=200, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=1024, initializer_range=0.2, bos_token_id=None,
        eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(9)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


def row_of(backend: TorchBackend, path: list[int]) -> FloatArray:
    (row,) = backend.score(path, TokenTree((), ()), [ROOT], StopSignal())
    return row


def test_a_model_answers_nearly_the_same(folder: Path) -> None:
    rng, off = random.Random(10), dict[str, float]()
    path = [rng.randrange(200) for _ in range(900)]
    full = opened(folder, 1024)
    for kv in ("kivi4", "kivi2"):
        backend = opened(folder, 1024, kv=kv, parking_bytes=2**24)
        rows = [(row_of(backend, path[:end]), row_of(full, path[:end])) for end in (850, 870, 900)]
        off[kv] = max(float(np.abs(np.exp(a) - np.exp(b)).sum() / 2) for a, b in rows)
        other = [rng.randrange(200) for _ in range(700)]
        row_of(backend, other)
        before = backend.tokens_evaluated
        assert np.abs(np.exp(row_of(backend, path)) - np.exp(rows[2][1])).sum() / 2 < 2 * off[kv] + 0.05
        assert backend.tokens_evaluated - before < 100, "it was parked, rounded, and came back"
    assert 0 < off["kivi4"] < min(0.3, off["kivi2"])


def test_heads_that_cannot_be_cut_into_groups_are_refused(tmp_path: Path) -> None:
    write_tiny_folder(tmp_path)
    with pytest.raises(ModelUnsupported, match=f"multiple of {PAGE}; choose another --kv"):
        opened(tmp_path, 512, kv="kivi4")
