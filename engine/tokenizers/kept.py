"""Tokenizers kept on disk: deriving their tables takes a second or two, reading them back a thirtieth.

A kept file is named by a digest of all it was made from: the vocabulary in the model's metadata, this
package's own source, and the versions of Python, numpy and regex. If any of them changes, the tables are
derived again. Nothing of the user's text is in them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import regex

from engine import kept_files
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.byte_level import ByteLevelBPE
from engine.tokenizers.gguf_family import tokenizer_from_metadata
from engine_kernels import numpy_reference

MOST_FILES = 6
"""Of these the least recently read go when another is written."""
_CachedFunction = type(functools.lru_cache(maxsize=1)(len))


def kept_tokenizer(metadata: dict[str, Any], folder: Path) -> Tokenizer:
    """`tokenizer_from_metadata(metadata)`, from `folder` if it was kept there; otherwise it is kept there.

    Raises as `tokenizer_from_metadata`. A folder that cannot be read or written costs time and nothing else.
    """
    digest = vocabulary_digest(metadata)
    tokenizer = kept_for(digest, folder)
    if tokenizer is None:
        tokenizer = tokenizer_from_metadata(metadata)
        if isinstance(tokenizer, ByteLevelBPE):
            tokenizer.foresee()
        kept_files.write(_path(digest, folder), pickled(tokenizer), MOST_FILES)
    return tokenizer


def kept_for(digest: str, folder: Path) -> Tokenizer | None:
    """The tokenizer kept in `folder` for the vocabulary of `vocabulary_digest`; None if there is none."""
    tokenizer: Tokenizer | None = kept_files.read(_path(digest, folder))
    return tokenizer


def vocabulary_digest(metadata: dict[str, Any]) -> str:
    """Of everything in a model's metadata that a tokenizer's tables depend on."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(name for name in metadata if name.startswith("tokenizer.ggml.")):
        digest.update(f"\0{name}\0".encode())
        digest.update(_bytes_of(metadata[name]))
    return digest.hexdigest()


def _path(vocabulary: str, folder: Path) -> Path:
    digest = hashlib.blake2b(vocabulary.encode(), digest_size=16)
    versions = (sys.version, platform.machine(), np.__version__, regex.__version__)
    digest.update("\0".join(versions).encode())
    others = (Path(__file__).parents[1] / "vocab.py", Path(numpy_reference.__file__))
    for source in sorted([*Path(__file__).parent.glob("*.py"), *others]):
        digest.update(source.read_bytes())
    return folder / f"{digest.hexdigest()}.tables"


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    words = value if isinstance(value, list) else [value]
    return "\0".join(map(str, words)).encode("utf-8", "surrogateescape")


def pickled(tokenizer: Tokenizer) -> bytes:
    """The tokenizer with its tables and without what it remembers."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(tokenizer)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    """Writes a cached function as the function, with an empty cache."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _CachedFunction):
            return _cached, (value.cache_parameters()["maxsize"], value.__wrapped__)
        return NotImplemented


def _cached(maxsize: int | None, function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.lru_cache(maxsize=maxsize)(function)
