"""Toy models against exhaustive enumeration (specification, section 8: claims 1 to 6 and 9)."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from engine import segmentations
from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.covers import STOP, CoverSpace
from engine.fim import Budget, Template, build_prompt
from engine.segmentations import all_segmentations
from engine.tokenizers.utf8 import partial_length
from tests.engine.toy_models import ToyModel, enumerate_law, resolved
from tests.engine.toys import TOYS

SEEDS = range(2)
LONGEST = {"late parts": 6, "runs": 7, "gpt-2": 4, "starcoder": 4, "qwen2": 4, "cut characters": 4}
LONGEST |= {"runs of spaces": 7, "added": 6, "literal ▁": 4, "scores against lengths": 6}
ALWAYS_SPANNED = (TOYS["late parts"],)
"""Here every byte begins or goes on in some longer token."""
ONE_COVER = (TOYS["no merges"], TOYS["bytes alone"])
"""Here every text is covered in one way only."""
WIDE = Budget(4096, 4096)


def texts_of(name: str, seed: int, most: int = 60) -> list[bytes]:
    """All strings of the toy's alphabet up to its longest length; a seeded sample where they are many."""
    found = list(TOYS[name].strings(LONGEST.get(name, 5)))
    return found if len(found) <= most else random.Random(seed).sample(found, most)


@pytest.fixture(params=[(name, seed) for name in TOYS for seed in SEEDS], ids=lambda p: f"{p[0]}-{p[1]}")
def case(request: pytest.FixtureRequest) -> tuple[ToyModel, list[bytes]]:
    name, seed = request.param
    print(f"toy {name!r}, seed {seed}")
    return ToyModel.random(TOYS[name], seed), texts_of(name, seed)


