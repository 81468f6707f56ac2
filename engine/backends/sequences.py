"""Which token paths are resident in a KV cache that is shared by numbered sequences.

A *sequence* is a path of tokens whose keys and values are in the cache; two sequences may share the
cells of a common prefix. Planning is pure: the table says what to copy, what to evaluate and under which
sequence numbers, and the backend carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.tree import TokenTree
from engine.vocab import IntArray


@dataclass(slots=True)
class Resident:
    """One sequence: its number in the cache, its tokens, and when it was last used."""

    number: int
    tokens: IntArray
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """Share the first `length` cells of sequence `source` with `target`, which is emptied first."""

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


class SequenceTable:
    """The resident sequences, least recently used first to go."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._residents: dict[int, Resident] = {}
        self._clock = 0

    def plan(self, context: Sequence[int], tree: TokenTree, must_evaluate: Sequence[bool]) -> Plan:
        """How to evaluate `tree` behind `context`, reusing what is resident.

        `must_evaluate` has len(context) + len(tree) entries: positions whose logits are wanted are
        evaluated even if resident. Raises ValueError if the tree has more leaves than sequences.
        """
        plan = Plan()
        by_node: dict[int, list[int]] = {}
        leaves = tree.leaves() or [-1]
        if len(leaves) > self._size:
            raise ValueError(f"{len(leaves)} leaves, at most {self._size} sequences")
        first_new = len(context)
        claimed: set[int] = set()
        for leaf in leaves:
            branch = tree.branch(leaf)
            path = np.array([*context, *(tree.tokens[n] for n in branch)], dtype=np.int64)
            wanted = [*must_evaluate[: len(context)], *(must_evaluate[len(context) + n] for n in branch)]
            reuse, source = self._longest_match(path, limit=_first_true(wanted))
            if reuse == len(path):
                continue
            number = self._take(plan, source, reuse, claimed)
            plan.residents.append(Resident(number, path))
            first_new = min(first_new, reuse)
            for node in branch[max(0, reuse - len(context)) :]:
                by_node.setdefault(node, []).append(number)
        self._fill_batch(plan, context, tree, by_node, first_new)
        return plan

    def _fill_batch(
        self,
        plan: Plan,
        context: Sequence[int],
        tree: TokenTree,
        by_node: dict[int, list[int]],
        first_new: int,
    ) -> None:
        everyone = tuple(r.number for r in plan.residents)
        plan.batch += [
            BatchToken(context[position], position, everyone, None)
            for position in range(first_new, len(context))
        ]
        for node in sorted(by_node):
            depth = len(context) + len(tree.branch(node)) - 1
            plan.batch.append(BatchToken(tree.tokens[node], depth, tuple(by_node[node]), node))

    def commit(self, plan: Plan, evaluated: int) -> None:
        """Records that the copies and the first `evaluated` tokens of the batch have been carried out."""
        self._clock += 1
        missing: dict[int, int] = {}
        for token in plan.batch[evaluated:]:
            for number in token.sequences:
                missing[number] = missing.get(number, 0) + 1
        for resident in plan.residents:
            length = len(resident.tokens) - missing.get(resident.number, 0)
            resident.tokens = resident.tokens[:length]
            resident.last_used = self._clock
            self._residents[resident.number] = resident

    def forget(self, plan: Plan) -> list[int]:
        """Drops the sequences a failed plan had touched; returns their numbers, to be emptied."""
        numbers = [resident.number for resident in plan.residents]
        for number in numbers:
            self._residents.pop(number, None)
        return numbers

    def evict_oldest(self, keep: Plan) -> int | None:
        """Drops the least recently used sequence that `keep` does not need; None if there is none.

        What `keep` has copied is shared by then, so its sources may go.
        """
        needed = {r.number for r in keep.residents}
        candidates = [r for r in self._residents.values() if r.number not in needed]
        if not candidates:
            return None
        oldest = min(candidates, key=lambda r: r.last_used)
        del self._residents[oldest.number]
        return oldest.number

    def _longest_match(self, path: IntArray, limit: int) -> tuple[int, Resident | None]:
        best, source = 0, None
        for resident in self._residents.values():
            length = min(_match_length(resident.tokens, path), limit)
            if length > best or (length == best and source and len(resident.tokens) == length > 0):
                best, source = length, resident
        return best, source

    def _take(self, plan: Plan, source: Resident | None, reuse: int, claimed: set[int]) -> int:
        """A sequence number that holds exactly the first `reuse` tokens once the copies are done."""
        if source and len(source.tokens) == reuse and source.number not in claimed:
            claimed.add(source.number)
            return source.number
        sources = {copy.source for copy in plan.copies} | ({source.number} if source else set())
        free = set(range(self._size)) - self._residents.keys() - claimed
        if free:
            number = min(free)
        else:
            idle = [r for r in self._residents.values() if r.number not in claimed | sources]
            number = min(idle, key=lambda r: r.last_used).number
            del self._residents[number]
        claimed.add(number)
        plan.copies.append(Copy(source.number if source else number, number, reuse))
        return number


def _first_true(flags: Sequence[bool]) -> int:
    return next((index for index, flag in enumerate(flags) if flag), len(flags))


def _match_length(a: IntArray, b: IntArray) -> int:
    """Number of equal leading entries."""
    size = min(len(a), len(b))
    different = np.flatnonzero(a[:size] != b[:size])
    return int(different[0]) if len(different) else size
