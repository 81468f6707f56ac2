"""Documents that are not being completed: their keys and values, out of the cache and ready to go back.

Attention reads the cache up to its last used cell, whichever path a cell belongs to, so every resident
document slows down the one that is completed. Parked ones cost memory only; going back takes
milliseconds, evaluating them again seconds (docs/decisions/0006-parked-documents.md).
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from engine.backends.sequences import TOKEN_BYTES, PathKey, shared_tokens

WORTH_PARKING = 64
"""A path is parked, or fetched back, for the sake of at least this many tokens."""

State = npt.NDArray[np.uint8]
"""What the backend saved of one sequence."""


class Parking:
    """Saved paths within a budget of bytes, least recently used first to go."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._states: OrderedDict[PathKey, State] = OrderedDict()

    @property
    def used_bytes(self) -> int:
        """What the saved states take."""
        return sum(state.nbytes for state in self._states.values())

    def room_for(self, state_bytes: int) -> bool:
        """Whether a state of this size can be parked at all."""
        return state_bytes <= self._budget_bytes

    def holds(self, key: PathKey) -> bool:
        """Whether nearly all of this path is parked already; it then counts as used."""
        for parked in self._states:
            if shared_tokens(parked, key) * TOKEN_BYTES > len(key) - WORTH_PARKING * TOKEN_BYTES:
                self._states.move_to_end(parked)
                return True
        return False

    def park(self, key: PathKey, state: State) -> None:
        """Keeps a saved path; gives up those it nearly contains, then the oldest beyond the budget."""
        for parked in list(self._states):
            if shared_tokens(parked, key) * TOKEN_BYTES > len(parked) - WORTH_PARKING * TOKEN_BYTES:
                del self._states[parked]
        self._states[key] = state
        while self.used_bytes > self._budget_bytes:
            self._states.popitem(last=False)

    def longest_match(self, key: PathKey) -> int:
        """How many leading tokens of the path are parked."""
        return max((shared_tokens(parked, key) for parked in self._states), default=0)

    def fetch(self, key: PathKey) -> tuple[PathKey, State]:
        """The parked path that shares most with `key`. It stays unless `key` uses nearly all of it."""
        parked = max(self._states, key=lambda other: shared_tokens(other, key))
        self._states.move_to_end(parked)
        state = self._states[parked]
        if shared_tokens(parked, key) * TOKEN_BYTES > len(parked) - WORTH_PARKING * TOKEN_BYTES:
            del self._states[parked]
        return parked, state