def test_canonical_law_equals_enumeration(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    fixed = (model.toy.separator,)
    for text in texts:
        state, truth = model.open(text), enumerate_law(model.toy, model.table, fixed, text, "canonical")
        assert np.abs(truth.shares - state.shares.known).max() < 1e-9, text
        assert state.shares.log_total + model.log_probability(state.fixed) == pytest.approx(truth.log_total)
        assert state.shares.unknown == 0
        found = {(*state.fixed[1:], *cover.tokens): np.exp(cover.logp) for cover in state.covers()}
        assert found.keys() == truth.covers.keys(), text
        ratio = np.exp(model.log_probability(state.fixed))
        assert all(found[path] * ratio == pytest.approx(mass) for path, mass in truth.covers.items())


def test_every_segmentation_equals_enumeration(
    case: tuple[ToyModel, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentations, "BOUND", 0.0)
    model, texts = case
    fixed = (model.toy.separator,)
    for text in texts[:: max(1, len(texts) // 30)]:
        found = all_segmentations(model.space(), fixed, text, most=10_000)
        truth = enumerate_law(model.toy, model.table, fixed, text, "all")
        assert np.abs(truth.shares - [*found.bytes_, found.stop]).max() < 1e-9, text
        assert found.logp_tail == pytest.approx(truth.log_total)
        assert {c.tokens for c in found.covers} == truth.covers.keys()
        assert sum(found.bytes_) + found.stop + found.non_canonical == pytest.approx(1)


def test_a_bounded_visit_is_off_by_at_most_its_bound(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    fixed = (model.toy.separator,)
    for text in texts[:: max(1, len(texts) // 20)]:
        truth = enumerate_law(model.toy, model.table, fixed, text, "all")
        for most in (1, 2, 5):
            found = all_segmentations(model.space(), fixed, text, most)
            off = np.abs(truth.shares - [*found.bytes_, found.stop]).max()
            assert off <= found.dropped_bound + 1e-12, (text, most)


def test_bytes_stop_and_non_canonical_sum_to_one(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    for text in texts:
        state = model.open(text)
        found = state.distribution(0)
        assert sum(found.bytes_) + found.stop + found.non_canonical == pytest.approx(1, abs=1e-12), text
        # The same through the next state: Σ_b P(xb) + P(x, stop) + P(x, non-canonical) = P(x).
        tails = [resolved(state.push(b)).shares.log_total for b in range(256) if found.bytes_[b] > 0]
        mass = np.exp(np.array(tails) - state.shares.log_total).sum()
        assert mass + found.stop + found.non_canonical == pytest.approx(1, abs=1e-9), text


def test_a_stop_token_that_is_text_too_is_counted_once(case: tuple[ToyModel, list[bytes]]) -> None:
    """As text where the tokenizer uses it, else as the end."""
    model, texts = case
    toy, fixed = model.toy, (model.toy.separator,)
    for token in range(len(toy.texts)):
        space = CoverSpace(toy.tokenizer, Scorer(model.backend()), [toy.stop, token, token], StopSignal())
        is_text = toy.is_canonical((token,))
        for text in texts[:: max(1, len(texts) // 4)]:
            state = space.open(fixed, text)
            shares, plain = state.shares, model.open(text).shares
            assert shares.known.sum() + shares.non_canonical == pytest.approx(1), text
            assert np.abs(shares.known[:STOP] - plain.known[:STOP]).max() < 1e-12, text
            assert is_text == (shares.known[STOP] == plain.known[STOP]) or not plain.known[STOP], text
            found = all_segmentations(space, fixed, text, most=8)
            total = sum(found.bytes_) + found.stop + found.non_canonical + found.dropped_bound
            assert total >= 1 - 1e-9 and total - found.dropped_bound <= 1 + 1e-9, text


def test_where_the_prompt_was_cut_does_not_matter(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    tokenizer, separator = model.toy.tokenizer, model.toy.separator
    for text in texts[:: max(1, len(texts) // 25)]:
        text = (text + texts[0] + text)[:9]
        logs = []
        for end in range(len(text) + 1):
            prompt = build_prompt(tokenizer, Template("none"), text[:end], b"", WIDE, separator)
            state = model.space().open(prompt.fixed, prompt.tail)
            logs.append(model.log_probability(state.fixed) + state.shares.log_total)
            whole = model.open(model.toy.text_start + text[:end])
            assert np.abs(whole.shares.known - state.shares.known).max() < 1e-9, text[:end]
            known = state.shares.known
            if end < len(text):
                next_log = float(np.log(known[text[end]]))
        steps = np.diff(logs)
        assert steps[-1] == pytest.approx(next_log)
        assert logs[-1] == pytest.approx(logs[0] + steps.sum())


def test_pushing_equals_rebuilding_and_popping_is_the_identity(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    for text in texts[:: max(1, len(texts) // 30)]:
        states = [resolved(model.open(text[:1]))]
        for byte in text[1:]:
            states.append(resolved(states[-1].push(byte)))
        for end, state in enumerate(states, 1):
            rebuilt = model.open(text[:end])
            assert np.abs(rebuilt.shares.known - state.shares.known).max() < 1e-12, text[:end]
            assert len(rebuilt.covers()) == len(state.covers())
        for shorter, longer in pairwise(states):
            before = shorter.shares.known.copy()
            longer.push(text[0]), resolved(shorter.push(text[-1]))
            again = model.space().open((model.toy.separator,), text[:1])
            assert np.array_equal(before, shorter.shares.known) and again.shares.known.shape == (STOP + 1,)


def test_exactly_one_exact_cover_is_final(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    for text in texts:
        state = model.open(text)
        exact = {(*state.fixed[1:], *c.tokens) for c in state.covers() if not c.overhang}
        final = {path for path in exact if model.toy.is_final(path)}
        assert final == model.toy.encodings(text), text
        assert model.toy.tokenizer.encode(text) in final, text
        whole = not partial_length(text)
        assert len(final) == 1 or not whole, text
        assert exact == final or model.toy.looks_ahead, text


def test_no_token_across_the_cursor_is_plain_token_decoding(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    toy, clean = model.toy, 0
    for text in texts:
        state = model.open(text)
        if len(state.covers()) > 1:
            continue
        clean += 1
        path = (toy.separator, *state.settled, *state.covers()[0].tokens)
        assert path[1:] in toy.encodings(text)
        row, by_byte = np.exp(model.table(path)), np.zeros(STOP + 1)
        for token, piece in enumerate(toy.texts):
            by_byte[piece[0]] += row[token] if toy.is_canonical((*path[1:], token)) else 0.0
        by_byte[STOP] = row[toy.stop]
        assert np.allclose(by_byte, state.shares.known, atol=1e-12), text
    assert clean or toy in ALWAYS_SPANNED


def test_what_is_unknown_bounds_the_error(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    rng, lazily = random.Random(1), 0
    for text in texts:
        truth = model.open(text).shares.known
        state = model.open(text[:1])
        for byte in text[1:]:
            state = state.push(byte)
            if state.pending and rng.random() < 0.3:
                state = state.resolve([rng.choice(state.pending)])
        shares = state.shares
        lazily += shares.unknown > 0
        assert np.abs(shares.known - truth).max() <= shares.unknown + 1e-12, text
        assert shares.known.sum() + shares.unknown + shares.non_canonical == pytest.approx(1)
        certain = shares.certain_best()
        assert certain is None or certain == int(truth.argmax()), text
    assert lazily


def test_pruning_asks_nothing_and_drops_what_holds_nothing(case: tuple[ToyModel, list[bytes]]) -> None:
    model, texts = case
    dropped = 0
    for text in texts:
        state = model.open(text[:1]).read(text[1:])
        scorer = state.space.scorer
        evaluated = scorer.backend.tokens_evaluated
        pruned = state.pruned
        assert scorer.backend.tokens_evaluated == evaluated
        assert pruned.pruned is pruned
        for cover in state.pending:
            none = state.space.begin(state.fixed, state.settled, state.text)
            found = resolved(none.with_pending([(cover.tokens, cover.start, cover.log_weight)]))
            assert bool(found.contexts) == (cover in pruned.pending), (text, cover)
        dropped += len(state.pending) - len(pruned.pending)
        assert np.array_equal(resolved(pruned).shares.known, resolved(state).shares.known), text
    assert dropped or model.toy in ONE_COVER
