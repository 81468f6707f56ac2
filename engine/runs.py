"""Symbols that certainly come next, as many at once as are certain."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    symbols: Sequence[int]
    """Bytes, or STOP at the end; none if it is not certain what comes first."""
    logp: float
    """Natural log of the product of what is known of their probabilities, a STOP where nothing can follow
    aside."""
    state: State
    """The state behind the bytes."""

    @property
    def text(self) -> bytes:
        """The bytes."""
        symbols = self.symbols
        return bytes(symbols[:-1] if symbols and symbols[-1] == STOP else symbols)

    @property
    def ends(self) -> bool:
        """Whether STOP comes at the end."""
        return bool(self.symbols) and self.symbols[-1] == STOP


def single_step(state: State) -> Run[State]:
    """The next symbol of any state, if it is certain."""
    best = state.shares.certain_best()
    if best is None:
        return Run((), 0.0, state)
    share = float(state.shares.known[best])
    return Run((best,), math.log(share) if share > 0 else 0.0, state if best == STOP else state.push(best))
