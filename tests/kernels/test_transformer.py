"""The native forward pass against its definition in float64, and against itself in other batches."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_kernels import numpy_reference as reference
from engine_kernels import transformer_reference
from engine_kernels.transformer_reference import Floats, Sizes, dequantize
from tests.engine.backends.tiny_llama import q8_0

native = pytest.importorskip("engine_kernels._native", reason="no C++ compiler")
if not hasattr(native, "Transformer") or not native.Transformer.instructions():
    pytest.skip("no AVX2", allow_module_level=True)

INSTRUCTIONS: list[str] = native.Transformer.instructions()
VOCAB, CELLS, BATCH = 43, 96, 64
"""A vocabulary that does not fill its last group of rows."""
RUNNING = np.zeros(2, np.uint8)
Raw = dict[str, npt.NDArray[Any]]


class Tiny:
    """Random weights of some sizes, as the model takes them and as its definition does."""

    def __init__(
        self,
        *,
        heads: int,
        kv_heads: int,
        dimension: int,
        hidden: int,
        tied: bool,
        vocab: int = VOCAB,
        is_qwen2: bool = False,
    ) -> None:
        """`is_qwen2`: with biases, and halves of heads rotated; otherwise a Llama."""
        rng, width = np.random.default_rng(heads * dimension), 96
        self.sizes = Sizes(2, heads, kv_heads, epsilon=1e-5, rope_base=1e4, rotates_halves=is_qwen2)
        self.shape = {"width": width, "heads": heads, "kv_heads": kv_heads, "dimension": dimension,
                      "hidden": hidden, "vocab": vocab, "layers": 2, "rotates_halves": is_qwen2}  # fmt: skip
        attended, kept = heads * dimension, kv_heads * dimension
        of_layer = {"attn_q": (attended, width), "attn_k": (kept, width), "attn_v": (kept, width),
                    "attn_output": (width, attended), "ffn_gate": (hidden, width), "ffn_up": (hidden, width),
                    "ffn_down": (width, hidden)}  # fmt: skip
        shapes = {f"blk.{layer}.{name}": size for layer in range(2) for name, size in of_layer.items()}
        shapes |= dict.fromkeys(("token_embd",) if tied else ("token_embd", "output"), (vocab, width))
        norms = ["output_norm", *(f"blk.{i}.{kind}_norm" for i in range(2) for kind in ("attn", "ffn"))]
        self.raw: Raw = {name: (1 + 0.2 * rng.normal(size=width)).astype(np.float32) for name in norms}
        if is_qwen2:
            for name in (name for name in shapes if name.endswith(("attn_q", "attn_k", "attn_v"))):
                self.raw[f"{name}.bias"] = rng.normal(size=shapes[name][0]).astype(np.float32)
        self.weights: dict[str, Floats] = {name: row.astype(float) for name, row in self.raw.items()}
        for name, size in shapes.items():
            self.replace(name, rng.normal(size=size) * 2 / size[1] ** 0.5)

    def replace(self, name: str, matrix: Floats) -> None:
        """By the nearest one of Q8_0."""
        self.raw[name] = np.frombuffer(q8_0(matrix), np.uint8)
        self.weights[name] = dequantize(self.raw[name], matrix.shape[1])

    def opened(
        self, threads: int = 1, kept: int = CELLS, cells: int = CELLS, instructions: str = INSTRUCTIONS[0]
    ) -> Any:
        model = native.Transformer(
            **self.shape, epsilon=1e-5, rope_base=1e4, cells=cells, kept=kept, largest_batch=BATCH,
            threads=threads, instructions=instructions,
        )  # fmt: skip
        for name, numbers in self.raw.items():
            parts = name.split(".", 2)
            layer, short = (int(parts[1]), parts[2]) if len(parts) > 1 else (0, name)
            (model.set_vector if numbers.dtype == np.float32 else model.set_matrix)(layer, short, numbers)
        return model

    def expected(self, path: Sequence[int]) -> Floats:
        """(path, vocab) natural log-probabilities."""
        logits = transformer_reference.logits(self.sizes, self.weights, path)
        logs: Floats = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return logs


SEGMENT, TOGETHER = 128, 16
"""Cells of a path, and tokens, that attention takes together (`cache.h`, `transformer.cpp`)."""
ROUNDING = 1e-3
"""Of the greatest log-probability: what 16-bit inputs, queries, keys and values may make of a row."""
MODELS = {
    "grouped heads": Tiny(heads=6, kv_heads=2, dimension=32, hidden=160, tied=True),
    "heads as usual": Tiny(heads=6, kv_heads=2, dimension=64, hidden=64, tied=True),
    "wide heads": Tiny(heads=2, kv_heads=2, dimension=96, hidden=64, tied=False),
    "Qwen2": Tiny(heads=7, kv_heads=1, dimension=64, hidden=96, tied=True, is_qwen2=True),
}


@pytest.fixture(params=MODELS)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return MODELS[request.param]


ROOT = Path(__file__).parents[2]
STATUS = Path("/proc/self/status")
Found = npt.NDArray[np.float32]
Tree = tuple[Sequence[int], Sequence[int]]
"""Tokens and parents."""


def chain(path: Sequence[int]) -> Tree:
    return path, range(-1, len(path) - 1)


def ask(
    model: Any, context: Sequence[int], tree: Tree, wanted: Sequence[int], most: int = BATCH
) -> tuple[Found, int]:
    """Rows of the wanted nodes in their order, and how many tokens were evaluated for them."""
    left = evaluated = model.begin(context, *tree, wanted)
    rows = list[Found]()
    while left > 0:
        rows += model.evaluate(min(most, left), RUNNING)
        left -= most
    return np.array(rows), evaluated


def path_rows(model: Any, path: Sequence[int], most: int = BATCH) -> Found:
    """The row after each token of a path."""
    return ask(model, (), chain(path), range(len(path)), most)[0]


def last_row(model: Any, path: Sequence[int]) -> tuple[Found, int]:
    """The row after a path, and how many tokens were evaluated for it."""
    rows, evaluated = ask(model, path, ((), ()), [-1])
    return rows[0], evaluated


def anonymous_bytes() -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def some_path(length: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(VOCAB) for _ in range(length)]


def test_what_rows_tell_at_a_glance_is_what_they_hold() -> None:
    """Also where a row that is gone left its memory to another one."""
    tiny, peak = Tiny(heads=2, kv_heads=2, dimension=32, hidden=64, tied=True, vocab=5000), 30.0
    tiny.raw["output_norm"] = tiny.raw["output_norm"] * 4  # so that some tokens are much likelier than others
    model, random_logits = tiny.opened(threads=2), np.random.default_rng(0).normal(0, 5, (1, 5000))
    counts = set()
    for token in range(20):
        left = model.begin([token], (), (), [-1])
        (row,) = model.evaluate(left, RUNNING)
        assert not row.flags.writeable
        for found, expected in zip(native.likeliest(row), reference.likeliest(row), strict=True):
            np.testing.assert_array_equal(found, expected)
        counts.add(len(native.likeliest(row)[0]))
        del row
        random_logits[0, token] = peak
        (row,) = native.log_softmax(random_logits.astype(np.float32))
        np.testing.assert_array_equal(native.likeliest(row)[0], reference.likeliest(row)[0])
    assert len(counts) > 5 and 1 < max(counts) < reference.TOO_MANY


def test_it_computes_its_definition(tiny: Tiny) -> None:
    path = some_path(50)
    found, expected = path_rows(tiny.opened(), path), tiny.expected(path)
    assert np.abs(expected).max() > 1, "logits that all but vanish would show nothing"
    assert np.abs(found - expected).max() < ROUNDING * np.abs(expected).max()


@pytest.mark.skipif(len(INSTRUCTIONS) == 1, reason="this processor has no AVX-512 with VNNI")
@pytest.mark.parametrize("threads", [1, 2])
def test_all_instructions_say_the_same_to_the_bit(tiny: Tiny, threads: int) -> None:
    """Paths of all lengths in batches of all sizes, of several segments, and through cells here and there."""
    cells, rng = 3 * SEGMENT, random.Random(threads)
    path, done = some_path(2 * SEGMENT + 9), 0
    best, other = (tiny.opened(threads, cells, cells, name) for name in INSTRUCTIONS)
    assert np.array_equal(path_rows(best, path), path_rows(other, path))
    for most in (*range(1, 26), BATCH):
        path = [*path[: rng.randrange(len(path))], *some_path(rng.randrange(1, 60), seed=rng.random())]
        path = path[: cells - BATCH]
        tokens, parents = list[int](), list[int]()
        for length in (3, 1, 9):
            parents += [-1, *range(len(tokens), len(tokens) + length - 1)]
            tokens += some_path(length, seed=rng.random())
        (rows, evaluated), (others, _) = (
            ask(model, path, (tokens, parents), range(len(tokens)), most) for model in (best, other)
        )
        assert np.array_equal(rows, others)
        done += evaluated
    assert done > 500


def test_instructions_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="does not have"):
        MODELS["grouped heads"].opened(instructions="sve")


def test_rows_of_a_vocabulary_of_several_pieces_are_distributions_and_the_same_bits_by_any_team() -> None:
    many = Tiny(heads=2, kv_heads=2, dimension=32, hidden=32, tied=True, vocab=9001)
    path = some_path(7)
    rows = path_rows(many.opened(), path)
    expected = many.expected(path)
    assert np.abs(rows - expected).max() < ROUNDING * np.abs(expected).max()
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, rtol=1e-12)
    for threads in (2, 5):
        assert np.array_equal(path_rows(many.opened(threads), path), rows)


def test_weights_without_a_distribution_are_refused_and_the_cache_is_as_it_was(tiny: Tiny) -> None:
    model, path = tiny.opened(), some_path(9)
    expected = last_row(model, path)[0]
    model.set_vector(0, "output_norm", np.full(96, np.nan, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        last_row(model, path)
    model.set_vector(0, "output_norm", tiny.raw["output_norm"])
    row, evaluated = last_row(model, path)
    assert evaluated == 1 and np.array_equal(row, expected)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 6, 7])
def test_any_number_of_heads_may_share_keys_and_values_on_a_path_of_several_segments(heads: int) -> None:
    tiny = Tiny(heads=2 * heads, kv_heads=2, dimension=32, hidden=32, tied=True)
    path = some_path(2 * SEGMENT + 9, heads)
    rows, expected = path_rows(tiny.opened(2, cells=len(path)), path), tiny.expected(path)
    assert np.abs(rows - expected).max() < ROUNDING * np.abs(expected).max()


def test_the_longest_sums_of_integers_fit() -> None:
    """A query along its key, which alone is seen; and values without a sign that all weigh the same."""
    along, same = (Tiny(heads=2, kv_heads=2, dimension=32, hidden=32, tied=True) for _ in "12")
    for name in (f"blk.{layer}.attn" for layer in range(2)):
        along.replace(f"{name}_k", along.weights[f"{name}_q"] * 8)
        same.replace(f"{name}_q", np.zeros((64, 96)))
        same.replace(f"{name}_v", np.tile(same.weights[f"{name}_v"][:1], (64, 1)))
    for tiny, path in ((along, some_path(40)), (same, [1] * (SEGMENT + 3))):
        rows, expected = path_rows(tiny.opened(cells=len(path)), path), tiny.expected(path)
        assert np.abs(rows - expected).max() < ROUNDING * np.abs(expected).max()


def test_paths_that_part_and_end_in_different_segments_are_the_same_bits_as_alone(tiny: Tiny) -> None:
    """More tokens than attention takes together, some in the first segment, some in the second or third."""
    trunk, cells = some_path(SEGMENT - 7), 4 * SEGMENT
    ends = [some_path(length, seed) for seed, length in enumerate((3, 7, 8, SEGMENT + 9))]
    tokens, parents = list[int](), list[int]()
    for end in ends:
        parents += [-1, *range(len(tokens), len(tokens) + len(end) - 1)]
        tokens += end
    assert len(tokens) > 2 * TOGETHER
    for threads, most in ((1, BATCH), (2, 23), (5, TOGETHER + 1)):
        model = tiny.opened(threads, kept=cells, cells=cells)
        rows, _ = ask(model, trunk, (tokens, parents), range(len(tokens)), most)
        for end in ends:
            alone = path_rows(tiny.opened(cells=cells), trunk + end, 1)[len(trunk) :]
            assert np.array_equal(rows[: len(end)], alone)
            rows = rows[len(end) :]


def test_what_is_wrong_would_show(tiny: Tiny) -> None:
    """ROUNDING is no wide bound: a thousandth of the embedding, and the first token of all, are beyond it."""
    path, weights = some_path(50), dict(tiny.weights)
    expected = tiny.expected(path)
    weights["token_embd"] = weights["token_embd"] + np.random.default_rng(0).normal(size=(VOCAB, 96)) * 1e-3
    noisy = transformer_reference.logits(tiny.sizes, weights, path)
    later = tiny.expected([path[0] + 1, *path[1:]])
    for other in (noisy - np.logaddexp.reduce(noisy, axis=1, keepdims=True), later):
        assert np.abs(other - expected)[-1].max() > ROUNDING * np.abs(expected).max()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_are_the_same_bits_in_any_batch(tiny: Tiny, threads: int) -> None:
    path, rng = some_path(40, seed=1), random.Random(threads)
    expected = path_rows(tiny.opened(), path)
    for _ in range(10):
        assert np.array_equal(path_rows(tiny.opened(threads), path, rng.randrange(1, 12)), expected)
        model, done = tiny.opened(threads), 0
        while done < len(path):
            count = rng.randrange(1, len(path) - done + 1)
            rows, _ = ask(model, path[:done], chain(path[done : done + count]), range(count))
            assert np.array_equal(rows, expected[done : done + count])
            done += count


def test_branches_in_one_batch_are_the_same_bits_as_alone(tiny: Tiny) -> None:
    trunk, ends = some_path(20), [some_path(9, seed) for seed in (1, 2, 3)]
    tokens = [end[depth] for depth in range(9) for end in ends]
    parents = [node - 3 if node >= 3 else -1 for node in range(len(tokens))]
    rows, evaluated = ask(tiny.opened(2), trunk, (tokens, parents), range(len(tokens)))
    assert evaluated == 20 + 27
    for number, end in enumerate(ends):
        assert np.array_equal(rows[number::3], path_rows(tiny.opened(), trunk + end)[20:])


def random_question(rng: random.Random, alphabet: int) -> tuple[list[int], Tree, list[int]]:
    """A context, a tree of other children everywhere, and wanted nodes."""
    context = [rng.randrange(alphabet) for _ in range(rng.randrange(12))]
    tokens, parents = list[int](), list[int]()
    for node in range(rng.randrange(8)):
        parent = rng.randrange(-1, node)
        token = rng.randrange(alphabet)
        if (token, parent) not in zip(tokens, parents, strict=True):
            tokens.append(token)
            parents.append(min(parent, len(tokens) - 2))
    nodes = range(-1 if context else 0, len(tokens))
    return context, (tokens, parents), sorted(rng.sample(nodes, rng.randrange(len(nodes) + 1)))


def paths_of(context: Sequence[int], tree: Tree) -> list[tuple[int, ...]]:
    """The path of each node, the context's own at last (index -1)."""
    paths = list[tuple[int, ...]]()
    for token, parent in zip(*tree, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else context), token))
    return [*paths, tuple(context)]


