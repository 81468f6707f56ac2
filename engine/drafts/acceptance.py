"""How often guesses of a kind come true, and what rows cost: the feedback that sets a draft's length.

The draft is as long as the estimated acceptance makes it worth. Source of the idea: Liu et al., "Adaptive
Draft-Verification for Efficient Large Language Model Decoding" (ADED), 2024 (arXiv 2407.12021).
"""

from __future__ import annotations

from collections.abc import Hashable

MEMORY = 200
"""Trials after which the older ones count half."""
PRIOR_TRIALS = 6
FORGETS = 0.995
LARGEST_BATCH = 32
"""Larger batches are prompts."""
OUTLIER = 2.0
"""A batch that takes so many times longer than expected was disturbed."""


class Acceptance:
    """Shares of right guesses by kind, counted on top of a prior."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, list[float]] = {}

    def share(self, kind: Hashable, prior: float) -> float:
        """Estimated probability that a guess of this kind is right, if what stands before it is."""
        right, trials = self._counts.get(kind, (0.0, 0.0))
        return (right + PRIOR_TRIALS * prior) / (trials + PRIOR_TRIALS)

    def note(self, kind: Hashable, is_right: bool) -> None:
        """A guess of this kind was tried."""
        counts = self._counts.setdefault(kind, [0.0, 0.0])
        counts[0] += is_right
        counts[1] += 1
        if counts[1] >= MEMORY:
            counts[:] = counts[0] / 2, counts[1] / 2


class BatchCosts:
    """Milliseconds of an evaluation as base + slope · tokens: least squares that forget."""

    def __init__(self) -> None:
        """Starts from two invented batches, so that there is always a line."""
        self._sums = [0.0] * 5
        self._add(1, 10.0)
        self._add(8, 40.0)

    def note(self, tokens: int, ms: float) -> None:
        """An evaluation of so many tokens took so long."""
        if tokens <= LARGEST_BATCH:
            self._sums = [FORGETS * total for total in self._sums]
            self._add(tokens, min(ms, OUTLIER * self.of(tokens)))

    def of(self, tokens: int) -> float:
        """Expected milliseconds of a batch."""
        base, slope = self._line()
        return base + slope * tokens

    @property
    def slope(self) -> float:
        """Milliseconds of one token more."""
        return self._line()[1]

    def _add(self, tokens: int, ms: float) -> None:
        for place, term in enumerate((1.0, tokens, ms, tokens * tokens, tokens * ms)):
            self._sums[place] += term

    def _line(self) -> tuple[float, float]:
        count, x, y, xx, xy = self._sums
        spread = count * xx - x * x
        slope = (count * xy - x * y) / spread if spread > 1e-6 * count * count else 0.0
        slope = min(max(slope, 0.0), y / x)
        return (y - slope * x) / count, slope
