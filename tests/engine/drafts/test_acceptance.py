"""Counts of right guesses, and the line of batch costs."""

from __future__ import annotations

import pytest

from engine.drafts.acceptance import LARGEST_BATCH, MEMORY, Acceptance, BatchCosts


def test_the_prior_holds_until_there_are_counts_and_old_counts_fade() -> None:
    acceptance = Acceptance()
    assert acceptance.share("a", 0.4) == pytest.approx(0.4)
    for _ in range(MEMORY):
        acceptance.note("a", True)
    assert acceptance.share("a", 0.4) > 0.9 and acceptance.share("b", 0.4) == pytest.approx(0.4)
    for _ in range(2 * MEMORY):
        acceptance.note("a", False)
    assert acceptance.share("a", 0.4) < 0.25


def test_costs_follow_the_machine() -> None:
    costs = BatchCosts()
    for round_ in range(1500):
        tokens = 1 + round_ % 12
        costs.note(tokens, 20 + 2 * tokens)
    assert costs.slope == pytest.approx(2, rel=0.1) and costs.of(1) == pytest.approx(22, rel=0.1)


def test_prompts_and_disturbances_do_not_count() -> None:
    costs = BatchCosts()
    before = costs.of(1)
    costs.note(LARGEST_BATCH + 1, 5000.0)
    assert costs.of(1) == before
    costs.note(1, 5000.0)
    assert costs.of(1) < 3 * before