def test_what_is_resident_is_not_evaluated_and_what_is_wanted_is() -> None:
    """Against the set of all paths that were evaluated before, in a cache that never fills."""
    tiny, rng = MODELS["grouped heads"], random.Random(0)
    for _ in range(30):
        model, resident = tiny.opened(), set[tuple[int, ...]]()
        while model.used_cells < CELLS - 24:
            context, tree, wanted = random_question(rng, alphabet=2)
            paths = paths_of(context, tree)
            touched = {path[: k + 1] for path in paths for k in range(len(path))}
            asked = {paths[node] for node in wanted}
            rows, evaluated = ask(model, context, tree, wanted, rng.choice((1, 3, BATCH)))
            assert evaluated == len(touched - resident | asked), (context, tree, wanted)
            resident |= touched
            assert model.used_cells == len(resident)
            for node, row in zip(wanted, rows, strict=True):
                assert np.array_equal(row, path_rows(tiny.opened(), paths[node])[-1])


@pytest.mark.parametrize("kept", [0, 30, 70, CELLS])
def test_cells_that_were_given_up_are_used_again_and_do_not_show(tiny: Tiny, kept: int) -> None:
    model, rng, path = tiny.opened(kept=kept), random.Random(4), list[int]()
    for _ in range(80):
        path = path[: rng.randrange(len(path) + 1)] if path else path
        path = [*path[:50], *some_path(rng.randrange(1, 40), seed=rng.random())]
        assert np.array_equal(last_row(model, path)[0], last_row(tiny.opened(), path)[0])
        assert model.used_cells <= max(kept, len(path)), "what stays is bounded"


