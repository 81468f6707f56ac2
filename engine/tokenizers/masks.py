"""Masks by context: those used last as they are, a bit a token for the many before them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from engine.vocab import BoolArray

Key = TypeVar("Key", bound=Hashable)

PACKED_BYTES = 8 * 2**20
NEAR_BYTES = 3 * 2**20


class MaskCache(Generic[Key]):
    """`function` by its argument, computed once as long as the mask is kept; the least recently used go.

    A mask of 49,152 tokens takes 6 KB where it waits. What is returned may not be changed.
    """

    def __init__(
        self, function: Callable[[Key], BoolArray], packed: int = PACKED_BYTES, near: int = NEAR_BYTES
    ) -> None:
        """`function` gives one-dimensional masks, of which `packed` and `near` bytes are kept."""
        self._function, self._packed_bytes, self._near_bytes = function, packed, near
        self._near: OrderedDict[Key, BoolArray] = OrderedDict()
        self._packed: OrderedDict[Key, tuple[int, npt.NDArray[np.uint8]]] = OrderedDict()
        self.misses = 0
        """Masks that had to be computed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return MaskCache, (self._function, self._packed_bytes, self._near_bytes)

    def __call__(self, key: Key) -> BoolArray:
        """The mask of `key`."""
        if (mask := self._near.get(key)) is not None:
            self._near.move_to_end(key)
            return mask
        if (packed := self._packed.get(key)) is not None:
            self._packed.move_to_end(key)
            mask = np.unpackbits(packed[1], count=packed[0]).view(np.bool_)
        else:
            self.misses += 1
            mask = self._function(key)
            self._packed[key] = len(mask), np.packbits(mask)
            if len(self._packed) * len(mask) > 8 * self._packed_bytes:
                self._packed.popitem(last=False)
        self._near[key] = mask
        if len(self._near) * len(mask) > self._near_bytes:
            self._near.popitem(last=False)
        return mask
