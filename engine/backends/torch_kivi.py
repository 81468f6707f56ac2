"""Keys and values of 2 or 4 bits, after KIVI (Liu et al. 2024, arXiv 2402.02750).

Keys have outliers in few channels, values do not. So a key is rounded within its channel, over a page of
PAGE neighbouring cells; a value within its cell, over PAGE neighbouring channels. Each such group of
b-bit numbers has a least value and a step: x ≈ least + step · q with q = round((x − least) / step) and
step = (greatest − least) / (2ᵇ − 1), so no number is off by more than half a step.

Pages that were written lately stay as they are, in a pool of *open* pages; when the pool is full, the
page that was written longest ago is closed, that is rounded. A closed page that is written to again (its
cells went to another path) is opened again. Reading gives full numbers, so this saves memory and costs
time.

Imported only when a model is opened.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.backends.cells import CellArray
from engine.backends.parking import State
from engine.backends.torch_kv import PAGE_CELLS, LayerShape, StaticKv, Tensor
from engine.errors import ModelUnsupported

PAGE = 32
"""Cells that are rounded together."""
RECENT_CELLS = 128
"""At least so many of the cells that were written last are as they were."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers rounded along the second to last axis: `codes` (…, groups, size · bits / 8, n) uint8, `least`
    and `step` (…, groups, 1, n) float16."""

    codes: Tensor
    least: Tensor
    step: Tensor


def pack(numbers: Tensor, bits: int) -> Packed:
    """Rounds `numbers` (…, groups, size, n) to `bits` each within a group, over the axis `size`."""
    full = numbers.float()
    least = full.amin(dim=-2, keepdim=True).half()
    step = ((full.amax(dim=-2, keepdim=True) - least.float()) / (2**bits - 1)).half().clamp_min(1e-6)
    codes = ((full - least.float()) / step.float()).round().clamp(0, 2**bits - 1).to(torch.uint8)
    size = codes.shape[-2] * bits // 8
    parts = [codes[..., k * size : (k + 1) * size, :] << (k * bits) for k in range(8 // bits)]
    return Packed(sum(parts[1:], parts[0]), least, step)


def unpack(packed: Packed, bits: int) -> Tensor:
    """(…, groups, size, n) float32."""
    mask = 2**bits - 1
    codes = torch.cat([(packed.codes >> (k * bits)) & mask for k in range(8 // bits)], dim=-2)
    return packed.least.float() + packed.step.float() * codes


class _Closed:
    """The closed pages of one kind in one layer: (pages, heads, groups, size, n) numbers, packed."""

    def __init__(self, pages: int, shape: Sequence[int], bits: int, device: Any) -> None:
        *outer, size, n = shape
        self._bits = bits
        self._codes = torch.zeros(pages, *outer, size * bits // 8, n, dtype=torch.uint8, device=device)
        self._least = torch.zeros(pages, *outer, 1, n, dtype=torch.float16, device=device)
        self._step = torch.zeros(pages, *outer, 1, n, dtype=torch.float16, device=device)

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in (self._codes, self._least, self._step))

    def put(self, page: int, numbers: Tensor) -> None:
        packed = pack(numbers, self._bits)
        self._codes[page], self._least[page], self._step[page] = packed.codes, packed.least, packed.step

    def get(self, pages: slice) -> Tensor:
        return unpack(Packed(self._codes[pages], self._least[pages], self._step[pages]), self._bits)


class KiviKv:
    """Implements `torch_kv.KvStore`."""

    def __init__(
        self, shapes: Sequence[LayerShape], cells: int, most_written: int, bits: int, dtype: Any, device: Any
    ) -> None:
        """Allocates everything; up to `most_written` neighbouring cells can be written at once.

        Raises ModelUnsupported if the heads cannot be cut into groups.
        """
        if any(shape.value_dim % PAGE for shape in shapes):
            raise ModelUnsupported(
                f"values of {bits} bits need heads whose width is a multiple of {PAGE}; choose another --kv"
            )
        self._pages = -(-cells // PAGE_CELLS) * PAGE_CELLS // PAGE
        self._open_pages = min(self._pages, most_written // PAGE + 2 + RECENT_CELLS // PAGE)
        self._pool = StaticKv(shapes, self._open_pages * PAGE - 1, dtype, device)
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._free = list(range(self._open_pages))
        self._places = torch.zeros(0)
        self._device, self._shapes = device, shapes
        self._keys = [_Closed(self._pages, (s.heads, 1, PAGE, s.key_dim), bits, device) for s in shapes]
        self._values = [
            _Closed(self._pages, (s.heads, s.value_dim // PAGE, PAGE, PAGE), bits, device) for s in shapes
        ]

    @property
    def cell_bytes(self) -> int:
        """See `KvStore`: parked cells are full numbers."""
        return self._pool.cell_bytes

    @property
    def nbytes(self) -> int:
        """See `KvStore`."""
        return self._pool.nbytes + sum(part.nbytes for part in (*self._keys, *self._values))

    # -- pages ------------------------------------------------------------------------------------

    def prepare(self, cells: CellArray) -> int:
        """See `KvStore`: opens pages for as many of the `cells` as the pool holds, and closes others."""
        pages, count = dict[int, None](), 0
        for page in (cells // PAGE).tolist():
            if page not in pages and len(pages) == self._open_pages:
                break
            pages[page] = None
            count += 1
        for page in pages:
            if page in self._slots:
                self._slots.move_to_end(page)
        for page in pages:
            if page not in self._slots:
                if not self._free:
                    self._close(next(iter(self._slots)))
                self._open(page, self._free.pop(0))
        places = [self._slots[cell // PAGE] * PAGE + cell % PAGE for cell in cells[:count].tolist()]
        self._places = torch.tensor(places, dtype=torch.int64, device=self._device)
        return count

    def _close(self, page: int) -> None:
        slot = self._slots.pop(page)
        for layer in range(len(self._shapes)):
            keys, values = self._pool.read_at(layer, slot * PAGE, PAGE)
            self._keys[layer].put(page, keys[:, None])
            self._values[layer].put(page, _by_channel_group(values))
        self._free.append(slot)

    def _open(self, page: int, slot: int) -> None:
        for layer in range(len(self._shapes)):
            keys, values = self._closed(layer, slice(page, page + 1))
            places = torch.arange(slot * PAGE, (slot + 1) * PAGE, device=self._device)
            self._pool.write(layer, places, keys, values)
        self._slots[page] = slot

    def _closed(self, layer: int, pages: slice) -> tuple[Tensor, Tensor]:
        """Keys and values of closed `pages`, (heads, cells, dim)."""
        keys = self._keys[layer].get(pages)[:, :, 0].transpose(0, 1)
        values = self._values[layer].get(pages).permute(1, 0, 4, 2, 3)
        return keys.flatten(1, 2), values.flatten(3, 4).flatten(1, 2)

    # -- contents ---------------------------------------------------------------------------------

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `KvStore`. The `cells` are those of the last `prepare`."""
        self._pool.write(layer, self._places, keys, values)

    def read(self, layer: int, used: int) -> tuple[Tensor, Tensor]:
        """See `KvStore`: copies, closed pages as numbers again."""
        keys, values = self._closed(layer, slice(0, used // PAGE))
        for page, slot in self._slots.items():
            if page < used // PAGE:
                here = slice(page * PAGE, (page + 1) * PAGE)
                keys[:, here], values[:, here] = self._pool.read_at(layer, slot * PAGE, PAGE)
        return keys, values

    def save(self, cells: CellArray) -> State:
        """See `KvStore`, with the rounding that closed pages have by now."""
        used = (int(cells.max()) // PAGE + 1) * PAGE
        index = torch.from_numpy(cells).to(self._device)
        both = [self.read(layer, used) for layer in range(len(self._shapes))]
        keys, values = ([part[k].index_select(1, index) for part in both] for k in (0, 1))
        return self._pool.state_of(keys + values)

    def restore(self, cells: CellArray, state: State) -> None:
        """See `KvStore`. In parts, as the pool holds few open pages."""
        parts = self._pool.parts_of(state, len(cells))
        layers = len(self._shapes)
        start = 0
        while start < len(cells):
            end = start + self.prepare(cells[start:])
            for layer in range(layers):
                keys, values = parts[layer][:, start:end], parts[layers + layer][:, start:end]
                self._pool.write(layer, self._places, keys, values)
            start = end


def _by_channel_group(values: Tensor) -> Tensor:
    """(heads, PAGE cells, dim) → (heads, groups, PAGE channels, cells), to be rounded over the channels."""
    heads, cells, dim = values.shape
    return values.reshape(heads, cells, dim // PAGE, PAGE).permute(0, 2, 3, 1)