@pytest.mark.parametrize("kept", [8, 30, CELLS])
def test_questions_about_the_same_text_are_answered_as_by_a_new_model(kept: int) -> None:
    """Trees behind contexts that share most with the one before, of which some are cancelled or given up."""
    tiny, rng, context = MODELS["grouped heads"], random.Random(kept), list[int]()
    model = tiny.opened(kept=kept)
    for _ in range(150):
        context = [*context[: rng.randrange(max(0, len(context) - 4), len(context) + 1)], rng.randrange(3)]
        context = context[:40] if rng.random() < 0.9 else []
        _, tree, _ = random_question(rng, alphabet=3)
        nodes = range(-1 if context else 0, len(tree[0]))
        wanted = sorted(rng.sample(nodes, rng.randrange(len(nodes) + 1)))
        if rng.random() < 0.3 and (left := model.begin(context, *tree, wanted)) > 1:
            model.evaluate(rng.randrange(1, left), RUNNING)
            assert rng.random() < 0.5 or model.evaluate(1, np.ones(2, np.uint8)) is None
            continue
        rows, _ = ask(model, context, tree, wanted, rng.choice((1, 3, BATCH)))
        paths = paths_of(context, tree)
        for node, row in zip(wanted, rows, strict=True):
            assert np.array_equal(row, path_rows(tiny.opened(), paths[node])[-1])


