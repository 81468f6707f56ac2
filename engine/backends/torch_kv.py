"""Preallocated keys and values of a torch model, by layer and cell. Imported only when a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from engine.backends.cells import CellArray
from engine.backends.parking import State

Tensor = Any
"""A torch.Tensor; torch has no types here unless the extra is installed."""
PAGE_CELLS = 64
"""Attention reads whole pages, so that the shapes it sees are few."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer keeps of a token."""

    heads: int
    key_dim: int
    value_dim: int


class KvStore(Protocol):
    """Where attention finds keys and values."""

    def prepare(self, cells: CellArray) -> int:
        """Gets ready to write the first so many of the `cells`, at least one, in every layer."""
        ...

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor) -> None:
        """Puts `keys` and `values`, (heads, tokens, dim), into `cells` (tokens,)."""
        ...

    def read(self, layer: int, used: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `used` cells, (heads, used, dim) each; whole pages."""
        ...

    @property
    def cell_bytes(self) -> int:
        """What `save` returns for one cell."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory of all cells."""
        ...

    def save(self, cells: CellArray) -> State:
        """What `restore` needs to fill as many cells with the same numbers."""
        ...

    def restore(self, cells: CellArray, state: State) -> None:
        """Fills `cells` with what `save` returned."""
        ...


class StaticKv:
    """Keys and values as they are, in one buffer each per layer."""

    def __init__(self, shapes: Sequence[LayerShape], cells: int, dtype: Any, device: Any) -> None:
        """Allocates whole pages, with at least one cell more than `cells`."""
        self.cells = -(-(cells + 1) // PAGE_CELLS) * PAGE_CELLS
        self._keys = [torch.zeros(s.heads, self.cells, s.key_dim, dtype=dtype, device=device) for s in shapes]
        self._values = [
            torch.zeros(s.heads, self.cells, s.value_dim, dtype=dtype, device=device) for s in shapes
        ]

    @property
    def _parts(self) -> list[Tensor]:
        return [*self._keys, *self._values]

    @property
    def cell_bytes(self) -> int:
        """See `KvStore`."""
        return self.nbytes // self.cells

    @property
    def nbytes(self) -> int:
        """See `KvStore`."""
        return sum(part.numel() * part.element_size() for part in self._parts)

    def prepare(self, cells: CellArray) -> int:
        """See `KvStore`; any cell can be written at any time."""
        return len(cells)

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `KvStore`."""
        self._keys[layer].index_copy_(1, cells, keys.to(self._keys[layer].dtype))
        self._values[layer].index_copy_(1, cells, values.to(self._values[layer].dtype))

    def read(self, layer: int, used: int) -> tuple[Tensor, Tensor]:
        """See `KvStore`; views, nothing is copied."""
        return self.read_at(layer, 0, used)

    def read_at(self, layer: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Keys and values of `count` cells from `start` on; views."""
        here = slice(start, start + count)
        return self._keys[layer][:, here], self._values[layer][:, here]

    def save(self, cells: CellArray) -> State:
        """See `KvStore`."""
        index = torch.from_numpy(cells).to(self._keys[0].device)
        return self.state_of([part.index_select(1, index) for part in self._parts])

    def restore(self, cells: CellArray, state: State) -> None:
        """See `KvStore`."""
        index = torch.from_numpy(cells).to(self._keys[0].device)
        for part, numbers in zip(self._parts, self.parts_of(state, len(cells)), strict=True):
            part.index_copy_(1, index, numbers)

    def state_of(self, parts: Sequence[Tensor]) -> State:
        """The bytes of keys by layer and values by layer, in the dtype of this store."""
        flat = [part.to(self._keys[0].dtype).reshape(-1).view(torch.uint8) for part in parts]
        state: State = torch.cat(flat).cpu().numpy()
        return state

    def parts_of(self, state: State, cells: int) -> list[Tensor]:
        """The inverse of `state_of`: (heads, cells, dim) each."""
        start, found, raw = 0, [], torch.from_numpy(np.ascontiguousarray(state))
        for part in self._parts:
            shape = (part.shape[0], cells, part.shape[2])
            size = part.element_size() * part.shape[0] * cells * part.shape[2]
            numbers = raw[start : start + size].clone().view(part.dtype).view(shape)
            found.append(numbers.to(part.device))
            start += size
        return found
