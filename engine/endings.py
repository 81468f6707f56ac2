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

from dataclasses import dataclass, field, replace

import numpy as np

from engine.covers import STOP, CoverState
from engine.tree import TokenPath

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
    fits: bool
    """Whether the likeliest symbol after the text is the end, or the join's first byte."""
    there: CoverState | None = None
    """Has read the text and the join; None as long as nobody wanted that."""
    lower: float = field(init=False)
    """log J is at least this; nothing is known before the join was read."""
    upper: float = field(init=False)

    def __post_init__(self) -> None:
        there = self.there
        lower = -np.inf if there is None else log_mass(there) + _log(1 - there.shares.unknown)
        upper = log_mass(self.here if there is None else there)
        if self.ends_by_stop:
            stop, unknown = self.here.shares.known[STOP], self.here.shares.unknown
            lower = float(np.logaddexp(lower, log_mass(self.here) + _log(stop)))
            upper = min(
                log_mass(self.here), float(np.logaddexp(upper, log_mass(self.here) + _log(stop + unknown)))
            )
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @property
    def is_known(self) -> bool:
        """Whether the bounds of J are close to each other."""
        return self.upper == -np.inf or self.upper - self.lower <= JOIN_BOUND

    def promise(self, unfit_nats: float) -> float:
        """`upper`, less `unfit_nats` if nothing speaks for an end here."""
        return self.upper - (0.0 if self.fits else unfit_nats)

    def read(self, join: bytes) -> Ending:
        """The same with the join read, which asks no model."""
        here = self.here.pruned
        return replace(self, here=here, there=here.read(join).pruned)

    def wanted(self) -> list[TokenPath]:
        """The paths whose rows would bring the bounds closer."""
        return paths_of(self._less_known())

    def asked(self, scored: set[TokenPath]) -> Ending:
        """The same with closer bounds, as far as that takes rows after `scored` paths only."""
        ending = self
        while not ending.is_known and scored.issuperset(ending.wanted()):
            state = ending._less_known()
            if state is ending.here:
                ending = replace(ending, here=state.ask().pruned)
            else:
                ending = replace(ending, there=state.ask().pruned)
        return ending

    def _less_known(self) -> CoverState:
        """Of the two states, the one with more that is pending."""
        if self.there is None:
            return self.here
        if self.ends_by_stop and _log_unknown(self.here) > _log_unknown(self.there):
            return self.here
        return self.there


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """All texts that start with `text`, which `state` has read, and then go on with none of `tried`."""

    text: bytes
    state: CoverState
    tried: frozenset[int]
    best: int
    """The byte that they go on with most likely, as far as is known."""
    upper: float
    """log J of each of them is at most this."""

    @property
    def is_sure(self) -> bool:
        """Whether `best` is known well enough."""
        return self.state.shares.unknown <= JOIN_BOUND


def branch_of(text: bytes, state: CoverState, tried: frozenset[int]) -> Branch:
    """A branch with its bound."""
    shares, left = state.shares, state.shares.known[:STOP].copy()
    left[[byte for byte in tried if byte != STOP]] = -1.0
    best = int(left.argmax())
    return Branch(text, state, tried, best, log_mass(state) + _log(left[best] + shares.unknown))


def paths_of(state: CoverState) -> list[TokenPath]:
    """What `state.ask` scores."""
    return [state.fixed + pending.tokens for pending in state.pruned.worth_scoring]


def _log_unknown(state: CoverState) -> float:
    return log_mass(state) + _log(state.shares.unknown)


def _log(share: float) -> float:
    return float(np.log(share)) if share > 0 else -np.inf
