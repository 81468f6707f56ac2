"""The table of resident paths: its sorted order against a trie that is built node by node."""

from __future__ import annotations

import copy
import random

import pytest

from engine.backends.sequences import SequenceTable, path_key, shared_tokens
from engine.tree import ROOT, TokenPath, TokenTree, common_prefix_length, tree_of

LEAF = TokenTree((), ())


def hold(table: SequenceTable, path: TokenPath) -> None:
    plan = table.plan(path_key(path), LEAF, (ROOT,))
    table.commit(plan, len(plan.batch))


def beginnings(path: TokenPath) -> set[TokenPath]:
    return {path[: k + 1] for k in range(len(path))}


@pytest.mark.parametrize("seed", range(20))
def test_the_neighbours_in_sorted_order_know_what_a_trie_knows(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    table = SequenceTable(40)
    paths = [tuple(rng.choices(range(3), k=rng.randrange(1, 9))) for _ in range(20)]
    for path in paths:
        table.adopt(path_key(path))
    cells = {beginning for path in paths for beginning in beginnings(path)}
    assert table.cells == len(cells)
    for number, path in enumerate(paths):
        others = {b for other, p in enumerate(paths) if other != number for b in beginnings(p)}
        resident = table._residents[number]
        assert table.own_cells(resident) == len(beginnings(path) - others), path
    for _ in range(100):
        path = tuple(rng.choices(range(4), k=rng.randrange(1, 9)))
        expected = max(common_prefix_length([path, other]) for other in paths)
        length, closest = table.closest(path_key(path))
        assert length == expected
        assert (closest is None) == (expected == 0)
        assert closest is None or shared_tokens(closest.key, path_key(path)) == expected


def test_keys_sort_as_paths_do() -> None:
    paths = [(1, 2), (255, 1), (256, 0), (256,), (70_000, 3), (1,), ()]
    assert sorted(paths) == sorted(paths, key=path_key)


def test_the_least_recently_used_sequence_is_the_oldest() -> None:
    table = SequenceTable(4)
    for path in ((1, 1), (2, 2), (3, 3)):
        hold(table, path)
    hold(table, (1, 1, 5))
    oldest = table.oldest()
    assert oldest is not None and oldest.key == path_key((2, 2))
    second = table.oldest(spared=oldest)
    assert second is not None and second.key == path_key((3, 3))


def test_a_path_that_is_asked_again_takes_no_second_sequence() -> None:
    table = SequenceTable(4)
    for _ in range(3):
        hold(table, (1, 2, 3))
    assert table.free == 3 and table.cells == 3


def test_a_partly_evaluated_plan_leaves_whole_beginnings() -> None:
    table = SequenceTable(4)
    plan = table.plan(path_key((1, 2)), TokenTree((3, 4, 5), (ROOT, 0, 0)), (1, 2))
    assert [token.token for token in plan.batch] == [1, 2, 3, 4, 5]
    table.commit(plan, 4)
    assert sorted(r.key for r in table._residents.values()) == [path_key((1, 2, 3)), path_key((1, 2, 3, 4))]
    assert table.cells == 4


def test_more_leaves_than_free_sequences_are_refused() -> None:
    tree, _ = tree_of([(n,) for n in range(5)])
    with pytest.raises(ValueError, match="5 leaves, 4 free sequences"):
        SequenceTable(4).plan(path_key((0,)), tree, [ROOT])


@pytest.mark.parametrize("seed", range(20))
def test_one_token_more_is_planned_as_any_tree_is(seed: int) -> None:
    """Where the short way gives a plan, it is the general one."""
    rng, short, path = random.Random(seed), 0, (0,)
    table = SequenceTable(60)
    for _ in range(40):
        goes_on = rng.random() < 0.5
        path = (*path, rng.randrange(2)) if goes_on else tuple(rng.choices(range(2), k=rng.randrange(1, 7)))
        other = copy.deepcopy(table)
        plan, general = table.one_more(path_key(path)), other.plan(path_key(path), LEAF, (ROOT,))
        held = {resident.key for resident in other._residents.values()} | {r.key for r in general.residents}
        if plan is None:
            plan = table.plan(path_key(path), LEAF, (ROOT,))
        else:
            short += 1
        assert (plan.copies, plan.batch, plan.residents) == (general.copies, general.batch, general.residents)
        table.commit(plan, len(plan.batch))
        other.commit(general, len(general.batch))
        assert table.cells == other.cells and {r.key for r in table._residents.values()} == held
    assert short > 5
