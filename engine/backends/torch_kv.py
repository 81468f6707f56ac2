"""Preallocated keys and values of a torch model, by layer and cell. Imported only when a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

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

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor) -> None:
        """Puts `keys` and `values`, (heads, tokens, dim), into `cells` (tokens,)."""
        ...

    def read(self, layer: int, used: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `used` cells, (heads, used, dim) each."""
        ...

    @property
    def cell_bytes(self) -> int:
        """Memory of one cell over all layers."""
        ...

    def save(self, cells: Tensor) -> State:
        """What `restore` needs to fill as many cells with the same bits."""
        ...

    def restore(self, cells: Tensor, state: State) -> None:
        """Fills `cells` with what `save` returned."""
        ...


class StaticKv:
    """Keys and values as they are, in one buffer each per layer."""

    def __init__(self, shapes: Sequence[LayerShape], cells: int, dtype: Any, device: Any) -> None:
        """Allocates everything. There is at least one spare cell at the end: see `spare_cell`."""
        self.cells = -(-(cells + 1) // PAGE_CELLS) * PAGE_CELLS
        self._keys = [torch.zeros(s.heads, self.cells, s.key_dim, dtype=dtype, device=device) for s in shapes]
        self._values = [
            torch.zeros(s.heads, self.cells, s.value_dim, dtype=dtype, device=device) for s in shapes
        ]

    @property
    def spare_cell(self) -> int:
        """A cell that no path holds."""
        return self.cells - 1

    @property
    def cell_bytes(self) -> int:
        """See `KvStore`."""
        return sum(part[:, 0].numel() * part.element_size() for part in (*self._keys, *self._values))

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `KvStore`."""
        self._keys[layer].index_copy_(1, cells, keys.to(self._keys[layer].dtype))
        self._values[layer].index_copy_(1, cells, values.to(self._values[layer].dtype))

    def read(self, layer: int, used: int) -> tuple[Tensor, Tensor]:
        """See `KvStore`; views, nothing is copied."""
        return self._keys[layer][:, :used], self._values[layer][:, :used]

    def save(self, cells: Tensor) -> State:
        """See `KvStore`."""
        parts = [part.index_select(1, cells) for part in (*self._keys, *self._values)]
        flat = torch.cat([part.reshape(-1).view(torch.uint8) for part in parts])
        state: State = flat.cpu().numpy()
        return state

    def restore(self, cells: Tensor, state: State) -> None:
        """See `KvStore`."""
        start, raw = 0, torch.from_numpy(np.ascontiguousarray(state))
        for part in (*self._keys, *self._values):
            shape = (part.shape[0], len(cells), part.shape[2])
            size = shape[0] * shape[1] * shape[2] * part.element_size()
            values = raw[start : start + size].clone().view(part.dtype).view(shape)
            part.index_copy_(1, cells, values.to(part.device))
            start += size
