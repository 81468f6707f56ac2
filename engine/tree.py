"""TokenTree: the one shape that covers, drafts, alternatives and suffix checks share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

TokenPath = tuple[int, ...]
"""A sequence of token ids from the start of the prompt."""

ROOT = -1
"""The node that stands for the end of the context a tree hangs on."""


@dataclass(frozen=True)
class TokenTree:
    """Tokens that continue a context; node k's parent is `parents[k] < k`, ROOT for the first ones."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def leaves(self) -> list[int]:
        """Nodes without children, in order."""
        inner = set(self.parents)
        return [node for node in range(len(self)) if node not in inner]

    @cached_property
    def depth(self) -> int:
        """Nodes on the longest branch."""
        return max((len(self.branch(leaf)) for leaf in self.leaves), default=0)

    def branch(self, node: int) -> list[int]:
        """The nodes from the root's child down to `node`; [] for ROOT."""
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]


def tree_of(paths: Sequence[TokenPath]) -> tuple[TokenTree, list[int]]:
    """The tree of `paths` (relative to its context), and the node at the end of each path."""
    tokens: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    ends = []
    for path in paths:
        node = ROOT
        for token in path:
            child = children.setdefault((node, token), len(tokens))
            if child == len(tokens):
                tokens.append(token)
                parents.append(node)
            node = child
        ends.append(node)
    return TokenTree(tuple(tokens), tuple(parents)), ends


def common_prefix_length(paths: Sequence[TokenPath]) -> int:
    """Number of leading tokens that all `paths` share (0 for no paths)."""
    if len(paths) < 2:
        return sum(map(len, paths))
    low, high = min(paths), max(paths)
    shortest = min(len(low), len(high))
    if low[:shortest] == high[:shortest]:  # as where the others go on from the first
        return shortest
    return bisect_left(range(shortest), True, key=lambda k: low[: k + 1] != high[: k + 1])
