"""Where a middle may end: how likely that is, as bounds that come closer as the model is asked.

Definitions. The *join* s is the beginning of the text after the cursor. The middle ends after m if s follows;
or, if the model was shown the suffix by a FIM template, if it says so:

    J(m) = P(m s)                    without FIM
    J(m) = P(m s) + P(m, stop)       with FIM, everything given the tail

Without FIM, J(m) = P(m) · P(s | m) is proportional to P(middle = m | prefix, s). It is computed under the
canonical law like any other text: s is read byte by byte behind the covers of m.

Claim. J(m) ≤ P(x) for every beginning x of m. Proof: "m s follows" and "m follows and then it stops" exclude
each other, and in both the text starts with x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from engine.covers import STOP, CoverState
from engine.kernels import two_greatest
from engine.tree import TokenPath
from engine.vocab import FloatArray

JOIN_BOUND = 0.1
"""J is known when its bounds are at most this far apart, in nats."""


@dataclass(eq=False, slots=True)
class Ending:
    """The middle may be `text`. Never changed once it is made."""

    text: bytes
    here: CoverState
    """Has read the text."""
    ends_by_stop: bool
    there: CoverState | None = None
    """Has read the text and the join; None as long as nobody wanted that."""
    marks: tuple[tuple[int, float], ...] = ()
    """What was pending on the way: (bytes of the join before it, natural log of its probability)."""
    lower: float = field(init=False)
    """log J is at least this; nothing is known before the join was read."""
    upper: float = field(init=False)
    offset: int = field(init=False)
    """Bytes of the join that the likeliest pending cover has read."""
    pending_log: float = field(init=False)
    """Natural log of what is pending behind the join; of P(text) before it was read."""
    unknown_log: float = field(init=False)
    """Natural log of what is pending behind the text and may be a stop."""
    is_known: bool = field(init=False)
    """Whether the bounds of J are close to each other."""

    def __post_init__(self) -> None:
        there, mass = self.there, self.here.log_total
        self.lower = -math.inf if there is None else there.log_total + _log(1 - _unknown(there))
        self.upper = mass if there is None else there.log_total
        self.pending_log = self.upper if there is None else there.pending_log
        self.unknown_log = -math.inf
        if self.ends_by_stop:
            stop, unknown = float(self.here.shares.known[STOP]), self.here.shares.unknown
            self.lower = _log_sum(self.lower, mass + _log(stop))
            self.upper = min(mass, _log_sum(self.upper, mass + _log(stop + unknown)))
            self.unknown_log = self.here.pending_log
        self.offset = self._offset()
        self.is_known = self.upper == -math.inf or self.upper - self.lower <= JOIN_BOUND

    def _offset(self) -> int:
        if self.there is None or not self.there.pending:
            return 0
        likeliest = max(self.there.pending, key=lambda p: p.log_weight)
        return max(0, likeliest.start - len(self.here.text))

    @property
    def is_begun(self) -> bool:
        """Whether it tells anything of how the join goes on."""
        return self.offset > 0 or self.lower > -math.inf

    def estimate(self, rest: Sequence[float]) -> float:
        """What log J may turn out to be, if rest[k] is the log-probability of the join from its byte k on."""
        likely = max(self.lower, self.pending_log + rest[self.offset], self.unknown_log + rest[0])
        return min(self.upper, likely)

    def wanted(self) -> list[TokenPath]:
        """The paths whose rows would bring the bounds closer."""
        return [] if self.there is None else paths_of(self._less_known())

    def advanced(self, join: bytes) -> Ending:
        """The same with closer bounds, once the wanted rows are there. Reads the join first."""
        if self.there is None:
            here = self.here.pruned
            there, mark = here.read(join).pruned, (0, here.log_total)
            return Ending(self.text, here, self.ends_by_stop, there, (mark,))
        state = self._less_known()
        if state is self.here:
            return Ending(self.text, state.ask().pruned, self.ends_by_stop, self.there, self.marks)
        marks = (*self.marks, (self.offset, self.pending_log))
        return Ending(self.text, self.here, self.ends_by_stop, state.ask().pruned, marks)

    def rest(self, length: int, log: float) -> FloatArray:
        """(length + 1,) natural logs of how the join went on here from each byte, if log J is `log`."""
        found = dict(sorted(self.marks, reverse=True))
        if self.pending_log > self.lower:
            found[self.offset] = self.pending_log
        places = [place for place in sorted(found) if place < length]
        logs = [min(0.0, log - found[place]) for place in places]
        return np.interp(range(length + 1), [*places, length], [*logs, 0.0])

    def _less_known(self) -> CoverState:
        """Of the two states, the one with more that is pending."""
        assert self.there is not None
        if self.unknown_log > self.pending_log:
            return self.here
        return self.there


@dataclass(eq=False, slots=True)
class Branch:
    """All texts that start with `text`, which `state` has read, and then go on with none of `tried`."""

    is_known: ClassVar[bool] = False
    """Never: there is always more that may follow."""
    text: bytes
    state: CoverState
    tried: frozenset[int] = frozenset()
    best: int = field(init=False)
    """The byte that they go on with most likely, as far as is known."""
    upper: float = field(init=False)
    """log J of each of them is at most this."""
    is_sure: bool = field(init=False)
    """Whether `best` is known well enough."""

    def __post_init__(self) -> None:
        shares, left = self.state.shares, self.state.shares.known[:STOP].copy()
        left[list(self.tried)] = -1.0
        self.best, most, second = two_greatest(left)
        self.upper = self.state.log_total + _log(most + shares.unknown)
        self.is_sure = shares.unknown <= JOIN_BOUND or most >= second + shares.unknown

    def estimate(self, rest: Sequence[float]) -> float:
        """What log J may turn out to be at most, if the join follows with a probability of exp(rest[0])."""
        return self.upper + rest[0]

    def wanted(self) -> list[TokenPath]:
        """The paths whose rows would tell more about `best`; none if it is sure."""
        return [] if self.is_sure else paths_of(self.state)

    def advanced(self) -> Branch:
        """The same with more known about `best`, once the wanted rows are there."""
        return Branch(self.text, self.state.ask(), self.tried)

    def without_best(self) -> Branch:
        """The texts that do not go on with `best` either."""
        return Branch(self.text, self.state, self.tried | {self.best})


def paths_of(state: CoverState) -> list[TokenPath]:
    """What `state.ask` scores."""
    return [state.fixed + tokens for tokens in state.pruned.frontier.paths()]


def _unknown(state: CoverState) -> float:
    """The share that pending covers hold at most."""
    return math.exp(state.pending_log - state.log_total) if state.pending else 0.0


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _log_sum(log: float, other: float) -> float:
    """Natural log of the sum of two numbers, given as such."""
    most = max(log, other)
    return most if most == -math.inf else most + math.log1p(math.exp(min(log, other) - most))
