"""A KV cache of cells for tests of what decides about one. Refuses what llama.cpp would get wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.backends.parking import State
from engine.backends.sequences import Plan, path_key
from engine.tree import TokenPath

CELL_BYTES = 16


@dataclass
class SimulatedCache:
    """Implements `kv_cache.CacheOperations`; new cells take the first free places."""

    size: int
    cells: dict[int, TokenPath] = field(default_factory=dict)
    """Place → the path up to that position."""
    sequences: dict[int, list[int]] = field(default_factory=dict)
    """Number → the places of its positions, in order."""
    evaluated: list[TokenPath] = field(default_factory=list)
    """Paths of all evaluated positions, in order."""

    def path(self, number: int) -> TokenPath:
        """The tokens of a sequence."""
        places = self.sequences.get(number)
        return self.cells[places[-1]] if places else ()

    @property
    def last_used(self) -> int:
        """Attention reads up to here."""
        return max(self.cells, default=-1) + 1

    def _insert(self, path: TokenPath, numbers: Iterable[int]) -> bool:
        place = next((place for place in range(self.size) if place not in self.cells), None)
        if place is not None:
            self.cells[place] = path
            for number in numbers:
                self.sequences.setdefault(number, []).append(place)
        return place is not None

    def remove(self, number: int, start: int) -> None:
        removed = self.sequences.get(number, [])[start:]
        self.sequences[number] = self.sequences.get(number, [])[:start]
        used = {place for places in self.sequences.values() for place in places}
        for place in removed:
            if place not in used:
                del self.cells[place]

    def share(self, source: int, target: int, length: int) -> None:
        assert not self.path(target), "the target was not emptied"
        assert len(self.path(source)) >= length, "a copy of cells that are not there"
        self.sequences[target] = self.sequences[source][:length]

    def state_bytes(self, number: int) -> int:
        return CELL_BYTES * len(self.path(number))

    def save(self, number: int) -> State:
        path = self.path(number)
        return np.frombuffer(path_key(path).ljust(CELL_BYTES * len(path), b"\0"), np.uint8)

    def restore(self, number: int, state: State) -> bool:
        assert not self.path(number)
        count = state.nbytes // CELL_BYTES
        tokens = np.frombuffer(state.tobytes()[: 4 * count], ">u4").tolist()
        return all(self._insert(tuple(tokens[: k + 1]), [number]) for k in range(count))

    def evaluate(self, plan: Plan, most: int | None = None) -> None:
        """The first `most` tokens of the batch."""
        for token in plan.batch[:most]:
            assert token.sequences
            before = {self.path(number) for number in token.sequences}
            assert len(before) == 1, "sequences that share a new cell must agree before it"
            path = (*before.pop(), token.token)
            assert len(path) == token.position + 1, "positions must be contiguous"
            assert self._insert(path, token.sequences), "the cache is full"
            self.evaluated.append(path)
