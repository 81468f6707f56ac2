"""Which token paths are resident in a KV cache that is shared by numbered sequences.

A *sequence* is a path of tokens whose keys and values are in the cache; two sequences share the cells of
their common beginning. Planning is pure: the table says what to give up, what to copy, what to evaluate and
under which sequence numbers, and the backend carries it out.

Paths are kept as bytes, four a token, in sorted order. *Claim*: the longest common beginning of a path with
any of the others is one with a neighbour in that order. (Between two paths in sorted order lie only paths
that share at least what those two share.) So a path is looked up by bisection, and the cells that only one
path holds are those beyond what it shares with its neighbours.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.tree import ROOT, TokenTree

PathKey = bytes
"""Tokens as four bytes each, the highest first, so that keys sort as paths do."""
TOKEN_BYTES = 4


def path_key(tokens: Sequence[int]) -> PathKey:
    """The key of a path."""
    return struct.pack(f">{len(tokens)}I", *tokens)


def shared_tokens(a: PathKey, b: PathKey) -> int:
    """Number of leading tokens that two paths share."""
    size = min(len(a), len(b))
    difference = int.from_bytes(a[:size]) ^ int.from_bytes(b[:size])
    return (size - (difference.bit_length() + 7) // 8) // TOKEN_BYTES


@dataclass(slots=True)
class Resident:
    """One sequence: its number in the cache, its path, and when it was last used."""

    number: int
    key: PathKey
    last_used: int = 0

    def __len__(self) -> int:
        """Tokens of the path."""
        return len(self.key) // TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class Copy:
    """Share the first `length` cells of sequence `source` with `target`, which is emptied first.

    With source == target the sequence is cut to `length`.
    """

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class BatchToken:
    """One position to evaluate: `node` is its place in the tree, None inside the context."""

    token: int
    position: int
    sequences: tuple[int, ...]
    node: int | None


@dataclass(slots=True)
class Plan:
    """What to do before and in the evaluation of one tree."""

    copies: list[Copy] = field(default_factory=list)
    batch: list[BatchToken] = field(default_factory=list)
    residents: list[Resident] = field(default_factory=list)
    """The state of the touched sequences once the batch has been evaluated."""

    def lengths(self, evaluated: int) -> dict[int, int]:
        """Tokens of each touched sequence when the first `evaluated` of the batch have been evaluated."""
        found = {resident.number: len(resident) for resident in self.residents}
        for token in self.batch[evaluated:]:
            for number in token.sequences:
                found[number] -= 1
        return found


class SequenceTable:
    """The resident sequences. What the caller must empty in the cache is said by each method."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._residents: dict[int, Resident] = {}
        self._order: list[tuple[PathKey, int]] = []
        self.cells = 0
        """Cells that all sequences hold together."""
        self._clock = 0

    # -- what is resident -------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Sequence numbers that are not in use."""
        return self._size - len(self._residents)

    def own_cells(self, resident: Resident) -> int:
        """Cells that are freed when this sequence goes."""
        place = bisect_left(self._order, (resident.key, resident.number))
        neighbours = self._order[max(0, place - 1) : place] + self._order[place + 1 : place + 2]
        return len(resident) - max((shared_tokens(resident.key, key) for key, _ in neighbours), default=0)

    def closest(self, key: PathKey) -> tuple[int, Resident | None]:
        """How many leading tokens of the path are resident in one sequence, and which."""
        place = bisect_left(self._order, (key, -1))
        best, closest = 0, None
        for other, number in self._order[max(0, place - 1) : place + 1]:
            if (length := shared_tokens(key, other)) > best:
                best, closest = length, self._residents[number]
        return best, closest

    def _exactly(self, key: PathKey) -> Resident | None:
        """A sequence that holds this path and no more."""
        place = bisect_left(self._order, (key, -1))
        if place < len(self._order) and self._order[place][0] == key:
            return self._residents[self._order[place][1]]
        return None

    def _add(self, resident: Resident) -> None:
        resident.last_used = self._clock
        self._residents[resident.number] = resident
        insort(self._order, (resident.key, resident.number))
        self.cells += self.own_cells(resident)

    def _remove(self, number: int) -> Resident:
        resident = self._residents.pop(number)
        self.cells -= self.own_cells(resident)
        del self._order[bisect_left(self._order, (resident.key, number))]
        return resident

    # -- planning ---------------------------------------------------------------------------------

    def plan(self, context_key: PathKey, tree: TokenTree, wanted: Sequence[int]) -> Plan:
        """How to evaluate `tree` behind a context, reusing what is resident.

        `wanted` nodes (ROOT: the end of the context) are evaluated even if resident, for their logits.
        The table must have a free number for each leaf, see `free`. The touched sequences are out of the
        table until `commit` or `forget`.
        """
        leaves = tree.leaves or [ROOT]
        if len(leaves) > self.free:
            raise ValueError(f"{len(leaves)} leaves, {self.free} free sequences")
        context_tokens, wanted_nodes = len(context_key) // TOKEN_BYTES, set(wanted)
        plan, by_node = Plan(), dict[int, list[int]]()
        first_new, claimed = context_tokens, set[int]()
        for branch in map(tree.branch, leaves):
            key = context_key + path_key([tree.tokens[node] for node in branch])
            must_evaluate = _first_wanted(context_tokens, branch, wanted_nodes)
            match, closest = self.closest(key)
            reuse = min(match, must_evaluate)
            if reuse * TOKEN_BYTES == len(key):
                continue
            number = self._number_for(plan, key, reuse, closest, claimed)
            plan.residents.append(Resident(number, key))
            first_new = min(first_new, reuse)
            for node in branch[max(0, reuse - context_tokens) :]:
                by_node.setdefault(node, []).append(number)
        for resident in plan.residents:
            if resident.number in self._residents:
                self._remove(resident.number)
        _fill_batch(plan, context_key, tree, by_node, first_new)
        return plan

    def one_more(self, key: PathKey) -> Plan | None:
        """`plan` for a path all but whose last token is a sequence; None if there is no such sequence."""
        resident = self._exactly(key[:-TOKEN_BYTES]) if key[TOKEN_BYTES:] else None
        if resident is None:
            return None
        self._remove(resident.number)
        token, position = int.from_bytes(key[-TOKEN_BYTES:]), len(key) // TOKEN_BYTES - 1
        batch = [BatchToken(token, position, (resident.number,), None)]
        return Plan(batch=batch, residents=[Resident(resident.number, key)])

    def _number_for(
        self, plan: Plan, key: PathKey, reuse: int, closest: Resident | None, claimed: set[int]
    ) -> int:
        """A sequence number that holds exactly the first `reuse` tokens once the copies are done.

        A sequence that ends there is extended, one that is the whole path is cut; else cells are shared.
        """
        for held in (key[: reuse * TOKEN_BYTES], key) if reuse else ():
            resident = self._exactly(held)
            if resident and resident.number not in claimed:
                claimed.add(resident.number)
                if len(resident) > reuse:
                    plan.copies.append(Copy(resident.number, resident.number, reuse))
                return resident.number
        number = self._free_number(claimed)
        claimed.add(number)
        plan.copies.append(Copy(closest.number if closest and reuse else number, number, reuse))
        return number

    def _free_number(self, claimed: set[int]) -> int:
        return next(n for n in range(self._size) if n not in self._residents and n not in claimed)

    # -- changing ---------------------------------------------------------------------------------

    def commit(self, plan: Plan, evaluated: int) -> None:
        """Records that the copies and the first `evaluated` tokens of the batch were carried out."""
        self._clock += 1
        lengths = plan.lengths(evaluated)
        for resident in plan.residents:
            resident.key = resident.key[: lengths[resident.number] * TOKEN_BYTES]
            if resident.key:
                self._add(resident)

    def adopt(self, key: PathKey) -> int:
        """The number of a new sequence that holds this path, to be filled. One must be free."""
        number = self._free_number(set())
        self._add(Resident(number, key))
        return number

    def cut(self, number: int, length: int) -> None:
        """Keeps the first `length` tokens of a sequence."""
        resident = self._remove(number)
        resident.key = resident.key[: length * TOKEN_BYTES]
        self._add(resident)

    def oldest(self, spared: Resident | None = None) -> Resident | None:
        """The least recently used sequence but for the one that is `spared`."""
        others = (resident for resident in self._residents.values() if resident is not spared)
        return min(others, key=lambda resident: resident.last_used, default=None)

    def drop(self, number: int) -> None:
        """Gives up a sequence, to be emptied."""
        self._remove(number)


def _first_wanted(context_tokens: int, branch: Sequence[int], wanted: set[int]) -> int:
    """Position of the first wanted token on a path; its length if there is none."""
    if ROOT in wanted:
        return context_tokens - 1
    for depth, node in enumerate(branch):
        if node in wanted:
            return context_tokens + depth
    return context_tokens + len(branch)


def _fill_batch(
    plan: Plan, context_key: PathKey, tree: TokenTree, by_node: dict[int, list[int]], first_new: int
) -> None:
    everyone = tuple(resident.number for resident in plan.residents)
    new_context = np.frombuffer(context_key[first_new * TOKEN_BYTES :], ">u4").tolist()
    for position, token in enumerate(new_context, first_new):
        plan.batch.append(BatchToken(token, position, everyone, None))
    depth = {ROOT: len(context_key) // TOKEN_BYTES - 1}
    for node, parent in enumerate(tree.parents):
        depth[node] = depth[parent] + 1
    for node in sorted(by_node):
        plan.batch.append(BatchToken(tree.tokens[node], depth[node], tuple(by_node[node]), node))
