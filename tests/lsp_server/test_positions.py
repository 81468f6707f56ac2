from __future__ import annotations

import pytest

from lsp_server.positions import Encoding, to_byte_column, to_column

LINE = "aé😀b".encode()  # 1 + 2 + 4 + 1 bytes


@pytest.mark.parametrize(
    ("encoding", "columns"),
    [("utf-8", [0, 1, 3, 7, 8]), ("utf-16", [0, 1, 2, 4, 5]), ("utf-32", [0, 1, 2, 3, 4])],
)
def test_character_boundaries_in_every_encoding(encoding: Encoding, columns: list[int]) -> None:
    boundaries = [0, 1, 3, 7, 8]
    assert [to_byte_column(LINE, column, encoding) for column in columns] == boundaries
    assert [to_column(LINE, boundary, encoding) for boundary in boundaries] == columns


@pytest.mark.parametrize(
    ("encoding", "inside", "boundary"), [("utf-8", 2, 1), ("utf-8", 6, 3), ("utf-16", 3, 3)]
)
def test_a_column_inside_a_character_means_its_start(encoding: Encoding, inside: int, boundary: int) -> None:
    assert to_byte_column(LINE, inside, encoding) == boundary


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("line", [b"", b"abc", LINE])
def test_a_column_past_the_end_means_the_end(encoding: Encoding, line: bytes) -> None:
    assert to_byte_column(line, 10**9, encoding) == len(line)
