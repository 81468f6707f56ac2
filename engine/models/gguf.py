"""Reading GGUF: header, metadata, tensor table. The weights themselves are never read.

A file is `GGUF`, version, counts, key/value pairs, tensor table, padding, weights; all little-endian.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
Big-endian files and version 1 are refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from engine.errors import ModelCorrupt, ModelNotFound
from engine.models.gguf_reader import Reader, TensorInfo

MAGIC = b"GGUF"
HEADER_BYTES = 24


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a GGUF file says before its weights."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    weights_start: int
    """Where in the file the weights begin, from which tensors are counted."""
    expected_bytes: int
    """The file is at least this long if it is complete."""

    @property
    def weights(self) -> str:
        """The type of most of the weights in lower case, such as `q8_0`; empty if there are none."""
        count: dict[str, int] = {}
        for tensor in self.tensors:
            count[tensor.type] = count.get(tensor.type, 0) + prod(tensor.shape)
        return max(count, key=count.__getitem__).lower() if count else ""


def read_metadata(path: Path) -> dict[str, Any]:
    """The key/value pairs: numbers, bools and strings as such, arrays of strings as `list[str]`, arrays
    of numbers as numpy arrays that own their memory.

    Strings are UTF-8; bytes that are not come back by `.encode("utf-8", "surrogateescape")`.
    Raises ModelNotFound, ModelCorrupt.
    """
    with _open(path) as reader:
        return reader.metadata()


def check(path: Path) -> Gguf:
    """Read all that stands before the weights, and see that the file is long enough for them.

    Raises ModelNotFound, ModelCorrupt. Costs about 0.1 s for a vocabulary of 50,000.
    """
    with _open(path) as reader:
        metadata = reader.metadata()
        tensors = tuple(reader.tensor() for _ in range(reader.tensor_count))
        start = expected = reader.position
        if tensors:
            alignment = metadata.get("general.alignment", 32)
            if not isinstance(alignment, int) or alignment <= 0:
                raise reader.corrupt(f"general.alignment is {alignment!r}, not a positive number")
            start = -(-reader.position // alignment) * alignment
            expected = start + max(t.offset_bytes + t.size_bytes for t in tensors)
        if reader.size < expected:
            raise ModelCorrupt(
                f"{path} is truncated: {reader.size:,} bytes found, {expected:,} expected; fetch it again"
            )
        return Gguf(reader.version, metadata, tensors, start, expected)


@contextmanager
def _open(path: Path) -> Iterator[Reader]:
    """A reader that stands behind the fixed header of `path`."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
            if start[:4] != MAGIC:
                shown = repr(start[:4])[1:] if start else "nothing (it is empty)"
                raise ModelCorrupt(f"{path} is not a GGUF file: it starts with {shown}, not 'GGUF'")
            if len(start) < HEADER_BYTES:
                raise ModelCorrupt(
                    f"{path} is truncated: {len(start)} bytes found, a header has {HEADER_BYTES}"
                )
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                yield Reader(path, view)
    except FileNotFoundError:
        raise ModelNotFound(f"there is no file {path}; check the path") from None
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}") from None
