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

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.covers import STOP, CoverState
from engine.tree import TokenPath
from engine.vocab import FloatArray

JOIN_BOUND = 0.1
"""J is known when its bounds are at most this far apart, in nats."""


def log_mass(state: CoverState) -> float:
    """Natural log of P(what `state` has read | its fixed tokens), pending covers counted in full."""
    return state.shares.log_total if state.contexts or state.pending else -np.inf


@dataclass(frozen=True, eq=False)
class Ending:
    """The middle may be `text`. Immutable."""

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

    def __post_init__(self) -> None:
        there = self.there
        lower = -np.inf if there is None else log_mass(there) + _log(1 - there.shares.unknown)
        upper = log_mass(self.here if there is None else there)
        pending_log = upper if there is None else _log_unknown(there)
        if self.ends_by_stop:
            stop, unknown = self.here.shares.known[STOP], self.here.shares.unknown
            lower = float(np.logaddexp(lower, log_mass(self.here) + _log(stop)))
            upper = min(
                log_mass(self.here), float(np.logaddexp(upper, log_mass(self.here) + _log(stop + unknown)))
            )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        object.__setattr__(self, "offset", self._offset())
        object.__setattr__(self, "pending_log", pending_log)

    def _offset(self) -> int:
        if self.there is None or not self.there.pending:
            return 0
        likeliest = max(self.there.pending, key=lambda p: p.log_weight)
        return max(0, likeliest.start - len(self.here.text))

    @cached_property
    def is_known(self) -> bool:
        """Whether the bounds of J are close to each other."""
        return self.upper == -np.inf or self.upper - self.lower <= JOIN_BOUND

    def estimate(self, rest: Sequence[float]) -> float:
        """What log J may turn out to be, if rest[k] is the log-probability of the join from its byte k on."""
        likely = max(self.lower, self.pending_log + rest[self.offset])
        if self.ends_by_stop:
            likely = max(likely, _log_unknown(self.here) + rest[0])
        return min(self.upper, likely)

    def wanted(self) -> list[TokenPath]:
        """The paths whose rows would bring the bounds closer."""
        return [] if self.there is None else paths_of(self._less_known())

    def advanced(self, join: bytes) -> Ending:
        """The same with closer bounds, once the wanted rows are there. Reads the join first."""
        if self.there is None:
            here = self.here.pruned
            return replace(self, here=here, there=here.read(join).pruned, marks=((0, log_mass(here)),))
        state = self._less_known()
        if state is self.here:
            return replace(self, here=state.ask().pruned)
        return replace(self, there=state.ask().pruned, marks=(*self.marks, (self.offset, self.pending_log)))

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
        if self.ends_by_stop and _log_unknown(self.here) > _log_unknown(self.there):
            return self.here
        return self.there


@dataclass(frozen=True, eq=False)
class Branch:
    """All texts that start with `text`, which `state` has read, and then go on with none of `tried`."""

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
        best = int(left.argmax())
        most, second = left[best], np.partition(left, -2)[-2]
        upper = log_mass(self.state) + _log(most + shares.unknown)
        object.__setattr__(self, "best", best)
        object.__setattr__(self, "upper", upper)
        object.__setattr__(
            self, "is_sure", bool(shares.unknown <= JOIN_BOUND or most >= second + shares.unknown)
        )

    def estimate(self, rest: Sequence[float]) -> float:
        """What log J may turn out to be at most, if the join follows with a probability of exp(rest[0])."""
        return self.upper + rest[0]

    @property
    def is_known(self) -> bool:
        """Never: there is always more that may follow."""
        return False

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
    return [state.fixed + pending.tokens for pending in state.pruned.worth_scoring]


def _log_unknown(state: CoverState) -> float:
    return log_mass(state) + _log(state.shares.unknown)


def _log(share: float) -> float:
    return float(np.log(share)) if share > 0 else -np.inf
