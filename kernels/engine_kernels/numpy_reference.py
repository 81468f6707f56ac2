"""What each kernel computes, in NumPy: the definition, and what runs where no compiler was found.

The native kernels (kernels/native) have the same signatures and raise the same errors. Arrays may have any
memory layout; results are fresh and contiguous. Exact means bit for bit; sums and exponentials are rounded
in float64 and may differ from the native ones by a relative 1e-12.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
SmallIntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

CONTRACT = 8
"""Counts the changes of signatures: a native build that has another number is an older one."""
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


LEAST_LOG_SHARE = -7.6
"""Of the likeliest token: the natural log of about a two-thousandth."""
TOO_MANY = 2048
"""Tokens for a glance."""


def likeliest(row: FloatArray) -> tuple[SmallIntArray, FloatArray]:
    """What a row tells at a glance: the tokens that are at least a two-thousandth as likely as its likeliest
    one, by increasing number, and their natural log-probabilities; none if there are TOO_MANY.

    `row` (vocab,) are natural logs; NaN counts as nothing.
    """
    peak = np.fmax.reduce(row, initial=-np.inf)
    found = np.flatnonzero((row >= peak + LEAST_LOG_SHARE) & (peak > -np.inf))
    tokens: SmallIntArray = found[: 0 if len(found) >= TOO_MANY else None].astype(np.int32)
    return tokens, row[tokens]


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


def two_greatest(values: FloatArray) -> tuple[int, float, float]:
    """The place of the greatest of the `values` (n,), the first of equal ones; it and the next greatest.

    Raises ValueError for fewer than two.
    """
    if len(values) < 2:
        raise ValueError("there are no two values")
    place = int(values.argmax())
    return place, float(values[place]), float(np.partition(values, -2)[-2])


MORE_THAN_HALF = 0.5 + 1e-9
"""A known share above this is the greatest, whatever the others are; rounding is allowed for."""
STOP = 256
"""The symbol behind the 256 byte values: the text ends."""


class ByteTables(NamedTuple):
    """A vocabulary in the order of its bytes; "row" is a position in it."""

    order: SmallIntArray
    """(rows,) token ids."""
    row_of: IntArray
    """(tokens,) rows, -1 for what is no text."""
    columns: ByteArray
    """(depth, rows): byte `depth` of each token, 0 past its end."""
    lengths: IntArray
    """(rows,) bytes of each token."""
    first_byte_starts: IntArray
    """(257,): tokens that start with byte b are rows [first_byte_starts[b], first_byte_starts[b + 1])."""
    long_rows: IntArray
    """(long,) of the tokens that go on past the columns."""
    long_columns: ByteArray
    """(depth, long): their bytes behind the columns, 0 past their end."""


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


NEVER = 2**31 - 1
"""A wait that nothing ends."""


class Forest(NamedTuple):
    """The derivations of a vocabulary as the forest "parent = left part"; all int32.

    engine/tokenizers/pairs.py defines time, rank and waits. A left token's question touches few records, far
    from each other: what is needed together stands together.
    """

    tokens: SmallIntArray
    """(tokens + 1, 6), fields by TOKEN_FIELDS; the last record only ends the children of the one before."""
    derivations: SmallIntArray
    """(derivations, 9), fields by DERIVATION_FIELDS; by left part, then by time: siblings stand together."""
    rows: SmallIntArray
    """By preorder number: the token's row in sorted order, -1 if it has none."""


TOKEN_FIELDS = ("right", "time", "wait_left", "first_child", "subtree_end", "has_late_child")
"""Right part, -1 for a token without derivation; time; wait as the parent of its right part, at most NEVER;
the first derivation of which it is the left part; the preorder number behind its subtree; 0 or 1."""
DERIVATION_FIELDS = (
    "rank",
    "right",
    "right_time",
    "right_row",
    "time",
    "wait_right",
    "preorder",
    "subtree_end",
    "token",
)
"""Rank; right part, its time and its row; of the token formed: time, wait as the parent of its left part,
preorder number, the number behind its subtree, and itself."""


