"""Symbols that certainly come next, as many at once as are certain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from engine.kernels import STOP as STOP
from engine.vocab import FloatArray


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


class Readable(Protocol):
    """A state that reads bytes."""

    @property
    def shares(self) -> Shares:
        """The distribution of the next symbol, as far as it is known."""
        ...

    def push(self, byte: int) -> Self:
        """The state once `byte` has been read. Never asks a model."""
        ...


State = TypeVar("State", bound=Readable)


@dataclass(slots=True)
class Run(Generic[State]):
    """Symbols each of which is certainly the likeliest behind those before it."""

    text: bytes
    ends: bool
    """Whether STOP comes behind the text."""
    logp: float
    """Natural log of the product of what is known of their probabilities, a STOP where nothing can follow
    aside."""
    state: State
    """The state behind the bytes."""

    def __bool__(self) -> bool:
        """Whether it is certain what comes first."""
        return self.ends or bool(self.text)

    @property
    def symbols(self) -> list[int]:
        """The bytes, and STOP."""
        return [*self.text, STOP] if self.ends else [*self.text]


def single_step(state: State) -> Run[State]:
    """The next symbol of any state, if it is certain."""
    best = state.shares.certain_best()
    if best is None:
        return Run(b"", False, 0.0, state)
    share = float(state.shares.known[best])
    logp = math.log(share) if share > 0 else 0.0
    return Run(b"", True, logp, state) if best == STOP else Run(bytes([best]), False, logp, state.push(best))
