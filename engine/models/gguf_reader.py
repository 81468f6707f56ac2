"""The pieces of a GGUF file, one method each. Every length is checked before it is used, so a damaged
file ends in `ModelCorrupt` and never in a huge allocation."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from engine.errors import ModelCorrupt

VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_MAX_DIMENSIONS = 4

# value type → numpy dtype
_DTYPES = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4",
    6: "<f4", _BOOL: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip

# the same as single numbers: numpy takes a tenth of a second to import
_NUMBERS = {
    "<u1": "B", "<i1": "b", "<u2": "<H", "<i2": "<h", "<u4": "<I", "<i4": "<i",
    "<f4": "<f", "?": "?", "<u8": "<Q", "<i8": "<q", "<f8": "<d",
}  # fmt: skip

# tensor type → (name, values per block, bytes per block)
_TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table."""

    name: str
    type: str
    """Such as `Q8_0`; `type-N` for a number this reader does not know."""
    shape: tuple[int, ...]
    offset_bytes: int
    """From the start of the weights."""
    size_bytes: int
    """0 if the type is unknown."""


class Reader:
    """A position in the mapped file; each method reads one thing and moves past it."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self.path, self.view, self.size = path, view, len(view)
        self.version, self.tensor_count, self.pair_count = struct.unpack_from("<IQQ", view, 4)
        self.position = 24
        if self.version not in VERSIONS:
            raise self.corrupt(f"GGUF version {self.version} found, 2 or 3 expected")

    def corrupt(self, found: str) -> ModelCorrupt:
        """The error that says what was found."""
        return ModelCorrupt(f"{self.path} is damaged: {found}; fetch it again")

    def take(self, count: int) -> int:
        """Where the next `count` bytes start; ModelCorrupt if the file ends before they do."""
        start = self.position
        if start + count > self.size:
            raise self.corrupt(
                f"the header reaches byte {start + count:,} or further, but the file ends at {self.size:,}"
            )
        self.position = start + count
        return start

    def number(self, dtype: str = "<u8") -> Any:
        """The next number, of a type as numpy names it. Raises as `take`."""
        form = _NUMBERS[dtype]
        return struct.unpack_from(form, self.view, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        """The next string; bytes that are no UTF-8 become lone surrogates. Raises as `take`."""
        length = self.number()
        return str(self.view[self.take(length) : self.position], "utf-8", "surrogateescape")

    def metadata(self) -> dict[str, Any]:
        """The pairs of the header, which begin here. Raises ModelCorrupt."""
        if self.pair_count * 12 > self.size:
            raise self.corrupt(f"it announces {self.pair_count:,} metadata keys")
        pairs: dict[str, Any] = {}
        for _ in range(self.pair_count):
            key = self.string()
            pairs[key] = self.value(self.number("<u4"), key)
        return pairs

    def value(self, kind: int, key: str) -> Any:
        """The next value, of one of the types of GGUF; `key` is for errors. Raises ModelCorrupt."""
        if kind in _DTYPES:
            return self.number(_DTYPES[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(self.number("<u4"), self.number(), key)
        raise self.corrupt(f"the value of {key!r} has unknown type {kind}")

    def array(self, kind: int, count: int, key: str) -> Any:
        """The next array: (count,) numbers, or a list of strings. Raises ModelCorrupt."""
        if kind == _STRING:
            return self.strings(count)
        if kind not in _DTYPES:
            raise self.corrupt(f"the array {key!r} has elements of unsupported type {kind}")
        import numpy as np

        dtype = np.dtype(_DTYPES[kind])
        start = self.take(count * dtype.itemsize)
        return np.frombuffer(self.view[start : self.position], dtype)

    def strings(self, count: int) -> list[str]:
        """Written as one flat loop: vocabularies have 50,000 to 300,000 of them."""
        view, position, size = self.view, self.position, self.size
        if count * 8 > size - position:
            raise self.corrupt(f"it announces an array of {count:,} strings")
        length_at = struct.Struct("<Q").unpack_from
        found: list[str] = []
        add = found.append
        for _ in range(count):
            start = position + 8
            if start > size or (position := start + length_at(view, position)[0]) > size:
                raise self.corrupt(
                    f"string {len(found):,} of an array of {count:,} passes the end of the file"
                )
            add(str(view[start:position], "utf-8", "surrogateescape"))
        self.position = position
        return found

    def tensor(self) -> TensorInfo:
        """What the header says of the next tensor. Raises ModelCorrupt."""
        name, dimensions = self.string(), self.number("<u4")
        if dimensions > _MAX_DIMENSIONS:
            raise self.corrupt(f"tensor {name!r} has {dimensions} dimensions, at most 4 expected")
        shape = tuple(self.number() for _ in range(dimensions))
        kind, offset = self.number("<u4"), self.number()
        type_name, block, block_bytes = _TENSOR_TYPES.get(kind, (f"type-{kind}", 1, 0))
        return TensorInfo(name, type_name, shape, offset, prod(shape) // block * block_bytes)
