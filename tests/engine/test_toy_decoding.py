"""Decoding on toy models: greedy by exact marginals, cursor invariance, sampling (claims 8 and 12)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from engine.covers import STOP, CoverState
from engine.decode import Decoder
from engine.stop import Limits, may_become_text, whole_length
from engine.tokenizers.utf8 import partial_length
from tests.engine.toy_families import SentencePieceToy
from tests.engine.toy_models import ToyModel, enumerate_law, resolved
from tests.engine.toys import TOYS

SEEDS = range(2)
BYTES = 6
ENUMERATED = 3
"""Bytes of each completion that are compared with enumeration, which is exponential in them."""


def limits(text: bytes, max_tokens: int, max_lines: int = 99) -> Limits:
    """For a completion behind `text`, which may end inside a character."""
    return Limits(max_tokens, max_lines, before=text)


def greedy(state: CoverState, begun: bytes, most: int | None = None) -> bytes:
    """Everything is scored before each byte. Up to the stop, the end of what is text, or `most` bytes."""
    text = b""
    while (most is None or len(text) < most) and may_become_text(text, begun):
        state = resolved(state)
        best = int(state.shares.known.argmax())
        if best == STOP:
            break
        text += bytes([best])
        state = state.push(best)
    return text


@pytest.fixture(params=[(name, seed) for name in TOYS for seed in SEEDS], ids=lambda p: f"{p[0]}-{p[1]}")
def model(request: pytest.FixtureRequest) -> ToyModel:
    name, seed = request.param
    print(f"toy {name!r}, seed {seed}")
    return ToyModel.random(TOYS[name], seed)


def starts(model: ToyModel) -> list[bytes]:
    return [*model.toy.strings(2), *list(model.toy.strings(3))[::5]][:12]


def enumerated(model: ToyModel, start: bytes, most: int) -> bytes:
    """The reference: the likeliest symbol by enumeration, again and again."""
    text = b""
    while len(text) < most:
        found = enumerate_law(model.toy, model.table, (model.toy.separator,), start + text, "canonical")
        best = int(found.shares.argmax())
        if best == STOP:
            break
        text += bytes([best])
    return text


def test_scored_lazily_or_eagerly_a_completion_is_the_likeliest_bytes_by_enumeration(
    model: ToyModel,
) -> None:
    """Laziness asks for less. It may ask once more at the end of a text, to know that it ends there."""
    lazy = eager = 0
    for text in starts(model):
        fast, slow = model.open(text), model.open(text)
        found, _ = Decoder(fast.space, limits(text, max_tokens=8)).exact(fast)
        begun = text[len(text) - partial_length(text) :]
        expected = greedy(slow, begun, None if found.stop == "end-of-middle" else len(found.text))
        assert found.text == expected[: whole_length(expected, begun)], text
        first = enumerated(model, text, ENUMERATED)
        assert expected[:ENUMERATED] == first[: len(expected)], text
        lazy += fast.space.scorer.backend.evaluations
        eager += slow.space.scorer.backend.evaluations
        if found.stop == "tokens":
            assert fast.space.scorer.backend.evaluations <= 8 + 1
    assert lazy <= eager + len(starts(model))


def test_the_logp_of_a_completion_is_at_most_that_of_its_bytes(model: ToyModel) -> None:
    for text in starts(model)[:8]:
        state = model.open(text)
        found, _ = Decoder(state.space, limits(text, 6)).exact(state)
        if found.stop == "end-of-middle":
            start = resolved(state)
            begun = text[len(text) - partial_length(text) :]
            raw = greedy(start, begun)
            end = resolved(model.open(text + raw))
            logp = model.log_total(end) - model.log_total(start)
            logp += np.log(end.shares.known[STOP]) if may_become_text(raw, begun) else 0.0
            assert found.logp <= logp + 1e-9


def test_completing_further_along_gives_the_same_text(model: ToyModel) -> None:
    for text in starts(model):
        state = model.open(text)
        whole, _ = Decoder(state.space, limits(text, 14, 9)).exact(state)
        for taken in range(min(len(whole.text), BYTES)):
            read = text + whole.text[:taken]
            later = model.open(read)
            rest, _ = Decoder(later.space, limits(read, 14, 9)).exact(later)
            expected, got = whole.text[taken:], rest.text
            if rest.stop == whole.stop == "end-of-middle":
                assert got == expected, (text, taken)
            else:  # a budget ends them at different places
                shorter = min(len(got), len(expected))
                assert got[:shorter] == expected[:shorter], (text, taken)


def test_alternatives_are_different_and_start_with_the_greedy_one(model: ToyModel) -> None:
    for text in starts(model)[:6]:
        state = model.open(text)
        decoder = Decoder(state.space, limits(text, 6, 3))
        found = decoder.alternatives(state, 4)
        assert found[0] == decoder.exact(state)[0]
        assert len({c.text for c in found}) == len(found) <= 4


@pytest.mark.parametrize("seed", range(4))
def test_alternatives_that_are_shown_alike_are_not_tried_for_ever(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carriage returns at the end are not shown: here every text is shown as nothing, without end."""
    state = ToyModel.random(SentencePieceToy((b"\r",), (), b"\r"), seed).open(b"\r")
    decoder, dives, exact = Decoder(state.space, limits(b"\r", 9)), [], Decoder.exact
    monkeypatch.setattr(Decoder, "exact", lambda *given: (dives.append(given), exact(*given))[1])
    found = decoder.alternatives(state, 4)
    assert [c.text for c in found] == [b""] and 0 < len(dives) <= 2 * 4


