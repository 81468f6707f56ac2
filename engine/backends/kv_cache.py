"""What stays in the KV cache, what is parked beside it, and what goes.

The cache holds the paths of the document that is completed and little else, because attention reads it
up to its last used cell. A path that must make room is parked if it is long (`parking`), else given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.backends.parking import WORTH_PARKING, Parking, State
from engine.backends.sequences import TOKEN_BYTES, Plan, Resident, SequenceTable, path_key
from engine.tree import ROOT, TokenTree

PAGE_CELLS = 256
"""Attention reads the used part of the cache in whole pages of this many cells."""
LEEWAY_CELLS = 64
"""Room beside the path that is scored, for its trees and its last few branches."""


class CacheOperations(Protocol):
    """The numbered sequences of a real cache."""

    def remove(self, number: int, start: int) -> None:
        """Empties a sequence from position `start` on."""
        ...

    def share(self, source: int, target: int, length: int) -> None:
        """Gives `target` the first `length` cells of `source` too."""
        ...

    def state_bytes(self, number: int) -> int:
        """Size of what `save` returns."""
        ...

    def save(self, number: int) -> State:
        """The keys and values of a sequence."""
        ...

    def restore(self, number: int, state: State) -> bool:
        """Fills an empty sequence with what `save` returned; False if the cache has no room."""
        ...


class KvCache:
    """Decides which cells hold what; `operations` does it."""

    def __init__(
        self, operations: CacheOperations, *, cells: int, sequences: int, parking_bytes: int
    ) -> None:
        self._operations = operations
        self._cells = cells
        self.table = SequenceTable(sequences)
        self.parking = Parking(parking_bytes)

    def prepare(self, context: Sequence[int], tree: TokenTree, wanted: Sequence[int]) -> Plan:
        """Makes room and shares what is resident; returns what is left to evaluate.

        Follow it with `settle` or `forget`.
        """
        key = path_key(context)
        most_cells = self._pages(len(context) + tree.depth)
        goes_on = not len(tree) and list(wanted) == [ROOT] and self.table.cells < most_cells
        if goes_on and (plan := self.table.one_more(key)):
            return plan
        match, closest = self.table.closest(key)
        if self.parking.longest_match(key) >= match + WORTH_PARKING:
            match, closest = self._fetch(key, most_cells)
        new_cells = max(1, len(context) - match) + len(tree)
        self._make_room(new_cells, len(tree.leaves) or 1, most_cells, closest)
        if closest and len(closest) > match and self.table.cells + new_cells > most_cells:
            self._park(closest)
            self._cut(closest.number, match)
        plan = self.table.plan(key, tree, wanted)
        for copy in plan.copies:
            if copy.source == copy.target:
                self._operations.remove(copy.target, copy.length)
            else:
                self._operations.remove(copy.target, 0)
                self._operations.share(copy.source, copy.target, copy.length)
        return plan

    def settle(self, plan: Plan, evaluated: int) -> None:
        """Records that the first `evaluated` tokens of a plan's batch are resident, and no more."""
        if evaluated < len(plan.batch):
            for number, length in plan.lengths(evaluated).items():
                self._operations.remove(number, length)
        self.table.commit(plan, evaluated)

    def forget(self, plan: Plan) -> None:
        """Gives up all that a failed plan has touched."""
        for resident in plan.residents:
            self._operations.remove(resident.number, 0)

    def give_up_oldest(self, spared: Resident | None = None) -> bool:
        """Parks or drops the least recently used sequence. False if there is none."""
        if (oldest := self.table.oldest(spared)) is None:
            return False
        if self.table.own_cells(oldest) >= WORTH_PARKING:
            self._park(oldest)
        self.table.drop(oldest.number)
        self._operations.remove(oldest.number, 0)
        return True

    def _pages(self, path_tokens: int) -> int:
        """Cells that may be in use while a path of this length is scored."""
        pages = -(-(path_tokens + LEEWAY_CELLS) // PAGE_CELLS)
        return min(pages * PAGE_CELLS, self._cells)

    def _make_room(self, new_cells: int, sequences: int, most_cells: int, spared: Resident | None) -> None:
        while self.table.free < sequences or self.table.cells + new_cells > most_cells:
            if not self.give_up_oldest(spared):
                break

    def _park(self, resident: Resident) -> None:
        if self.parking.holds(resident.key):
            return
        if self.parking.room_for(self._operations.state_bytes(resident.number)):
            self.parking.park(resident.key, self._operations.save(resident.number))

    def _fetch(self, key: bytes, most_cells: int) -> tuple[int, Resident | None]:
        """Brings the best parked path back. It gets the first cells, so the others must go before."""
        parked, state = self.parking.fetch(key)
        length = len(parked) // TOKEN_BYTES
        self._make_room(length, 1, max(length, most_cells), None)
        number = self.table.adopt(parked)
        if not self._operations.restore(number, state):
            self.table.drop(number)
            return self.table.closest(key)
        match, resident = self.table.closest(key)
        if resident and len(resident) - match >= WORTH_PARKING:
            self._cut(resident.number, match)
        return match, resident

    def _cut(self, number: int, length: int) -> None:
        self.table.cut(number, length)
        self._operations.remove(number, length)
