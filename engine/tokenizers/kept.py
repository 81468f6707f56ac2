"""Tokenizers kept on disk: deriving their tables takes a second or two, reading them back a thirtieth.

A kept file belongs to a *fingerprint* of all it was made from: the vocabulary in the model's metadata, this
package's own source, and the versions of Python, numpy and regex. If any of them changes, the tables are
derived again. Nothing of the user's text is in them.

The files are pickles, which can run code when they are read. So they are trusted exactly as far as Python's
own `.pyc` files: they lie in the user's cache folder, and a file that anybody else could have written is not
read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import regex

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
    path = folder / f"{fingerprint(metadata)}.tables"
    tokenizer = _read(path)
    if tokenizer is None:
        tokenizer = tokenizer_from_metadata(metadata)
        if isinstance(tokenizer, ByteLevelBPE):
            tokenizer.foresee()
        _write(path, tokenizer)
    return tokenizer


def fingerprint(metadata: dict[str, Any]) -> str:
    """Of everything that a tokenizer's tables depend on."""
    digest = hashlib.blake2b(digest_size=16)
    versions = (sys.version, platform.machine(), np.__version__, regex.__version__)
    digest.update("\0".join(versions).encode())
    others = (Path(__file__).parents[1] / "vocab.py", Path(numpy_reference.__file__))
    for source in sorted([*Path(__file__).parent.glob("*.py"), *others]):
        digest.update(source.read_bytes())
    for name in sorted(name for name in metadata if name.startswith("tokenizer.ggml.")):
        digest.update(f"\0{name}\0".encode())
        digest.update(_bytes_of(metadata[name]))
    return digest.hexdigest()


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    words = value if isinstance(value, list) else [value]
    return "\0".join(map(str, words)).encode("utf-8", "surrogateescape")


def _read(path: Path) -> Tokenizer | None:
    try:
        with path.open("rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                return None
            tokenizer: Tokenizer = pickle.load(file)
        os.utime(path)
    except Exception:  # absent, cut short, or made by something else: then it is made anew
        return None
    return tokenizer


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody but this user (or root) can have written the file. Windows' home folders are private."""
    if sys.platform == "win32":
        return True
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022


def _write(path: Path, tokenizer: Tokenizer) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(tokenizer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(stream.getvalue())
        part.replace(path)
        kept = sorted(path.parent.glob("*.tables"), key=lambda file: file.stat().st_mtime)
        for file in kept[:-MOST_FILES]:
            file.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


class _Pickler(pickle.Pickler):
    """Writes a cached function as the function, with an empty cache."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _CachedFunction):
            return _cached, (value.cache_parameters()["maxsize"], value.__wrapped__)
        return NotImplemented


def _cached(maxsize: int | None, function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.lru_cache(maxsize=maxsize)(function)
