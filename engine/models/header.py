"""What stands before a model file's weights, kept on disk without the vocabulary.

To read 100,000 strings takes a tenth of a second, and the tokenizer that is made of them is kept as well
(`tokenizers.kept`).

A kept header belongs to a file of a size and a time of change, as a `.pyc` to its source.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine import __version__, kept_files
from engine.models.gguf import Gguf
from engine.models.home import tables_dir

MOST_FILES = 24
_SOURCES = ("models/gguf.py", "models/gguf_reader.py", "models/header.py", "templates.py", "fim.py")


@dataclass(frozen=True, slots=True)
class Header:
    """Of a file that was whole."""

    gguf: Gguf
    """Without the lists and arrays of its metadata."""
    words: bytes
    """A pickle of what was found in the vocabulary. It cannot be read before numpy is imported."""


def read_header(path: Path, family: str | None, stops: Sequence[str]) -> Header | None:
    """The header kept for a file, read as of a FIM `family` with more `stops`; None if there is none."""
    try:
        header = kept_files.read(_kept_path(path, family, stops))
    except OSError:
        return None
    return header if isinstance(header, Header) else None


def write_header(path: Path, family: str | None, stops: Sequence[str], gguf: Gguf, words: bytes) -> None:
    """Keep the header of a file that `gguf.check` has read."""
    single = {key: value for key, value in gguf.metadata.items() if isinstance(value, str | int | float)}
    header = Header(replace(gguf, metadata=single), words)
    kept_files.write(_kept_path(path, family, stops), pickle.dumps(header), MOST_FILES)


def _kept_path(path: Path, family: str | None, stops: Sequence[str]) -> Path:
    status, engine = path.stat(), Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for source in _SOURCES:
        digest.update((engine / source).read_bytes())
    file = (path.resolve(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    digest.update(repr((file, family, tuple(stops), __version__, sys.version)).encode())
    return tables_dir() / f"{digest.hexdigest()}.header"
