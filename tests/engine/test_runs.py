"""Runs: what is read at once is what would be read byte by byte."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from engine.covers import CoverState
from engine.runs import single_step
from tests.engine.toy_models import ToyModel
from tests.engine.toys import TOYS

SEEDS = range(2)
ASKS = 4
SHARPNESS = 6.0


def sharp(name: str, seed: int) -> ToyModel:
    """A toy model that is often sure."""
    model = ToyModel.random(TOYS[name], seed)

    def row(path: tuple[int, ...]) -> np.ndarray:
        logs = SHARPNESS * model.table(path)
        return logs - np.logaddexp.reduce(logs)

    return ToyModel(model.toy, row)


def assert_same(one: CoverState, other: CoverState) -> None:
    assert one.text == other.text
    assert one.log_total == pytest.approx(other.log_total, abs=1e-9)
    assert one.pending_log == pytest.approx(other.pending_log, abs=1e-9)
    assert sorted((p.tokens, p.start) for p in one.pending) == sorted(
        (p.tokens, p.start) for p in other.pending
    )
    assert [(c.tokens, c.low, c.high) for c in one.contexts] == [
        (c.tokens, c.low, c.high) for c in other.contexts
    ]
    np.testing.assert_allclose(one.shares.known, other.shares.known, atol=1e-12)


MERGELESS = ("no merges", "broken characters", "marks broken off", "bytes alone")
"""Toys most of whose tokens are one byte, or none of whose bytes is ASCII: runs are as short."""


@pytest.mark.parametrize("name", TOYS)
def test_a_run_is_a_chain_of_single_steps(name: str) -> None:
    several = 0
    for seed in SEEDS:
        model = sharp(name, seed)
        for text in [*model.toy.strings(2)][::2]:
            state = model.open(text)
            for _ in range(ASKS):
                run, bytewise, logp = state.run(), state, 0.0
                for symbol in run.symbols:
                    step = single_step(bytewise)
                    if not step.symbols:
                        step = single_step(bytewise.pruned)
                    assert tuple(step.symbols) == (symbol,)
                    bytewise, logp = step.state, logp + step.logp
                assert run.logp == pytest.approx(logp, abs=1e-9)
                if run.state.frontier.is_open:
                    bytewise = bytewise.pruned
                    assert run.state.pruned is run.state
                    assert not single_step(bytewise).symbols
                else:
                    assert run.symbols
                assert_same(run.state, bytewise)
                several += len(run.symbols) > 1
                if run.ends:
                    break
                state = run.state.ask()
    assert several or name in MERGELESS


def test_asking_forgets_that_it_was_uncertain_what_comes_next() -> None:
    found = 0
    for name in TOYS:
        model = sharp(name, 0)
        for text in model.toy.strings(1):
            state = model.open(text).run().state
            if state.frontier.is_open:
                found += 1
                assert not state.ask().frontier.is_open and not state.push(text[0]).frontier.is_open
    assert found


def test_states_go_as_soon_as_nobody_needs_them() -> None:
    """They hold rows of the whole vocabulary: a state in a cycle would keep these until a collection."""
    model = sharp("gpt-2", 0)
    gone = 0
    gc.collect()
    gc.disable()
    try:
        for text in model.toy.strings(2):
            state = model.open(text)
            for _ in range(ASKS):
                behind = state.run().state
                pruned = behind.pruned
                state, seen = pruned.ask(), [weakref.ref(behind), weakref.ref(pruned)]
                del behind, pruned
                gone += sum(left() is None for left in seen)
                assert all(left() in (None, state) for left in seen)
    finally:
        gc.enable()
    assert gone > 20
