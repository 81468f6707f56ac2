"""What followed the places of the path that are nearest to its end in the model's own eyes.

Texts tell where the last tokens stood before; the values in the model's cache also tell what was meant there.
So of the earlier places of the last token, those weigh most before which the model's state was most like the
state now. Nothing is trained or stored for it. Source of the idea: the nearest neighbours of a hidden state
as in Khandelwal et al., "Generalization through Memorization: Nearest Neighbor Language Models", 2020 (arXiv
1911.00172), whose memory here is the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from engine.drafts.seen import Likely
from engine.tree import TokenPath

SHARPNESS = 20.0
"""A place whose cosine is greater by a tenth weighs seven times as much."""
MOST_GUESSES = 2

Places = Sequence[tuple[int, float]]
"""Indices in a path at which its last token stands, too, and how much each place weighs."""
Alike = Callable[[TokenPath], Places]
"""The earlier places of a path's last token, and the cosine of the model's states before them and before the
last token; none where states are not known."""


def weighed(alike: Places) -> Places:
    """Cosines as weights."""
    return [(at, math.exp(SHARPNESS * (cosine - 1))) for at, cosine in alike]


def behind(path: TokenPath, places: Places) -> Places:
    """Of the places of the path without its last token, those that this token followed, too; each a token
    further."""
    return [(at + 1, weight) for at, weight in places if path[at + 1] == path[-1]]


def followed(path: TokenPath, places: Places) -> Likely:
    """The few tokens that followed the places with the greatest weight, and their shares of it."""
    weights: dict[int, float] = {}
    for at, weight in places:
        weights[path[at + 1]] = weights.get(path[at + 1], 0.0) + weight
    whole = sum(weights.values())
    best = sorted(weights, key=lambda token: -weights[token])[:MOST_GUESSES]
    return {token: weights[token] / whole for token in best}