def test_the_end_of_the_text_that_was_used_least_recently_makes_room() -> None:
    model = MODELS["grouped heads"].opened(kept=60)
    old, newer, newest = (some_path(20, seed) for seed in range(3))
    for path in (newer, old, newest, newer, newest):
        last_row(model, path)
    last_row(model, [VOCAB - 1] * 5)
    assert model.used_cells == 60
    assert [model.begin(path, (), (), ()) for path in (newest, newer)] == [0, 0]
    assert model.begin(old, (), (), ()) == 5, "its beginning is still there"


@pytest.mark.parametrize("kept", [8, CELLS])
def test_alike_places_are_those_of_the_definition(tiny: Tiny, kept: int) -> None:
    """On paths of three tokens, so that each stands in many places; asking leaves the cache as it is."""
    model, rng, found = tiny.opened(2, kept=kept), random.Random(2), 0
    for length in range(1, 60):
        path = [rng.randrange(3) for _ in range(length)]
        last_row(model, path[:-1] or path)
        used, expected = model.used_cells, transformer_reference.alike(tiny.sizes, tiny.weights, path)
        alike = model.alike(path)
        assert [at for at, _ in alike] == [at for at, _ in expected]
        assert [cosine for _, cosine in alike] == pytest.approx([c for _, c in expected], abs=3e-4)
        assert model.used_cells == used and last_row(model, path)[1] <= 1 + (length == 1)
        found += len(alike)
    assert found > 400


