"""The cells of a static KV cache, and which token path holds which of them. Pure.

A *cell* is one place for the keys and values of one token. `seen[number, cell]` is the position that the
token in a cell has in a sequence, UNSEEN if the sequence does not hold it. A token at position p attends to
exactly the cells with `seen <= p` in its sequence, so sharing a beginning, cutting a path and branching are
changes of this table: keys and values are written once and never moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.backends.sequences import BatchToken

CellArray = npt.NDArray[np.int64]
SeenArray = npt.NDArray[np.int32]
UNSEEN = np.int32(2**30)
"""Above every position."""


class Cells:
    """Which of `cells` cells the paths of `sequences` numbered sequences hold."""

    def __init__(self, cells: int, sequences: int) -> None:
        self.seen: SeenArray = np.full((sequences, cells), UNSEEN, dtype=np.int32)
        self._holders: SeenArray = np.zeros(cells, dtype=np.int32)

    @property
    def in_use(self) -> int:
        """Cells up to the last one that is held."""
        held = np.flatnonzero(self._holders)
        return int(held[-1]) + 1 if held.size else 0

    def visible_to(self, numbers: Sequence[int] | CellArray, used: int) -> SeenArray:
        """(numbers, used): the rows of these sequences, filled up with UNSEEN beyond the cells there are."""
        rows = np.full((len(numbers), used), UNSEEN, dtype=np.int32)
        width = min(used, self.seen.shape[1])
        rows[:, :width] = self.seen[numbers, :width]
        return rows

    def place(self, tokens: Sequence[BatchToken]) -> CellArray | None:
        """A cell for each token, (tokens,), held by its sequences from now on. None if there is no room."""
        cells = self._free(len(tokens))
        if cells is not None:
            for cell, token in zip(cells.tolist(), tokens, strict=True):
                self.seen[list(token.sequences), cell] = token.position
                self._holders[cell] = len(token.sequences)
        return cells

    def fill(self, number: int, length: int) -> CellArray | None:
        """Free cells for an empty sequence of this length, by position. None if there is no room."""
        cells = self._free(length)
        if cells is not None:
            self.seen[number, cells] = np.arange(length)
            self._holders[cells] = 1
        return cells

    def _free(self, count: int) -> CellArray | None:
        """The first `count` free cells, None if there are fewer."""
        cells = np.flatnonzero(self._holders == 0)[:count]
        return cells if len(cells) == count else None

    def held(self, number: int) -> CellArray:
        """The cells of a sequence, by position."""
        cells = np.flatnonzero(self.seen[number] != UNSEEN)
        return cells[np.argsort(self.seen[number, cells])]

    def remove(self, number: int, start: int) -> None:
        """Empties a sequence from position `start` on."""
        row = self.seen[number]
        gone = (row >= start) & (row != UNSEEN)
        self._holders -= gone
        row[gone] = UNSEEN

    def share(self, source: int, target: int, length: int) -> None:
        """Gives the empty sequence `target` the first `length` cells of `source` too."""
        row = self.seen[source]
        shared = row < length
        self._holders += shared
        self.seen[target] = np.where(shared, row, UNSEEN)
