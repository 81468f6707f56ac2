"""What stays in the cache, what is parked, what goes: against a simulated cache of cells."""

from __future__ import annotations

import random

import pytest

from engine.backends import kv_cache
from engine.backends.kv_cache import KvCache
from engine.backends.sequences import path_key
from engine.tree import ROOT, TokenPath, TokenTree, common_prefix_length, tree_of
from tests.engine.backends.simulated_cache import CELL_BYTES, SimulatedCache

LEAF = TokenTree((), ())


class Cached:
    """A `KvCache` over a simulated one; asks and checks."""

    def __init__(self, cells: int = 4096, sequences: int = 32, parked_cells: int = 4096) -> None:
        self.cells = SimulatedCache(cells)
        self.kv = KvCache(
            self.cells, cells=cells, sequences=sequences, parking_bytes=CELL_BYTES * parked_cells
        )

    def ask(
        self,
        context: TokenPath,
        tree: TokenTree = LEAF,
        wanted: tuple[int, ...] = (ROOT,),
        most: int = 1 << 30,
    ) -> list[TokenPath]:
        """The paths that were evaluated, of at most `most` allowed."""
        plan = self.kv.prepare(context, tree, wanted)
        self.cells.evaluated.clear()
        self.cells.evaluate(plan, most)
        self.kv.settle(plan, min(most, len(plan.batch)))
        self.check()
        return list(self.cells.evaluated)

    def check(self) -> None:
        """The table knows exactly what the cache holds."""
        residents = self.kv.table._residents
        assert all(path_key(self.cells.path(number)) == r.key for number, r in residents.items())
        others = {number for number, places in self.cells.sequences.items() if places} - residents.keys()
        assert not others, "cells of sequences that the table does not know"
        assert self.kv.parking.used_bytes <= self.kv.parking._budget_bytes


def document(seed: int, tokens: int, start: TokenPath = ()) -> TokenPath:
    rng = random.Random(seed)
    return start + tuple(rng.randrange(1000) for _ in range(tokens - len(start)))


def paths_of(context: TokenPath, tree: TokenTree) -> list[TokenPath]:
    """The full path of each node."""
    return [(*context, *(tree.tokens[node] for node in tree.branch(last))) for last in range(len(tree))]