def test_alike_places_are_known_only_where_all_but_the_last_token_is_resident(tiny: Tiny) -> None:
    model, path = tiny.opened(), [1, 2, 1, 2, 1, 2, 1, 2]
    assert model.alike(path) == model.alike([]) == model.alike([3]) == []
    last_row(model, path[:6])
    assert model.alike(path) == [] and [at for at, _ in model.alike(path[:7])] == [2, 4]
    assert model.alike([2, *path[:6]]) == []
    model.begin(path, (), (), [-1])
    assert model.alike(path[:7]) == [], "some of the cells are not computed yet"
    with pytest.raises(ValueError, match="token"):
        model.alike([VOCAB])


def test_a_flag_ends_it_and_nothing_of_the_batch_stays(tiny: Tiny) -> None:
    model, path = tiny.opened(), some_path(30)
    last_row(model, path[:10])
    assert model.begin(path, (), (), [-1]) == 20
    model.evaluate(5, RUNNING)
    assert model.evaluate(BATCH, np.ones(2, np.uint8)) is None
    assert model.used_cells == 15
    row, evaluated = last_row(model, path)
    assert evaluated == 15 and np.array_equal(row, path_rows(tiny.opened(), path)[-1])


def test_a_row_that_is_asked_again_survives_a_flag(tiny: Tiny) -> None:
    model, path = tiny.opened(), some_path(30)
    path_rows(model, path)
    assert model.begin(path[:10], (), (), [-1]) == 1
    assert model.evaluate(1, np.ones(2, np.uint8)) is None
    row, evaluated = last_row(model, path)
    assert evaluated == 1 and np.array_equal(row, path_rows(tiny.opened(), path)[-1])


