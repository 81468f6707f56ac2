"""Decoding byte by byte from exact distributions, of one model or of several.

`exact` is greedy: it always takes the likeliest next byte. Because that choice depends on the bytes read
so far and on nothing else, completing at the cursor and one byte further along the completion give the
same text. The model is asked only when what is pending could change the choice (`Shares.certain_best`),
which is about once a token.

`sample` draws each byte from the exact distribution. At byte temperature 1 this is the law of sampling a
cover and then ordinary tokens (`Decoder.sample`); at others it is not: a low byte temperature sharpens every
byte of a long token, a low token temperature sharpens the token once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from engine.covers import STOP
from engine.stop import Limits, TextSoFar
from engine.types import Completion
from engine.vocab import FloatArray

TRIES = 2
"""Texts decoded for each alternative asked for. Some are shown alike; there may be any number of those."""
SAMPLE_BOUND = 1e-4
"""`sample` asks until what is unknown holds at most this share."""

OnText = Callable[[bytes], None]


class Shares(Protocol):
    """What each next symbol holds: 256 byte values and STOP."""

    @property
    def known(self) -> FloatArray:
        """(257,) lower bounds of the symbols' probabilities."""
        ...

    @property
    def unknown(self) -> float:
        """Upper bound on the total of what `known` misses."""
        ...

    def certain_best(self) -> int | None:
        """The likeliest symbol, if what is unknown cannot change which it is; else None."""
        ...


class ByteState(Protocol):
    """The bytes read so far, and what may come next. Immutable."""

    @property
    def shares(self) -> Shares:
        """The distribution of the next symbol, as far as it is known."""
        ...

    def push(self, byte: int) -> Self:
        """The state once `byte` has been read. Never asks a model."""
        ...

    @property
    def pruned(self) -> Self:
        """The same state with more of it known, as far as that takes no model; itself if there is nothing."""
        ...

    def ask(self) -> Self:
        """The same state with more of it known, after one model evaluation."""
        ...


State = TypeVar("State", bound=ByteState)


@dataclass(frozen=True, slots=True)
class Place(Generic[State]):
    """Where greedy decoding took `symbol`."""

    state: State
    text: bytes
    symbol: int
    logp: float
    """Natural log-probability of `text`."""


@dataclass(frozen=True, slots=True)
class Turn(Generic[State]):
    """Where it could have gone another way."""

    state: State
    text: bytes
    symbol: int
    logp: float
    """Natural log-probability of `text` followed by `symbol`."""


class ByteDecoder(Generic[State]):
    """Decodes completions byte by byte. `on_text` hears the text each time a model has been asked."""

    def __init__(self, limits: Limits, on_text: OnText | None = None) -> None:
        self.limits = limits
        self._on_text = on_text

    def exact(
        self, state: State, text: bytes = b"", logp: float = 0.0
    ) -> tuple[Completion, list[Place[State]]]:
        """Greedy by exact marginals, from `state` where `text` has been chosen already.

        Returns the completion and the places on the way, for alternatives.
        """
        so_far = TextSoFar(self.limits, text, logp)
        places: list[Place[State]] = []
        while (reason := so_far.ended) is None:
            state, best = self._likeliest(state, so_far)
            if best is None:
                reason = "deadline"
                break
            known = float(state.shares.known[best])
            places.append(Place(state, so_far.text, best, so_far.logp))
            so_far.logp += math.log(known) if known > 0 else 0.0
            if best == STOP:
                reason = "end-of-middle"
                break
            so_far.add(bytes([best]))
            state = state.push(best)
        return so_far.completion(reason), places

    def alternatives(self, state: State, count: int) -> list[Completion]:
        """The exact completion and up to `count` − 1 others, each from the likeliest turn not taken."""
        first, places = self.exact(state)
        found = {first.text: first}
        turns, tries = _runners_up(places) if count > 1 else [], TRIES * count - 1
        while turns and tries and len(found) < count:
            tries -= 1
            turn = max(turns, key=lambda t: t.logp)
            turns.remove(turn)
            text = turn.text + bytes([turn.symbol])
            other, more = self.exact(turn.state.push(turn.symbol), text, turn.logp)
            found.setdefault(other.text, other)
            turns += _runners_up(more)
        return list(found.values())

    def sample_bytes(self, state: State, byte_temperature: float, seed: int) -> Completion:
        """Draws byte by byte at `byte_temperature`, from distributions known up to SAMPLE_BOUND."""
        random, so_far = np.random.default_rng(seed), TextSoFar(self.limits)
        while (reason := so_far.ended) is None:
            while state.shares.unknown > SAMPLE_BOUND and so_far.may_evaluate():
                state = self._ask(state, so_far)
            known = state.shares.known
            if state.shares.unknown > SAMPLE_BOUND or not known.any():
                reason = "deadline"
                break
            weights = (known / known.max()) ** (1 / byte_temperature)
            symbol = int(random.choice(len(known), p=weights / weights.sum()))
            so_far.logp += float(np.log(known[symbol]))
            if symbol == STOP:
                reason = "end-of-middle"
                break
            so_far.add(bytes([symbol]))
            state = state.push(symbol)
        return so_far.completion(reason)

    def _likeliest(self, state: State, so_far: TextSoFar) -> tuple[State, int | None]:
        """The certainly likeliest symbol, asking the model as often as that takes."""
        while (best := state.shares.certain_best()) is None:
            if (pruned := state.pruned) is not state:
                state = pruned
            elif not so_far.may_evaluate():
                return state, None
            else:
                state = self._ask(state, so_far)
        return state, best

    def _ask(self, state: State, so_far: TextSoFar) -> State:
        state = state.ask()
        so_far.evaluated()
        if self._on_text:
            self._on_text(so_far.text)
        return state


def _runners_up(places: Sequence[Place[State]]) -> list[Turn[State]]:
    """The likeliest symbol but the one taken and STOP, at each place that has one."""
    turns = []
    for place in places:
        rest = place.state.shares.known.copy()
        rest[[place.symbol, STOP]] = 0.0
        second = int(rest.argmax())
        if rest[second] > 0:
            turns.append(Turn(place.state, place.text, second, place.logp + math.log(rest[second])))
    return turns