def a_question(rng: random.Random) -> tuple[TokenPath, TokenTree, tuple[int, ...]]:
    """A context, a tree and wanted nodes (every leaf is wanted). Few tokens, so that paths often agree."""
    context = tuple(rng.choices(range(2), k=rng.randrange(1, 7)))
    tree, _ = tree_of([tuple(rng.choices(range(3), k=rng.randrange(1, 4))) for _ in range(rng.randrange(4))])
    wanted = {node for node in range(len(tree)) if rng.random() < 0.3} | set(tree.leaves)
    if not len(tree) or rng.random() < 0.3:
        wanted.add(ROOT)
    return context, tree, tuple(wanted)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_random_questions_are_answered_soundly(
    seed: int, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wanted node is evaluated, nothing twice, and what is resident is reused.

    The small cache gives up sequences, parks and fetches all the time, so reuse is complete in the large.
    """
    print(f"seed {seed}")
    rng = random.Random(seed)
    if small:
        monkeypatch.setattr(kv_cache, "PAGE_CELLS", 4)
        monkeypatch.setattr(kv_cache, "LEEWAY_CELLS", 8)
        monkeypatch.setattr(kv_cache, "WORTH_PARKING", 2)
        monkeypatch.setattr("engine.backends.parking.WORTH_PARKING", 2)
    cached = Cached(24, 8, 12) if small else Cached(4096, 400)
    for _ in range(60):
        context, tree, wanted = a_question(rng)
        held = {cached.cells.path(number) for number in cached.kv.table._residents}
        most = rng.randrange(8) if rng.random() < 0.2 else 1 << 30
        evaluated = cached.ask(context, tree, wanted, most)
        nodes = dict(zip([*range(len(tree)), ROOT], [*paths_of(context, tree), context], strict=True))
        asked = [nodes[node] for node in wanted]
        assert len(set(evaluated)) == len(evaluated)
        if most > 8:
            assert set(asked) <= set(evaluated)
        if not small:
            for path in evaluated:
                resident = any(common_prefix_length([other, path]) == len(path) for other in held)
                assert not resident or len(path) >= min(map(len, asked)), "a resident position again"


def test_typing_evaluates_one_token_and_backspace_one() -> None:
    cached = Cached()
    path = document(1, 300)
    assert len(cached.ask(path)) == 300
    assert len(cached.ask((*path, 5))) == 1
    assert len(cached.ask((*path, 5, 6))) == 1
    assert len(cached.ask((*path, 5))) == 1  # its row is asked for again
    tree, _ = tree_of([(7, 8), (7, 9), (4,)])
    assert len(cached.ask(path, tree, (0, 1, 2, 3))) == 4


def test_another_document_is_parked_and_comes_back_whole() -> None:
    cached = Cached()
    documents = [document(seed, 700) for seed in range(4)]
    for path in documents:
        assert len(cached.ask(path)) == 700
        assert cached.cells.last_used <= 768, "attention reads one document"
    for path in documents:
        assert len(cached.ask((*path, 5))) == 1
        assert cached.cells.last_used <= 1024


def test_a_common_beginning_is_shared_with_a_parked_document() -> None:
    cached = Cached()
    shared = document(0, 300)
    first, second, third = (document(seed, 700, shared) for seed in (1, 2, 3))
    assert len(cached.ask(first)) == 700
    cached.ask(document(9, 700))
    assert len(cached.ask(second)) == 400
    assert len(cached.ask(third)) == 400
    assert len(cached.ask((*first, 5))) == 1, "fetching its beginning has not cost the document"


def test_the_least_recently_used_document_leaves_the_parking() -> None:
    cached = Cached(parked_cells=1500)
    documents = [document(seed, 700) for seed in range(4)]
    for path in documents:
        cached.ask(path)
    assert len(cached.ask((*documents[1], 5))) == 1
    assert len(cached.ask((*documents[0], 5))) == 701


def test_nothing_is_parked_without_a_budget() -> None:
    cached = Cached(parked_cells=0)
    first, second = document(1, 700), document(2, 700)
    cached.ask(first)
    cached.ask(second)
    assert cached.kv.parking.used_bytes == 0
    assert len(cached.ask((*first, 5))) == 701


def test_an_edit_far_above_and_its_undo_cost_one_evaluation_of_the_rest() -> None:
    cached = Cached()
    path = document(1, 700)
    edited = (*path[:300], 5, *path[300:])
    cached.ask(path)
    assert len(cached.ask(edited)) == 401
    assert len(cached.ask((*path, 6))) == 1
    assert len(cached.ask((*edited, 6))) == 1


def test_many_short_branches_are_dropped_not_parked() -> None:
    cached = Cached()
    path = document(1, 700)
    cached.ask(path)
    for token in range(150):
        tree, _ = tree_of([(token, k, k) for k in range(8)])
        cached.ask(path, tree, tuple(range(len(tree))))
        assert cached.cells.last_used <= 768 + 17
    assert cached.kv.parking.used_bytes == 0
    assert len(cached.ask((*path, 5))) == 1


def test_a_failed_plan_is_forgotten() -> None:
    cached = Cached()
    path = document(1, 50)
    cached.ask(path)
    cached.kv.forget(cached.kv.prepare((*path, 7), LEAF, (ROOT,)))
    cached.check()
    assert not cached.cells.cells


def test_a_document_that_fills_the_cache_lets_all_others_go() -> None:
    cached = Cached(cells=800, parked_cells=0)
    cached.ask(document(1, 700))
    tree, _ = tree_of([(token,) for token in range(16)])
    assert len(cached.ask(document(2, 784), tree, tuple(range(16)))) == 800
