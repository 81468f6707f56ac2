"""Scored rows are kept, and large trees are scored in parts a backend can hold."""

from __future__ import annotations

import numpy as np
import pytest

from engine.backends.base import StopSignal
from engine.backends.fake import FakeBackend, random_table
from engine.backends.sequences import SequenceTable
from engine.cache import LARGEST_TREE, Scorer
from engine.errors import Cancelled
from engine.tree import TokenPath, TokenTree
from engine.vocab import FloatArray


class PlannedBackend(FakeBackend):
    """Plans every tree as llama.cpp's backend does, so that trees too wide for it are noticed."""

    def __init__(self) -> None:
        super().__init__(random_table(40, 3), 40)
        self.table = SequenceTable(32)
        self.most_wanted = 0

    def score(
        self, context: TokenPath, tree: TokenTree, wanted: list[int], stop: StopSignal
    ) -> list[FloatArray]:
        flags = [False] * (len(context) + len(tree))
        for node in wanted:
            flags[len(context) + node] = True
        plan = self.table.plan(context, tree, flags)
        self.table.commit(plan, len(plan.batch))
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