def test_a_plan_that_is_not_carried_out_leaves_nothing() -> None:
    model = MODELS["grouped heads"].opened()
    for seed in range(8):
        assert model.begin(some_path(60, seed), *chain(some_path(30, seed)), range(30)) == 90
    assert model.begin((), (), (), ()) == 0
    assert model.used_cells == 0


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from Linux' /proc")
def test_what_a_long_text_took_is_given_back_when_others_have_made_it_go() -> None:
    """In a process of its own: in others, what the allocator does with older memory is counted, too."""
    call = "from tests.kernels.test_transformer import take_and_give_back as run; run()"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def take_and_give_back() -> None:
    cells, kept, a_cell = 12_000, 400, native.Transformer.cell_bytes(layers=2, kv_heads=4, dimension=96)
    model = Tiny(heads=4, kv_heads=4, dimension=96, hidden=32, tied=True).opened(kept=kept, cells=cells)
    last_row(model, [1] * 10)
    before = anonymous_bytes()
    last_row(model, [1] * 1500)
    assert anonymous_bytes() - before > 1400 * a_cell
    last_row(model, [2] * 100)
    assert model.used_cells == kept
    assert anonymous_bytes() - before < (kept + 200) * a_cell


@pytest.mark.parametrize(
    ("context", "tree", "wanted", "error", "sentence"),
    [
        ([VOCAB], ((), ()), (), ValueError, "a token that is none"),
        ([], ((-1,), (-1,)), (), ValueError, "a token that is none"),
        ([1], ((1,), (0,)), (), ValueError, "a parent behind its child"),
        ([1], ((1,), (-2,)), (), ValueError, "a parent that is none"),
        ([1], ((1,), ()), (), ValueError, "of different number"),
        ([1], ((1,), (-1,)), [1], ValueError, "a wanted node that is none"),
        ([], ((), ()), [-1], ValueError, "no token at all"),
        ([1.5], ((), ()), (), TypeError, "integer"),
        (7, ((), ()), (), TypeError, "sequence of integers"),
        ([1] * 90, chain([1] * 7), (), ValueError, "no free cell"),
    ],
)
def test_what_makes_no_sense_is_refused(
    context: Any, tree: Tree, wanted: Sequence[int], error: type[Exception], sentence: str
) -> None:
    model = MODELS["grouped heads"].opened()
    with pytest.raises(error, match=sentence):
        model.begin(context, *tree, wanted)
    assert model.used_cells == 0
    with pytest.raises(ValueError, match="nothing to evaluate"):
        model.evaluate(1, RUNNING)
    assert np.array_equal(path_rows(model, [1, 2]), path_rows(MODELS["grouped heads"].opened(), [1, 2]))


def test_a_batch_beyond_the_largest_is_refused() -> None:
    model = MODELS["grouped heads"].opened()
    assert model.begin([1] * (BATCH + 1), (), (), [-1]) == BATCH + 1
    with pytest.raises(ValueError, match="too much at once"):
        model.evaluate(BATCH + 1, RUNNING)


def test_names_that_are_unknown_are_refused() -> None:
    model = MODELS["grouped heads"].opened()
    with pytest.raises(ValueError, match="a vector of unknown name"):
        model.set_vector(0, "attn_q", np.ones(96, np.float32))
    with pytest.raises(ValueError, match="a vector of another size"):
        model.set_vector(0, "attn_k.bias", np.ones(96, np.float32))
    with pytest.raises(ValueError, match="a matrix of unknown name"):
        model.set_matrix(0, "attn_norm", np.zeros(34, np.uint8))