def pair_mask(left: int, forest: Forest, rows: int) -> BoolArray:
    """(rows,) in sorted order: the tokens that may follow `left` in one word, unreachable ones included.

    The claim on pairs (engine/tokenizers/pairs.py), for one left token. Raises ValueError if there is no
    token `left`.
    """
    if not 0 <= left < len(forest.tokens) - 1:
        raise ValueError("there is no such left token")
    right, time, wait_left = forest.tokens[:, :3].T
    boundary, forbidden = np.zeros(len(forest.rows) + 1, dtype=np.int64), []
    forbidden.append(_forbid(boundary, forest, left, NEVER, NEVER))
    parent, part = left, int(right[left])
    while part >= 0:
        forbidden.append(_forbid(boundary, forest, part, int(time[parent]), int(wait_left[parent])))
        parent, part = part, int(right[part])
    found = np.concatenate([forest.rows[np.flatnonzero(np.cumsum(boundary)[:-1])], *forbidden])
    allowed = np.ones(rows, dtype=np.bool_)
    allowed[found[found >= 0]] = False
    return allowed


def _forbid(boundary: IntArray, forest: Forest, part: int, time: int, wait: int) -> SmallIntArray:
    """Rows of the s that derivations (part, s) of a rank below `wait` forbid, those there before `time`.

    Adds to the difference array `boundary` the subtrees of the children of s that are there long enough.
    """
    first_child, has_late_child = forest.tokens[:, 3], forest.tokens[:, 5]
    crossing = forest.derivations[first_child[part] : first_child[part + 1]]
    crossing = crossing[(crossing[:, 0] < wait) & (crossing[:, 2] < time)]
    for rank, s in crossing[:, :2].tolist():
        children = forest.derivations[first_child[s] : first_child[s + 1]]
        children = children[np.searchsorted(children[:, 4], max(rank, forest.tokens[part, 1])) :]
        if not len(children):
            continue
        boundary[children[0, 6]] += 1
        boundary[forest.tokens[s, 4]] -= 1
        if has_late_child[s]:
            late = children[children[:, 5] < rank]
            np.add.at(boundary, late[:, 6], -1)
            np.add.at(boundary, late[:, 7], 1)
    return crossing[:, 3]


class SuccessorRule(NamedTuple):
    """Which tokens may follow a context, told for those rows that are asked for."""

    verdicts: npt.NDArray[np.int8]
    """(rows,) 0 never, 2 always, 1 if `pair_mask` allows it behind `left`."""
    left: int
    """The last token of the context; negative if nothing stands before: then 1 is always, too."""
    forest: Forest


Successors = BoolArray | SuccessorRule
"""The tokens that may follow a context: (rows,) in sorted order, or the rule that tells."""


def successor_mask(rule: SuccessorRule, low: int, high: int) -> BoolArray:
    """(high - low,) whether the token in each of rows [low, high) may follow.

    Raises ValueError for rows outside of the vocabulary and for other verdicts than 0, 1 and 2 on them; where
    one is 1, also if there is no token `left`.
    """
    if not 0 <= low <= high <= len(rule.verdicts):
        raise ValueError("the rows are outside of the vocabulary")
    verdicts = rule.verdicts[low:high]
    if len(verdicts) and not (verdicts.min() >= 0 and verdicts.max() <= 2):
        raise ValueError("a verdict is not 0, 1 or 2")
    mask: BoolArray = verdicts != 0
    if rule.left >= 0 and (verdicts == 1).any():
        mask &= (verdicts == 2) | pair_mask(rule.left, rule.forest, len(rule.verdicts))[low:high]
    return mask


def allowed_rows(successors: Successors, low: int, high: int) -> BoolArray:
    """(high - low,) whether the token in each of rows [low, high) may follow."""
    if isinstance(successors, SuccessorRule):
        return successor_mask(successors, low, high)
    return successors[low:high]
