"""Planning which cells of a KV cache to reuse, against a simulated cache."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from engine.backends.sequences import Plan, SequenceTable
from engine.tree import TokenPath, TokenTree, common_prefix_length, tree_of

LEAF = TokenTree((), ())


@dataclass
class Cache:
    """llama.cpp's unified cache: numbered sequences share cells. Refuses what llama.cpp would get wrong."""

    size: int
    sequences: dict[int, TokenPath] = field(default_factory=dict)
    evaluated: list[TokenPath] = field(default_factory=list)
    """Paths of all evaluated positions, in order."""

    def carry_out(self, plan: Plan, most: int | None = None) -> None:
        """The copies and the first `most` tokens of the batch."""
        for copy in plan.copies:
            source = self.sequences.get(copy.source, ())
            assert len(source) >= copy.length, "a copy of cells that are not there"
            assert 0 <= copy.target < self.size
            self.sequences[copy.target] = source[: copy.length]
        for token in plan.batch[:most]:
            assert token.sequences
            paths = {self.sequences.get(number, ()) for number in token.sequences}
            assert len(paths) == 1, "sequences that share a new cell must agree before it"
            (path,) = paths
            assert len(path) == token.position, "positions must be contiguous"
            for number in token.sequences:
                self.sequences[number] = (*path, token.token)
            self.evaluated.append((*path, token.token))

    def agrees_with(self, table: SequenceTable) -> bool:
        residents = table._residents.values()
        return all(self.sequences.get(r.number, ()) == tuple(r.tokens.tolist()) for r in residents)


def paths_of(context: TokenPath, tree: TokenTree) -> list[TokenPath]:
    """The full path of each node."""
    return [
        (*context, *(tree.tokens[node] for node in tree.branch(last))) for last in range(len(tree.tokens))
    ]


def longest_resident(cache: Cache, path: TokenPath) -> int:
    """How many leading tokens of `path` some sequence holds."""
    return max((common_prefix_length([r, path]) for r in cache.sequences.values()), default=0)


def a_question(rng: random.Random) -> tuple[TokenPath, TokenTree, list[bool]]:
    """A context, a tree and wanted flags (every leaf is wanted). Few tokens, so that paths often agree."""
    context = tuple(rng.choices(range(2), k=rng.randrange(1, 7)))
    tree, _ = tree_of([tuple(rng.choices(range(3), k=rng.randrange(1, 4))) for _ in range(rng.randrange(4))])
    flags = [False] * len(context) + [rng.random() < 0.3 for _ in range(len(tree))]
    for leaf in tree.leaves():
        flags[len(context) + leaf] = True
    if not len(tree) or rng.random() < 0.3:
        flags[len(context) - 1] = True
    return context, tree, flags


@pytest.mark.parametrize("size", [8, 400])
@pytest.mark.parametrize("seed", range(20))
def test_random_questions_are_planned_soundly(seed: int, size: int) -> None:
    """Every wanted node is evaluated once, nothing is evaluated twice, and what is resident is reused.

    Of 8 sequences some are given up for others of the same tree, so reuse is complete only of 400.
    """
    print(f"seed {seed}")
    rng = random.Random(seed)
    table, cache = SequenceTable(size), Cache(size)
    for _ in range(60):
        context, tree, flags = a_question(rng)
        paths = [context[: k + 1] for k in range(len(context))] + paths_of(context, tree)
        wanted = [path for path, flag in zip(paths, flags, strict=True) if flag]
        resident = {tuple(path[:k]) for path in paths for k in range(longest_resident(cache, path) + 1)}
        plan = table.plan(context, tree, flags)
        cache.evaluated.clear()
        cancelled_after = rng.randrange(len(plan.batch) + 1) if rng.random() < 0.2 else None
        cache.carry_out(plan, cancelled_after)
        table.commit(plan, len(plan.batch) if cancelled_after is None else cancelled_after)
        assert cache.agrees_with(table)
        assert len(set(cache.evaluated)) == len(cache.evaluated)
        if cancelled_after is None and size == 400:
            first_wanted = min(map(len, wanted))
            for path in cache.evaluated:
                assert path not in resident or len(path) >= first_wanted, "a resident position again"
        if cancelled_after is None:
            assert set(wanted) <= set(cache.evaluated)


def fill(table: SequenceTable, cache: Cache, paths: list[TokenPath]) -> None:
    for path in paths:
        plan = table.plan(path, LEAF, [False] * (len(path) - 1) + [True])
        cache.carry_out(plan)
        table.commit(plan, len(plan.batch))


def test_the_least_recently_used_sequence_goes_first() -> None:
    table, cache = SequenceTable(3), Cache(3)
    fill(table, cache, [(1, 1), (2, 2), (3, 3), (4, 4)])
    assert sorted(cache.sequences.values()) == [(2, 2), (3, 3), (4, 4)]
    table.plan((2, 2, 5), LEAF, [False, False, True])
    assert table.evict_oldest(Plan()) is not None


def test_eviction_spares_what_the_plan_extends() -> None:
    table, cache = SequenceTable(4), Cache(4)
    fill(table, cache, [(1, 1), (2, 2)])
    plan = table.plan((1, 1, 7), LEAF, [False, False, True])
    evicted = table.evict_oldest(plan)
    assert evicted is not None and cache.sequences[evicted] == (2, 2)
    assert table.evict_oldest(plan) is None


def test_a_source_that_was_copied_may_be_evicted() -> None:
    """Two documents share one token: the old one must not be kept for its sake."""
    table, cache = SequenceTable(4), Cache(4)
    fill(table, cache, [(0, 1, 1, 1)])
    plan = table.plan((0, 2, 2), LEAF, [False, False, True])
    assert plan.copies and plan.copies[0].length == 1
    cache.carry_out(plan, 0)
    assert table.evict_oldest(plan) == plan.copies[0].source


def test_a_failed_plan_is_forgotten() -> None:
    table, cache = SequenceTable(4), Cache(4)
    fill(table, cache, [(1, 1)])
    plan = table.plan((1, 1, 7), LEAF, [False, False, True])
    for number in table.forget(plan):
        cache.sequences.pop(number, None)
    assert cache.agrees_with(table) and not table._residents


def test_as_many_leaves_as_half_the_sequences_always_fit() -> None:
    table, cache = SequenceTable(8), Cache(8)
    fill(table, cache, [(n, n) for n in range(8)])
    for round_ in range(4):
        tree, _ = tree_of([(n, round_) for n in range(4)])
        plan = table.plan((round_,), tree, [True] * (1 + len(tree)))
        cache.carry_out(plan)
        table.commit(plan, len(plan.batch))
        assert cache.agrees_with(table)


def test_more_leaves_than_sequences_are_refused() -> None:
    tree, _ = tree_of([(n,) for n in range(5)])
    with pytest.raises(ValueError, match="5 leaves, at most 4"):
        SequenceTable(4).plan((0,), tree, [True] * 6)
