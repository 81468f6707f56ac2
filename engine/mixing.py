"""Several models, one distribution of the next byte.

Models with different vocabularies share nothing but bytes. Each member keeps its own prompt, covers and
certificate; what is mixed is what each says of the next symbol: 256 byte values, and STOP, the end of the
middle. STOP is a symbol like the others, so it is mixed like them.

A member's distribution is conditioned on canonical text: its known and unknown shares are divided by their
sum. With member i's lower bounds k_i(s) and unknown share u_i,

    mean     P(s) = Σ w_i p_i(s)            lies between Σ w_i k_i(s) and Σ w_i (k_i(s) + u_i)
    product  P(s) ∝ Π p_i(s)^w_i            lies, before it is normalised, between Π k_i(s)^w_i
                                            and Π (k_i(s) + u_i)^w_i

with weights that sum to one. So a symbol is certainly the likeliest if its lower bound reaches the upper
bounds of all others, and the members are asked only as long as none is.

A member that cannot express what was read (a byte that its vocabulary lacks) drops out from there on, and
the others' weights are divided by what is left. Source: Phan et al. 2025 (arXiv 2410.09303), section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from engine.covers import STOP, CoverState
from engine.errors import InputError
from engine.runs import Run, single_step
from engine.vocab import FloatArray

Rule = Literal["mean", "product"]


@dataclass(frozen=True, slots=True)
class Mix:
    """How the members' distributions become one."""

    rule: Rule
    weights: tuple[float, ...]
    """One a member, positive; they sum to one."""

    @classmethod
    def of(cls, members: int, rule: Rule = "mean", weights: Sequence[float] | None = None) -> Mix:
        """A mix of `members` models, equally weighted if `weights` is None. Raises InputError."""
        given = [1.0] * members if weights is None else list(weights)
        if len(given) != members:
            raise InputError(f"{len(given)} weights for {members} models; give one each")
        if not all(0 < weight < np.inf for weight in given):
            raise InputError(f"the weights {', '.join(map(str, given))} are not all positive numbers")
        return cls(rule, tuple(weight / sum(given) for weight in given))


@dataclass(frozen=True, eq=False)
class MixedShares:
    """Bounds on the mixed distribution. Implements `runs.Shares`."""

    known: FloatArray
    """(257,) lower bounds."""
    upper: FloatArray
    """(257,) upper bounds."""
    unknown: float

    def certain_best(self) -> int | None:
        """See `Shares.certain_best`. STOP if nothing can follow at all."""
        best = int(self.known.argmax())
        if self.known[best] == 0:
            return None if self.upper.any() else STOP
        others = np.delete(self.upper, best).max()
        return best if self.unknown == 0 or self.known[best] >= others else None


@dataclass(frozen=True, eq=False)
class EnsembleState:
    """The members' covers of the same text. Implements `bytewise.ByteState`."""

    mix: Mix
    members: tuple[CoverState, ...]

    def push(self, byte: int) -> EnsembleState:
        """The state once `byte` has been read by every member. Never asks a model."""
        return replace(self, members=tuple(member.push(byte) for member in self.members))

    def run(self) -> Run[EnsembleState]:
        """The next symbol, if it is certain. Never asks a model."""
        run = single_step(self)
        return run if run or (pruned := self.pruned) is self else pruned.run()

    @property
    def pruned(self) -> EnsembleState:
        """The state with every member pruned; this one if that changes nothing."""
        members = tuple(member.pruned for member in self.members)
        is_same = all(a is b for a, b in zip(members, self.members, strict=True))
        return self if is_same else replace(self, members=members)

    def ask(self) -> EnsembleState:
        """One model evaluation, by the member whose unknown share weighs most."""
        doubt = [w * m.shares.unknown for w, m in zip(self.mix.weights, self.members, strict=True)]
        asked = int(np.argmax(doubt))
        members = [m.ask() if k == asked else m for k, m in enumerate(self.members)]
        return replace(self, members=tuple(members))

    @cached_property
    def shares(self) -> MixedShares:
        """The mixed distribution, as far as it is known."""
        known = np.array([member.shares.known for member in self.members])
        unknown = np.array([member.shares.unknown for member in self.members])
        totals = known.sum(axis=1) + unknown
        able = totals > 0
        if not able.any():
            return MixedShares(np.zeros(STOP + 1), np.zeros(STOP + 1), 0.0)
        weights = np.array(self.mix.weights)[able]
        weights /= weights.sum()
        return _mixed(self.mix.rule, weights, known[able] / totals[able, None], unknown[able] / totals[able])


def _mixed(rule: Rule, weights: FloatArray, known: FloatArray, unknown: FloatArray) -> MixedShares:
    """The mix of `known` (members, 257) and `unknown` (members,); `weights` (members,) sum to one."""
    most = np.minimum(known + unknown[:, None], 1.0)
    if rule == "mean":
        return MixedShares(weights @ known, weights @ most, float(weights @ unknown))
    lower, upper = _geometric(weights, known), _geometric(weights, most)
    norm = float(upper.sum()) or 1.0
    return MixedShares(lower / norm, upper / norm, float((upper - lower).sum()) / norm)


def _geometric(weights: FloatArray, shares: FloatArray) -> FloatArray:
    """(257,) Π shares^weights; 0 where any share is 0."""
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.where((shares > 0).all(axis=0), np.exp(weights @ logs), 0.0)
