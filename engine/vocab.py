"""The bytes of every token, and the vocabulary in lexicographic order.

In sorted order the tokens that start with given bytes are one contiguous range, so "the mass of all
tokens starting with these bytes" is the sum of one slice (specification, section 2).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from engine.errors import ModelCorrupt
from engine.kernels import ByteTables, sums_by_byte

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
SmallIntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

COLUMN_DEPTH = 24
"""Byte positions kept as columns; deeper positions of the few longer tokens are read one by one."""


class TokenKind(IntEnum):
    """What a token is for; values as in GGUF's `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocab:
    """An immutable vocabulary: token id → bytes, and the text tokens in sorted order.

    `token_bytes[t]` is κ(t); control and unused tokens have no bytes and are not text tokens.
    `order` (rows,) holds the ids of the text tokens sorted by their bytes; "row" always means a
    position in this order.
    """

    def __init__(self, token_bytes: Sequence[bytes], kinds: Sequence[int]) -> None:
        """Raises ModelCorrupt if lengths differ or there is no text token at all."""
        if len(token_bytes) != len(kinds):
            raise ModelCorrupt(
                f"the vocabulary has {len(token_bytes)} tokens but {len(kinds)} token types;"
                " pull the model again"
            )
        text_kinds = {int(TokenKind.NORMAL), int(TokenKind.BYTE), int(TokenKind.USER_DEFINED)}
        self.token_bytes: tuple[bytes, ...] = tuple(token_bytes)
        self.kinds: tuple[int, ...] = tuple(map(int, kinds))
        text_ids = [t for t, kind in enumerate(self.kinds) if kind in text_kinds and token_bytes[t]]
        if not text_ids:
            raise ModelCorrupt("the vocabulary has no text tokens; pull the model again")
        text_ids.sort(key=lambda t: (token_bytes[t], t))
        self.order: SmallIntArray = np.array(text_ids, dtype=np.int32)
        self.sorted_bytes: list[bytes] = [token_bytes[t] for t in text_ids]
        self.row_of: IntArray = np.full(len(token_bytes), -1, dtype=np.int64)
        self.row_of[self.order] = np.arange(len(text_ids))
        self.lengths: IntArray = np.array([len(b) for b in self.sorted_bytes], dtype=np.int64)
        self.max_token_bytes = int(self.lengths.max())
        self._columns = _byte_columns(self.sorted_bytes, COLUMN_DEPTH)
        self._column_bytes = [column.tobytes() for column in self._columns]
        self.first_byte_starts: IntArray = np.searchsorted(self._columns[0], np.arange(257)).astype(np.int64)
        """(257,): tokens that start with byte b are rows [first_byte_starts[b], first_byte_starts[b + 1])."""
        self._first_rows: list[int] = self.first_byte_starts.tolist()
        long_rows: IntArray = np.flatnonzero(self.lengths > COLUMN_DEPTH)
        tails = _byte_columns(
            [self.sorted_bytes[row][COLUMN_DEPTH:] for row in long_rows], self.max_token_bytes - COLUMN_DEPTH
        )
        self.tables = ByteTables(
            self.order, self.row_of, self._columns, self.lengths, self.first_byte_starts, long_rows, tails
        )
        """The same for kernels."""

    def __len__(self) -> int:
        return len(self.token_bytes)

    @property
    def rows(self) -> int:
        """Number of text tokens."""
        return len(self.sorted_bytes)

    def byte_tokens(self) -> dict[int, int]:
        """Byte value → the (first) text token of that single byte."""
        single = reversed(np.flatnonzero(self.lengths == 1).tolist())
        return {self.sorted_bytes[row][0]: int(self.order[row]) for row in single}

    def decode(self, tokens: Sequence[int]) -> bytes:
        """κ of a sequence: the concatenated bytes."""
        return b"".join([self.token_bytes[t] for t in tokens])

    def prefix_range(self, head: bytes, low: int = 0, high: int | None = None) -> tuple[int, int]:
        """Rows [low, high) of the tokens whose bytes start with `head` (all rows for b"")."""
        if high is None:
            high = self.rows
        if not head:
            return low, high
        start = bisect_left(self.sorted_bytes, head, low, high)
        successor = _successor(head)
        end = bisect_left(self.sorted_bytes, successor, start, high) if successor else high
        return start, end

    def may_start(self, byte: int) -> bool:
        """Whether a token starts with `byte`: else no token sequence does."""
        return self._first_rows[byte] < self._first_rows[byte + 1]

    def narrow(self, low: int, high: int, depth: int, byte: int) -> tuple[int, int, int]:
        """Of rows [low, high), which share their first `depth` bytes and all go on, those that go on with
        `byte`: [first, middle) end with it, [middle, high) go on behind it. Returns first, middle, high.

        At depth 0 these are all rows.
        """
        if depth == 0:
            first, high = self._first_rows[byte], self._first_rows[byte + 1]
        elif depth < COLUMN_DEPTH:
            column = self._column_bytes[depth]
            first = bisect_left(column, byte, low, high)
            high = bisect_right(column, byte, first, high)
        else:
            head = self.sorted_bytes[low][:depth] + bytes([byte])
            first, high = self.prefix_range(head, low, high)
        middle = first
        while middle < high and len(self.sorted_bytes[middle]) == depth + 1:
            middle += 1
        return first, middle, high

    def exact_range(self, text: bytes, low: int, high: int) -> tuple[int, int]:
        """Rows in [low, high) of the tokens whose bytes equal `text`; these sort first in its range."""
        end = low
        while end < high and self.sorted_bytes[end] == text:
            end += 1
        return low, end

    def next_bytes(
        self, weights: FloatArray, low: int, high: int, depth: int
    ) -> tuple[FloatArray, ByteArray]:
        """The `weights` (high - low,) of those rows [low, high) that have a byte at `depth`, and the bytes.

        The rows must share their first `depth` bytes; the bytes there ascend.
        """
        start = low
        while low < high and len(self.sorted_bytes[low]) == depth:
            low += 1
        if depth < COLUMN_DEPTH:
            return weights[low - start :], self._columns[depth, low:high]
        return weights[low - start :], np.array(
            [b[depth] for b in self.sorted_bytes[low:high]], dtype=np.uint8
        )

    def next_byte_sums(self, weights: FloatArray, low: int, high: int, depth: int) -> FloatArray:
        """(256,) the sums of `next_bytes` by byte."""
        return sums_by_byte(*self.next_bytes(weights, low, high, depth))


def _successor(head: bytes) -> bytes:
    """The least byte string above every string that starts with `head`; b"" if there is none."""
    stripped = head.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b""


def _byte_columns(texts: Sequence[bytes], depth: int) -> ByteArray:
    """(depth, texts): the first bytes of each, 0 past its end."""
    depth = max(0, depth)
    padded = b"".join([b[:depth].ljust(depth, b"\0") for b in texts])
    matrix = np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), depth)
    return np.ascontiguousarray(matrix.T)
