"""Typing and deleting: what was scored is kept, and nothing depends on the way to a text (claim 4)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import covers
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.covers import CoverSpace, CoverState
from tests.engine.toy_models import ToyModel, resolved
from tests.engine.toys import TOYS

POP = -1
Edits = list[int]
"""Symbol numbers to type, POP to delete the last byte."""


def edits(symbols: int, most: int) -> st.SearchStrategy[Edits]:
    return st.lists(st.integers(POP, symbols - 1), min_size=1, max_size=most)


def same(model: ToyModel, state: CoverState, fresh: CoverState, bound: float) -> None:
    """Both have read the same bytes: same covers, same shares up to `bound`."""
    assert np.abs(state.shares.known - fresh.shares.known).max() <= bound + 1e-11
    assert model.log_total(state) == pytest.approx(model.log_total(fresh), abs=bound + 1e-9)
    if not state.pending:
        before, after = len(state.fixed), len(fresh.fixed)
        ours = {(*state.fixed[1:before], *cover.tokens) for cover in state.covers()}
        assert ours == {(*fresh.fixed[1:after], *cover.tokens) for cover in fresh.covers()}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", TOYS)
def test_pushes_and_pops_in_any_order_equal_a_rebuild(name: str, data: st.DataObject) -> None:
    model = ToyModel.random(TOYS[name], seed=data.draw(st.integers(0, 9)))
    alphabet = model.toy.alphabet
    text = alphabet[0]
    states = [model.open(text)]
    for edit in data.draw(edits(len(alphabet), 14)):
        if edit == POP:
            if len(states) == 1:
                continue
            states.pop()
            text = text[:-1]
        else:
            states.append(resolved(states[-1].push(alphabet[edit][0])))
            text += alphabet[edit]
        same(model, states[-1], model.open(text), bound=0)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("bound", [0.0, covers.DROPPED_BOUND, 0.1])
@pytest.mark.parametrize("name", TOYS)
def test_opening_after_any_edits_equals_opening_afresh(name: str, bound: float, data: st.DataObject) -> None:
    """With one row cache for all, which holds few rows, and up to what `open` says it has dropped."""
    model = ToyModel.random(TOYS[name], seed=data.draw(st.integers(0, 9)))
    toy, text = model.toy, model.toy.alphabet[0]
    scorer = Scorer(model.backend(), budget_bytes=0)
    for edit in data.draw(edits(len(toy.alphabet), 14)):
        text = text[:-1] if edit == POP else text + toy.alphabet[edit]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(covers, "DROPPED_BOUND", bound)
            state = CoverSpace(toy.tokenizer, scorer, [toy.stop], StopSignal()).open((toy.separator,), text)
        assert state.shares.unknown <= bound
        same(model, state, model.open(text), state.shares.unknown)
        same(model, resolved(state), model.open(text), bound=0)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("bound", [0.0, 0.05])
@pytest.mark.parametrize("name", TOYS)
def test_a_typed_byte_scores_its_exact_covers_and_a_deleted_one_nothing(
    name: str, bound: float, data: st.DataObject
) -> None:
    """One for each text, but where several canonical sequences spell it; later than typed, or never, if
    negligible."""
    model = ToyModel.random(TOYS[name], seed=data.draw(st.integers(0, 9)))
    toy, text, typed = model.toy, b"", {b""}
    backend = model.backend()
    space = CoverSpace(toy.tokenizer, Scorer(backend), [toy.stop], StopSignal())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covers, "DROPPED_BOUND", bound)
        space.open((toy.separator,), text)
        for edit in data.draw(edits(len(toy.alphabet), 20)):
            text = text[:-1] if edit == POP else text + toy.alphabet[edit]
            before = backend.contexts, backend.evaluations
            space.open((toy.separator,), text)
            exact = 0 if text in typed else len(toy.tokenizer.encodings(text))
            assert exact <= 1 or toy.looks_ahead
            typed.add(text)
            assert backend.evaluations - before[1] <= (exact > 0 if bound == 0 else 1)
            assert bound > 0 or backend.contexts - before[0] <= exact, text
    assert backend.contexts <= sum(len(toy.tokenizer.encodings(text)) for text in typed)
