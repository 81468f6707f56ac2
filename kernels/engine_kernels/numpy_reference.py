"""What each kernel computes, in NumPy: the definition, and what runs where no compiler was found.

The native kernels (kernels/native) have the same signatures and raise the same errors. Arrays may have any
memory layout; results are fresh and contiguous. Exact means bit for bit; sums and exponentials are rounded
in float64 and may differ from the native ones by a relative 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
SmallIntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

LEAST_LOG = -708.0
"""exp of anything below is taken as 0; float64 has no normal number there."""


def log_softmax(logits: npt.NDArray[np.float32]) -> FloatArray:
    """(rows, vocab) natural log-probabilities of the `logits` (rows, vocab).

    −inf stays −inf. Raises ValueError for a row without a distribution: a NaN, +inf, or −inf throughout.
    """
    shifted = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shifted -= shifted.max(axis=1, keepdims=True)
        totals = _exp(shifted).sum(axis=1, keepdims=True)
    if np.isnan(totals).any():
        raise ValueError("a row of logits has NaN, +inf or nothing but -inf")
    result: FloatArray = shifted - np.log(totals)
    return result


def sorted_weights(row: FloatArray, order: SmallIntArray, allowed: BoolArray) -> FloatArray:
    """(n,) exp(row[order]) where `allowed` (n,), 0 elsewhere.

    `row` (vocab,) are natural logs, none above 0, `order` (n,) places in it. Raises ValueError for a place
    outside of it and for a NaN.
    """
    if len(order) != len(allowed):
        raise ValueError("order and allowed differ in length")
    if len(order) and not (order.min() >= 0 and order.max() < len(row)):
        raise ValueError("order names a place outside of the row")
    weights = _exp(row[order])
    if np.isnan(weights).any():
        raise ValueError("a weight is NaN")
    return np.where(allowed, weights, 0.0)


def sums_of_groups(row: FloatArray, order: SmallIntArray, allowed: BoolArray, starts: IntArray) -> FloatArray:
    """(groups,) the sums of `sorted_weights` over [starts[g], starts[g + 1]) for each group g.

    `starts` (groups + 1,) ascend from 0 to n. Raises ValueError if they do not, and as `sorted_weights`.
    """
    if not (len(starts) and starts[0] == 0 and starts[-1] == len(order) and (np.diff(starts) >= 0).all()):
        raise ValueError("the starts do not ascend from 0 to the number of weights")
    weights = sorted_weights(row, order, allowed)
    return np.array([weights[first:end].sum() for first, end in pairwise(starts.tolist())])


def _exp(logs: FloatArray) -> FloatArray:
    return np.where(logs < LEAST_LOG, 0.0, np.exp(logs))


def sums_by_byte(weights: FloatArray, bytes_: ByteArray) -> FloatArray:
    """(256,) the sum of the `weights` (n,) whose byte it is; `bytes_` (n,) ascend.

    Raises ValueError if they do not, or if the lengths differ.
    """
    if len(weights) != len(bytes_):
        raise ValueError("weights and bytes differ in length")
    if (bytes_[1:] < bytes_[:-1]).any():
        raise ValueError("the bytes do not ascend")
    sums: FloatArray = np.bincount(bytes_, weights=weights, minlength=256).astype(np.float64)
    return sums


def mixed_sums(
    scales: Sequence[float], weights: Sequence[FloatArray], bytes_: Sequence[ByteArray], last: float
) -> FloatArray:
    """(257,) the sum of `sums_by_byte(weights[k], bytes_[k])` times `scales[k]` over all k, and `last`.

    Raises ValueError as `sums_by_byte`, or if there are not equally many of the three.
    """
    if not len(scales) == len(weights) == len(bytes_):
        raise ValueError("scales, weights and bytes differ in number")
    mixed = np.zeros(257)
    for scale, part, its_bytes in zip(scales, weights, bytes_, strict=True):
        mixed[:256] += scale * sums_by_byte(part, its_bytes)
    mixed[256] = last
    return mixed


def two_greatest(values: FloatArray) -> tuple[int, float, float]:
    """The place of the greatest of the `values` (n,), the first of equal ones; it and the next greatest.

    Raises ValueError for fewer than two.
    """
    if len(values) < 2:
        raise ValueError("there are no two values")
    place = int(values.argmax())
    return place, float(values[place]), float(np.partition(values, -2)[-2])


def choose_tokens(
    verdicts: npt.NDArray[np.int8], groups: npt.NDArray[np.int16], free: BoolArray, reachable: BoolArray
) -> BoolArray:
    """(n,) whether token k, `reachable` (n,), may follow: by the verdict on its group.

    `verdicts` (groups,): 0 never, 2 always, 1 if no merge crosses the boundary, which `free` (n,) says.
    `groups` (n,) holds each token's group. Raises ValueError for other verdicts, for a group without one, and
    if lengths differ.
    """
    if len(verdicts) and not (verdicts.min() >= 0 and verdicts.max() <= 2):
        raise ValueError("a verdict is not 0, 1 or 2")
    if not len(groups) == len(free) == len(reachable):
        raise ValueError("groups, free and reachable differ in length")
    if len(groups) and not (groups.min() >= 0 and groups.max() < len(verdicts)):
        raise ValueError("a group has no verdict")
    verdict = verdicts[groups]
    chosen: BoolArray = ((verdict == 2) | (verdict == 1) & free) & reachable
    return chosen


def merge_symbols(
    symbols: SmallIntArray, keys: IntArray, ranks: SmallIntArray, merged: SmallIntArray
) -> SmallIntArray:
    """BPE of `symbols`: the merge of least rank, leftmost first, until none applies.

    Merge k turns the tokens `keys[k]` = left · 2³² + right into `merged[k]`; `keys` (n,) ascend strictly.
    """
    left = np.array(symbols)
    while len(left) > 1 and len(keys):
        pairs = (left[:-1].astype(np.int64) << 32) + left[1:]
        places = np.minimum(np.searchsorted(keys, pairs), len(keys) - 1)
        rank = np.where(keys[places] == pairs, ranks[places], np.iinfo(np.int32).max)
        best = int(rank.argmin())
        if rank[best] == np.iinfo(np.int32).max:
            break
        left[best] = merged[places[best]]
        left = np.delete(left, best + 1)
    return left


class Forest(NamedTuple):
    """The derivations of a vocabulary as the forest "parent = left part"; arrays (tokens,) unless said.

    engine/tokenizers/pairs.py defines time, rank and waits. Siblings ascend by time.
    """

    right: IntArray
    """Right part, −1 for a token without derivation."""
    time: FloatArray
    rank: FloatArray
    wait_left: FloatArray
    wait_right: FloatArray
    children: IntArray
    """(derivations,) by left part, then time."""
    child_key: FloatArray
    """(derivations,) left part · radix + time, ascending."""
    radix: float
    """More than the greatest time + 1."""
    has_late_child: BoolArray
    preorder: IntArray
    subtree_end: IntArray
    """Preorder number behind the last one of the token's subtree."""
    row: IntArray
    """By preorder number: the token's row in sorted order, −1 if it has none."""