def outcomes(state: CoverState, length: int) -> dict[tuple[int, ...], float]:
    """P of the next `length` symbols, byte by byte from the exact distribution; STOP ends early."""
    found: dict[tuple[int, ...], float] = {}

    def extend(state: CoverState, symbols: tuple[int, ...], mass: float) -> None:
        if len(symbols) == length or (symbols and symbols[-1] == STOP):
            found[symbols] = mass
            return
        state = resolved(state)
        for symbol in np.flatnonzero(state.shares.known).tolist():
            after = state if symbol == STOP else state.push(symbol)
            extend(after, (*symbols, symbol), mass * float(state.shares.known[symbol]))

    extend(state, (), 1.0)
    return found


@pytest.mark.parametrize("name", ["chain", "runs", "gpt-2", "byte fallback", "added", "runs of spaces"])
def test_sampling_covers_and_tokens_is_sampling_bytes(name: str) -> None:
    """Chi-square, on a model that gives non-canonical tokens no mass."""
    model, draws = ToyModel.canonical(TOYS[name], seed=5), 1500
    for text in list(model.toy.strings(2))[-2:]:
        state = model.open(text)
        expected = outcomes(state, 2)
        assert sum(expected.values()) == pytest.approx(1)
        counts: Counter[tuple[int, ...]] = Counter()
        decoder = Decoder(state.space, limits(text, 3))
        for seed in range(draws):
            drawn = decoder.sample(state, 1.0, seed)
            symbols = tuple(drawn.text[:2])
            if len(symbols) < 2:
                assert drawn.stop == "end-of-middle"
                symbols += (STOP,)
            counts[symbols] += 1
        assert counts.keys() <= expected.keys()
        frequent = [s for s, p in expected.items() if p * draws >= 5]
        rare = draws - sum(counts[s] for s in frequent)
        rare_expected = draws * (1 - sum(expected[s] for s in frequent))
        chi = sum((counts[s] - draws * expected[s]) ** 2 / (draws * expected[s]) for s in frequent)
        chi += (rare - rare_expected) ** 2 / max(rare_expected, 5)
        freedom = len(frequent)
        print(f"toy {name!r} after {text!r}: chi-square {chi:.1f} with {freedom} degrees of freedom")
        assert chi < freedom + 4.5 * np.sqrt(2 * freedom)
