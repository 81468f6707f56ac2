"""Decoding byte by byte from exact distributions, of one model or of several.

`exact` is greedy: it always takes the likeliest next byte. Because that choice depends on the bytes read
so far and on nothing else, completing at the cursor and one byte further along the completion give the
same text. The model is asked only when what is pending could change the choice (`ByteState.run`), which is
about once a token.

`sample` draws each byte from the exact distribution. At byte temperature 1 this is the law of sampling a
cover and then ordinary tokens (`Decoder.sample`); at others it is not: a low byte temperature sharpens every
byte of a long token, a low token temperature sharpens the token once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from engine.runs import STOP, Readable, Run
from engine.stop import Limits, TextSoFar
from engine.types import Completion

TRIES = 2
"""Texts decoded for each alternative asked for. Some are shown alike; there may be any number of those."""
SAMPLE_BOUND = 1e-4
"""`sample` asks until what is unknown holds at most this share."""

OnText = Callable[[bytes], None]


class ByteState(Readable, Protocol):
    """The bytes read so far, and what may come next. Immutable."""

    def run(self) -> Run[Self]:
        """The symbols that certainly come next. Never asks a model.

        If there are none, the run's state is this one with all known that takes no model.
        """
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


@dataclass(slots=True)
class Stretch(Generic[State]):
    """What greedy decoding took at once behind `text`."""

    state: State
    text: bytes
    run: Run[State]
    logp: float
    """Natural log-probability of `text`."""

    def places(self) -> Iterator[Place[State]]:
        """Each symbol by itself."""
        state, text, logp = self.state, self.text, self.logp
        for symbol in self.run.symbols:
            yield Place(state, text, symbol, logp)
            if symbol != STOP:
                logp += math.log(state.shares.known[symbol])
                state, text = state.push(symbol), text + bytes([symbol])


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
    ) -> tuple[Completion, list[Stretch[State]]]:
        """Greedy by exact marginals, from `state` where `text` has been chosen already.

        Returns the completion and the stretches on the way, for alternatives.
        """
        so_far = TextSoFar(self.limits, text, logp)
        stretches: list[Stretch[State]] = []
        while (reason := so_far.ended) is None:
            state, run = self._surely(state, so_far)
            if not run:
                reason = "deadline"
                break
            stretches.append(Stretch(state, so_far.text, run, so_far.logp))
            so_far.logp += run.logp
            so_far.add(run.text)
            if run.ends:
                reason = "end-of-middle"
                break
            state = run.state
        return so_far.completion(reason), stretches

    def alternatives(self, state: State, count: int) -> list[Completion]:
        """The exact completion and up to `count` − 1 others, each from the likeliest turn not taken."""
        first, stretches = self.exact(state)
        found = {first.text: first}
        turns, tries = _runners_up(stretches) if count > 1 else [], TRIES * count - 1
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

    def _surely(self, state: State, so_far: TextSoFar) -> tuple[State, Run[State]]:
        """What certainly comes next, asking the model as often as that takes; nothing if it may not be."""
        while not (run := state.run()) and so_far.may_evaluate():
            state = self._ask(run.state, so_far)
        return state, run

    def _ask(self, state: State, so_far: TextSoFar) -> State:
        state = state.ask()
        so_far.evaluated()
        if self._on_text:
            self._on_text(so_far.text)
        return state


def _runners_up(stretches: Sequence[Stretch[State]]) -> list[Turn[State]]:
    """The likeliest symbol but the one taken and STOP, at each place that has one."""
    turns = []
    for place in chain.from_iterable(stretch.places() for stretch in stretches):
        rest = place.state.shares.known.copy()
        rest[[place.symbol, STOP]] = 0.0
        second = int(rest.argmax())
        if rest[second] > 0:
            turns.append(Turn(place.state, place.text, second, place.logp + math.log(rest[second])))
    return turns
