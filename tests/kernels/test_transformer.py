"""The native forward pass against its definition in float64, and against itself in other batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_kernels import transformer_reference
from engine_kernels.transformer_reference import Floats, Sizes, dequantize
from tests.engine.backends.tiny_llama import q8_0

transformer = pytest.importorskip("engine_kernels._transformer", reason="no C++ compiler")
if not transformer.is_supported():
    pytest.skip("no AVX2", allow_module_level=True)

VOCAB, CELLS, SEQUENCES, BATCH = 43, 96, 8, 64
"""A vocabulary that does not fill its last group of rows."""
RUNNING = np.zeros(2, np.uint8)
Raw = dict[str, npt.NDArray[Any]]


class Tiny:
    """Random weights of some sizes, as the model takes them and as its definition does."""

    def __init__(self, *, heads: int, kv_heads: int, dimension: int, hidden: int, tied: bool) -> None:
        rng, width = np.random.default_rng(heads * dimension), 96
        self.sizes = Sizes(layers=2, heads=heads, kv_heads=kv_heads, epsilon=1e-5, rope_base=1e4)
        self.shape = {"width": width, "heads": heads, "kv_heads": kv_heads, "dimension": dimension,
                      "hidden": hidden, "vocab": VOCAB, "layers": 2}  # fmt: skip
        attended, kept = heads * dimension, kv_heads * dimension
        of_layer = {"attn_q": (attended, width), "attn_k": (kept, width), "attn_v": (kept, width),
                    "attn_output": (width, attended), "ffn_gate": (hidden, width), "ffn_up": (hidden, width),
                    "ffn_down": (width, hidden)}  # fmt: skip
        shapes = {f"blk.{layer}.{name}": size for layer in range(2) for name, size in of_layer.items()}
        shapes |= dict.fromkeys(("token_embd",) if tied else ("token_embd", "output"), (VOCAB, width))
        norms = ["output_norm", *(f"blk.{i}.{kind}_norm" for i in range(2) for kind in ("attn", "ffn"))]
        self.raw: Raw = {name: (1 + 0.2 * rng.normal(size=width)).astype(np.float32) for name in norms}
        self.weights: dict[str, Floats] = {name: row.astype(float) for name, row in self.raw.items()}
        for name, (rows, columns) in shapes.items():
            blocks = np.frombuffer(q8_0(rng.normal(size=(rows, columns)) * 2 / columns**0.5), np.uint8)
            self.raw[name], self.weights[name] = blocks, dequantize(blocks, columns)

    def opened(self, threads: int = 1) -> Any:
        model = transformer.Transformer(
            **self.shape, epsilon=1e-5, rope_base=1e4, cells=CELLS, sequences=SEQUENCES, largest_batch=BATCH,
            threads=threads,
        )  # fmt: skip
        for name, numbers in self.raw.items():
            parts = name.split(".")
            layer, short = (int(parts[1]), parts[2]) if len(parts) > 1 else (0, name)
            (model.set_norm if numbers.dtype == np.float32 else model.set_matrix)(layer, short, numbers)
        return model

    def expected(self, path: Sequence[int]) -> Floats:
        return transformer_reference.logits(self.sizes, self.weights, path)


MODELS = {
    "grouped heads": Tiny(heads=6, kv_heads=2, dimension=32, hidden=160, tied=True),
    "wide heads": Tiny(heads=2, kv_heads=2, dimension=96, hidden=64, tied=False),
}


@pytest.fixture(params=MODELS)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return MODELS[request.param]


def integers(numbers: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.array(numbers, np.int32)


def evaluate(
    model: Any, batch: Sequence[tuple[int, int, Sequence[int]]], flag: Any = RUNNING
) -> npt.NDArray[np.float32] | None:
    """All logits of a batch of (token, position, sequences)."""
    starts = np.cumsum([0, *(len(sequences) for _, _, sequences in batch)])
    rows = model.evaluate(
        integers([token for token, _, _ in batch]), integers([position for _, position, _ in batch]),
        starts.astype(np.int32), integers([n for _, _, sequences in batch for n in sequences]),
        integers(range(len(batch))), flag,
    )  # fmt: skip
    return None if rows is None else rows.copy()


def path_rows(model: Any, path: Sequence[int], sequence: int = 0) -> npt.NDArray[np.float32]:
    rows = evaluate(model, [(token, position, [sequence]) for position, token in enumerate(path)])
    assert rows is not None
    return rows


def some_path(length: int, seed: int = 0) -> list[int]:
    return [random.Random(seed).randrange(VOCAB) for _ in range(length)]


def test_it_computes_its_definition(tiny: Tiny) -> None:
    path = some_path(50)
    found, expected = path_rows(tiny.opened(), path), tiny.expected(path)
    assert np.abs(expected).max() > 1, "logits that all but vanish would show nothing"
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


def test_a_thousandth_of_the_embedding_would_show(tiny: Tiny) -> None:
    """The bound of the test above is no wide one."""
    path, weights = some_path(50), dict(tiny.weights)
    expected = tiny.expected(path)
    weights["token_embd"] = weights["token_embd"] + np.random.default_rng(0).normal(size=(VOCAB, 96)) * 1e-3
    other = transformer_reference.logits(tiny.sizes, weights, path)
    assert np.abs(other - expected).max() > 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_are_the_same_bits_in_any_batch(tiny: Tiny, threads: int) -> None:
    path, rng = some_path(40, seed=1), random.Random(threads)
    expected = path_rows(tiny.opened(), path)
    for _ in range(20):
        model, done = tiny.opened(threads), 0
        while done < len(path):
            count = rng.randrange(1, len(path) - done + 1)
            batch = [(path[i], i, [3]) for i in range(done, done + count)]
            rows = evaluate(model, batch)
            assert rows is not None and np.array_equal(rows, expected[done : done + count])
            done += count


def test_branches_in_one_batch_are_the_same_bits_as_alone(tiny: Tiny) -> None:
    trunk, ends = some_path(20), [some_path(9, seed) for seed in (1, 2, 3)]
    model = tiny.opened(2)
    path_rows(model, trunk)
    for number in (1, 2):
        model.share(0, number, len(trunk))
    batch = [(end[i], 20 + i, [number]) for i in range(9) for number, end in enumerate(ends)]
    random.Random(0).shuffle(batch)
    batch.sort(key=lambda token: token[1])  # parents first, branches in any order
    rows = evaluate(model, batch)
    assert rows is not None
    for number, end in enumerate(ends):
        alone = path_rows(tiny.opened(), trunk + end)[20:]
        assert np.array_equal(rows[[i for i, (_, _, own) in enumerate(batch) if own == [number]]], alone)


def test_a_token_of_several_sequences_is_one_cell(tiny: Tiny) -> None:
    model = tiny.opened()
    evaluate(model, [(5, 0, [0, 1]), (6, 1, [0, 1]), (7, 2, [0]), (8, 2, [1])])
    assert model.free_cells == CELLS - 4
    model.remove(0, 0)
    assert model.free_cells == CELLS - 3
    rows = evaluate(model, [(9, 3, [1])])
    assert rows is not None and np.array_equal(rows[0], path_rows(tiny.opened(), [5, 6, 8, 9])[-1])


def test_cells_that_were_given_up_are_used_again_and_do_not_show(tiny: Tiny) -> None:
    model, rng = tiny.opened(), random.Random(4)
    for turn in range(12):
        path = some_path(rng.randrange(20, 60), seed=turn)
        assert np.array_equal(path_rows(model, path), path_rows(tiny.opened(), path))
        model.remove(0, rng.randrange(len(path)))
        model.remove(0, 0)
    assert model.free_cells == CELLS


def test_a_saved_sequence_goes_on_as_if_it_had_stayed(tiny: Tiny) -> None:
    model, path = tiny.opened(), some_path(30)
    path_rows(model, path[:-1])
    state = np.empty(model.state_floats(0), np.float32)
    model.save(0, state)
    model.remove(0, 0)
    path_rows(model, some_path(25, seed=9), sequence=2)  # takes the cells
    assert model.restore(1, state)
    rows = evaluate(model, [(path[-1], 29, [1])])
    assert rows is not None and np.array_equal(rows[0], path_rows(tiny.opened(), path)[-1])


def test_a_state_without_room_is_refused(tiny: Tiny) -> None:
    model = tiny.opened()
    path_rows(model, some_path(60))
    state = np.empty(model.state_floats(0), np.float32)
    model.save(0, state)
    assert not model.restore(1, state)
    assert model.free_cells == CELLS - 60


def test_a_flag_ends_it(tiny: Tiny) -> None:
    model = tiny.opened()
    assert evaluate(model, [(1, 0, [0])], np.ones(2, np.uint8)) is None
    model.remove(0, 0)
    assert np.array_equal(path_rows(model, [1, 2]), path_rows(tiny.opened(), [1, 2]))


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ([], "empty or too large"),
        ([(1, 0, [0])] * (BATCH + 1), "empty or too large"),
        ([(VOCAB, 0, [0])], "a token that is none"),
        ([(-1, 0, [0])], "a token that is none"),
        ([(1, 3, [0])], "does not continue"),
        ([(1, 0, [])], "no sequence"),
    ],
)
def test_what_makes_no_sense_is_refused(batch: list[tuple[int, int, list[int]]], sentence: str) -> None:
    model = MODELS["grouped heads"].opened()
    with pytest.raises(ValueError, match=sentence):
        evaluate(model, batch)
    assert model.free_cells == CELLS


def test_more_tokens_than_cells_are_refused() -> None:
    model = MODELS["grouped heads"].opened()
    path_rows(model, some_path(60))
    with pytest.raises(ValueError, match="no free cell"):
        path_rows(model, some_path(60), sequence=1)


def test_names_that_are_unknown_are_refused() -> None:
    model = MODELS["grouped heads"].opened()
    with pytest.raises(ValueError, match="a norm of unknown name"):
        model.set_norm(0, "attn_q", np.ones(96, np.float32))
    with pytest.raises(ValueError, match="a matrix of unknown name"):
        model.set_matrix(0, "attn_norm", np.zeros(34, np.uint8))
