"""Scored rows are kept, and large trees are scored in parts a backend can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, random_table
from engine.backends.kv_cache import KvCache
from engine.cache import LARGEST_TREE, MOST_LEAVES, Scorer, _Room
from engine.errors import Cancelled
from engine.tree import TokenTree
from engine.vocab import FloatArray
from tests.engine.backends.simulated_cache import SimulatedCache


class PlannedBackend(FakeBackend):
    """Plans every tree as llama.cpp's backend does, so that trees too wide for it are noticed."""

    def __init__(self) -> None:
        super().__init__(random_table(40, 3), 40)
        self.cells = SimulatedCache(256)
        self.kv = KvCache(self.cells, cells=256, sequences=32, parking_bytes=0)
        self.most_wanted = 0

    def score(
        self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int], stop: StopSignal
    ) -> list[FloatArray]:
        plan = self.kv.prepare(context, tree, wanted)
        self.cells.evaluate(plan)
        self.kv.settle(plan, len(plan.batch))
        self.most_wanted = max(self.most_wanted, len(wanted))
        return super().score(context, tree, wanted, stop)


@pytest.mark.parametrize("width", [1, 16, 17, 33, 40])
def test_wide_and_deep_trees_are_scored_in_parts(width: int) -> None:
    backend = PlannedBackend()
    scorer = Scorer(backend)
    paths = [(0, leaf, *range(depth)) for leaf in range(width) for depth in range(1, 4)]
    rows = scorer.rows(paths, StopSignal())
    table = random_table(40, 3)
    assert all(np.array_equal(row, table(path)) for row, path in zip(rows, paths, strict=True))
    assert backend.most_wanted <= LARGEST_TREE


def test_a_path_is_scored_once() -> None:
    backend = FakeBackend(random_table(8, 1), 8)
    scorer = Scorer(backend)
    scorer.rows([(0,), (0, 1), (0,)], StopSignal())
    assert backend.evaluations == 1
    scorer.rows([(0, 1), (0,)], StopSignal())
    assert backend.evaluations == 1


def test_the_least_recently_used_rows_go() -> None:
    backend = FakeBackend(random_table(8, 1), 8)
    scorer = Scorer(backend, budget_bytes=0)
    for token in range(8):
        scorer.rows([(token, other) for other in range(8)], StopSignal())
    before = backend.evaluations
    scorer.rows([(7, 7)], StopSignal())
    assert backend.evaluations == before
    scorer.rows([(0, 0)], StopSignal())
    assert backend.evaluations == before + 1


def test_cancelled_work_keeps_nothing_wrong() -> None:
    scorer = Scorer(FakeBackend(random_table(8, 1), 8))
    stop = StopSignal()
    stop.cancel()
    with pytest.raises(Cancelled):
        scorer.rows([(0, 1)], stop)
    (row,) = scorer.rows([(0, 1)], StopSignal())
    assert np.array_equal(row, random_table(8, 1)((0, 1)))


def test_a_draft_takes_what_one_evaluation_can_hold() -> None:
    """As many nodes, or as many leaves, whichever is less; going on from a leaf makes no new one."""
    chain, bush = _Room([(0,)]), _Room([(0,)])
    assert [chain.take((0,) * (k + 2)) for k in range(60)].count(True) == LARGEST_TREE - 1
    assert [bush.take((0, k)) for k in range(60)].count(True) == MOST_LEAVES
    assert bush.take((0, 3, 1)) and not bush.take((0, 99)) and not bush.take((0, 3, 2))
