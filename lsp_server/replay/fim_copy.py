"""A copy of a GGUF file that names its sentinels, which llama.cpp's `/infill` insists on.

A model without FIM training has none; three of its unused control tokens take the part. What it then says is
no better for it, but what it costs is what the same model with FIM training would cost.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from pathlib import Path

from engine.errors import InputError
from engine.models.gguf import HEADER_BYTES, read_metadata
from engine.models.gguf_reader import Reader
from engine.vocab import TokenKind

KEYS = tuple(f"tokenizer.ggml.fim_{part}_token_id" for part in ("pre", "suf", "mid"))
_UINT32 = 4


def names_sentinels(path: Path) -> bool:
    """Whether `/infill` works with the file as it is."""
    return all(key in read_metadata(path) for key in KEYS)


def write_fim_copy(source: Path, target: Path) -> None:
    """Write `source` to `target` with the three keys added; everything else stays as it is.

    Raises InputError if the vocabulary has no three control tokens to spare, ModelCorrupt.
    """
    ids = _spare_tokens(source)
    added = b"".join(_pair(key, token) for key, token in zip(KEYS, ids, strict=True))
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        reader = Reader(source, view)
        alignment = reader.metadata().get("general.alignment", 32)
        pairs_end = reader.position
        for _ in range(reader.tensor_count):
            reader.tensor()
        table_end = reader.position
        header = struct.pack("<4sIQQ", b"GGUF", reader.version, reader.tensor_count, reader.pair_count + 3)
        head = header + view[HEADER_BYTES:pairs_end] + added + view[pairs_end:table_end]
        with target.open("wb") as out:
            out.write(head + b"\0" * (-len(head) % alignment))
            file.seek(-(-table_end // alignment) * alignment)
            shutil.copyfileobj(file, out, 2**20)


def _spare_tokens(path: Path) -> tuple[int, int, int]:
    """Control tokens that are neither the beginning nor the end of a text."""
    metadata = read_metadata(path)
    used = {value for key, value in metadata.items() if key.endswith("_token_id")}
    kinds = metadata["tokenizer.ggml.token_type"]
    names = metadata["tokenizer.ggml.tokens"]
    spare = [
        token
        for token, kind in enumerate(kinds)
        if kind == TokenKind.CONTROL and token not in used and "end" not in names[token]
    ]
    if len(spare) < 3:
        raise InputError(f"{path.name} has no three unused control tokens to stand for FIM sentinels")
    return spare[-3], spare[-2], spare[-1]


def _pair(key: str, value: int) -> bytes:
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<II", _UINT32, value)