def pair_mask(left: int, forest: Forest, rows: int) -> BoolArray:
    """(rows,) in sorted order: the tokens that may follow `left` in one word, unreachable ones included.

    The claim on pairs (engine/tokenizers/pairs.py), for one left token. Raises ValueError if there is no
    token `left`.
    """
    if not 0 <= left < len(forest.right):
        raise ValueError("there is no such left token")
    boundary = np.zeros(len(forest.right) + 1, dtype=np.int64)
    _forbid(boundary, forest, left, np.inf, np.inf)
    parent, part = left, int(forest.right[left])
    while part >= 0:
        _forbid(boundary, forest, part, float(forest.time[parent]), float(forest.wait_left[parent]))
        parent, part = part, int(forest.right[part])
    forbidden = forest.row[np.flatnonzero(np.cumsum(boundary)[:-1])]
    allowed = np.ones(rows, dtype=np.bool_)
    allowed[forbidden[forbidden >= 0]] = False
    return allowed


def _forbid(boundary: IntArray, forest: Forest, part: int, time: float, wait: float) -> None:
    """Adds to the difference array `boundary` what derivations (part, s) forbid whose s is there before
    `time` and whose rank is less than `wait`."""

    def children_of(parent: IntArray | int, time: FloatArray | float) -> IntArray:
        """Where the children of at least this time begin among all."""
        return np.asarray(np.searchsorted(forest.child_key, parent * forest.radix + time))

    end_time = forest.radix - 1
    crossing = forest.children[int(children_of(part, 0.0)) : int(children_of(part, end_time))]
    crossing = crossing[(forest.rank[crossing] < wait) & (forest.time[forest.right[crossing]] < time)]
    ranks, parts = forest.rank[crossing], forest.right[crossing]
    np.add.at(boundary, forest.preorder[parts], 1)
    np.add.at(boundary, forest.preorder[parts] + 1, -1)
    first, end = children_of(parts, np.maximum(ranks, forest.time[part])), children_of(parts, end_time)
    inside = first < end
    np.add.at(boundary, forest.preorder[forest.children[first[inside]]], 1)
    np.add.at(boundary, forest.subtree_end[parts[inside]], -1)
    for index in np.flatnonzero(forest.has_late_child[parts] & inside):
        late = forest.children[first[index] : end[index]]
        late = late[forest.wait_right[late] < ranks[index]]
        np.add.at(boundary, forest.preorder[late], -1)
        np.add.at(boundary, forest.subtree_end[late], 1)
