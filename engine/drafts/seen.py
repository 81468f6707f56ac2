"""What the model said the last times that it stood behind the same tokens.

With `longest` 1 this is the adjacency of Token Recycling: for each token the likeliest ones after it, as of
the last time. Source: Luo et al., "Turning Trash into Treasure: Accelerating Inference of Large Language
Models with Token Recycling", 2024 (arXiv 2408.08696). With `longest` above 1 the last tokens together are the
key, the longest that was seen decides, and the distributions of all times are averaged: the n-gram module of
STAND. Source: Song et al., "Accelerated Test-Time Scaling with Model-Free Speculative Sampling", 2025 (arXiv
2506.04708).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from engine.tree import TokenPath
from engine.vocab import FloatArray

LEAST_LOG = float(np.log(0.05))
"""Tokens below this probability are not worth guessing."""
MOST_GUESSES = 6
MOST_KEYS = 10_000
NEWEST = 0.5
"""Weight of the newest distribution in an average."""

Likely = dict[int, float]
"""Token → its probability."""


class Seen:
    """The likeliest tokens by what stood before them; the least recently seen key goes first."""

    def __init__(self, longest: int, most_keys: int = MOST_KEYS) -> None:
        self._longest = longest
        self._most_keys = most_keys
        self._after: OrderedDict[TokenPath, Likely] = OrderedDict()

    def learn(self, path: TokenPath, likely: Likely) -> None:
        """The model has given `likely` behind `path`."""
        for length in range(1, min(self._longest, len(path)) + 1):
            key = path[-length:]
            older = self._after.get(key) if self._longest > 1 else None
            self._after[key] = _average(older, likely) if older else likely
            self._after.move_to_end(key)
        while len(self._after) > self._most_keys:
            self._after.popitem(last=False)

    def after(self, history: Sequence[int]) -> tuple[int, Likely]:
        """How many of the last tokens were seen together, and what is likely behind them; (0, {}) if none."""
        for length in range(min(self._longest, len(history)), 0, -1):
            if likely := self._after.get(tuple(history[-length:])):
                return length, likely
        return 0, {}


def likely_tokens(row: FloatArray) -> Likely:
    """The few tokens of a row of natural logs that are worth guessing, likeliest first."""
    tokens = np.flatnonzero(row > LEAST_LOG)
    best = tokens[np.argsort(-row[tokens])][:MOST_GUESSES]
    return dict(zip(best.tolist(), np.exp(row[best]).tolist(), strict=True))


def drawn(likely: Likely, most: int, random: np.random.Generator) -> Likely:
    """At most `most` different tokens, drawn one after the other in proportion to their probabilities.

    By the largest of log-probabilities with Gumbel noise, as STAND does it.
    """
    noise = random.gumbel(size=len(likely))
    keys = [float(np.log(share)) + n for share, n in zip(likely.values(), noise, strict=True)]
    chosen = sorted(zip(keys, likely.items(), strict=True), reverse=True)[:most]
    return dict(item for _, item in chosen)


def _average(older: Likely, newer: Likely) -> Likely:
    shares = {
        token: (1 - NEWEST) * older.get(token, 0.0) + NEWEST * newer.get(token, 0.0)
        for token in older.keys() | newer.keys()
    }
    best = sorted(shares.items(), key=lambda item: -item[1])[:MOST_GUESSES]
    return dict(best)
